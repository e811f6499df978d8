"""detection.json and its rows in a table: what is written is read back, and damage is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from CarotidLandmarkLib.detection import (
    CSV_COLUMNS,
    ConfidenceRegion,
    Detection,
    DetectionSettings,
    LandmarkResult,
    ModelInfo,
    Quality,
    VolumeInfo,
    percent,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

number = st.floats(-1e4, 1e4, allow_nan=False)
positive = st.floats(1e-3, 1e4)
triple = st.tuples(number, number, number)
lengths = st.tuples(positive, positive, positive)
matrix = st.tuples(triple, triple, triple)
rotation = st.sampled_from(
    [tuple(map(tuple, axes.tolist())) for axes in Rotation.random(20, random_state=0).as_matrix()]
)
region = st.builds(ConfidenceRegion, st.floats(0.5, 0.99), positive, positive, lengths, rotation)
with_point = st.builds(
    LandmarkResult,
    st.text(min_size=1),
    st.just("detected"),
    st.floats(0, 1),
    triple,
    triple,
    matrix,
    st.none() | region,
)
missing = st.builds(LandmarkResult, st.text(min_size=1), st.just("missing"), st.floats(0, 1))
detections = st.builds(
    Detection,
    volume=st.builds(VolumeInfo, st.text(), st.tuples(*[st.integers(1, 2000)] * 3), lengths, st.text()),
    model=st.builds(ModelInfo, st.text(), st.text(), st.text()),
    passes=st.integers(2, 500),
    seed=st.integers(0, 2**31),
    device=st.text(),
    timing_s=st.dictionaries(st.text(), positive, max_size=3),
    landmarks=st.lists(with_point | missing, max_size=3, unique_by=lambda landmark: landmark.name).map(tuple),
    quality=st.builds(Quality, st.sampled_from(["ok", "review", "reject"]), st.lists(st.text(), max_size=2).map(tuple)),
)

EXAMPLE = Detection(
    volume=VolumeInfo("scan.nrrd", (512, 512, 300), (0.5, 0.5, 1.0), "LPS"),
    model=ModelInfo("first", "0.1.0", "ab" * 32),
    passes=50,
    seed=0,
    device="cpu",
    timing_s={"load": 1.0, "pyramid": 1.0, "coarse": 1.0, "passes": 1.0, "total": 4.0},
    landmarks=(
        LandmarkResult(
            "left_carotid_bifurcation",
            "detected",
            0.97,
            (30.0, -10.0, 100.0),
            (0.5, 0.6, 0.7),
            ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
            ConfidenceRegion(0.9, 113.0, 9.0, (3.0, 3.0, 3.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),
        ),
        LandmarkResult("right_carotid_bifurcation", "missing", 0.2),
    ),
    quality=Quality("review", ("R bifurcation: not found.",)),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(detections)
def test_what_is_written_is_read_back(detection):
    assert Detection.from_json(detection.to_json()) == detection


def test_a_model_that_is_judged_or_calibrated_anew_is_another_one_though_its_weights_are_the_same():
    model, usual = EXAMPLE.model, DetectionSettings(EXAMPLE.passes, seed=EXAMPLE.seed)
    assert EXAMPLE.made_by(model, usual)
    assert not EXAMPLE.made_by(replace(model, version=f"{model.version}.1"), usual)
    assert not EXAMPLE.made_by(replace(model, sha256="1" * 64), usual)
    assert not EXAMPLE.made_by(model, replace(usual, passes=EXAMPLE.passes + 1))
    assert not EXAMPLE.made_by(model, replace(usual, level=0.5))


def test_the_file_has_the_published_keys():
    document = json.loads(EXAMPLE.to_json())
    assert document["schema_version"] == 1
    assert set(document) == {
        *("schema_version", "volume", "model", "passes", "seed", "device", "timing_s", "landmarks", "quality", "notes")
    }
    assert set(document["volume"]) == {"path", "size", "spacing_mm", "orientation", "centre_lps_mm", "slices_sha256"}
    assert set(document["model"]) == {"name", "version", "sha256"}
    landmark = document["landmarks"][0]
    assert set(landmark) == {
        *("name", "status", "presence", "position_lps_mm", "std_mm", "covariance_mm2", "confidence", "label"),
        "reliability",
    }
    assert set(landmark["confidence"]) == {*("level", "volume_mm3", "paper_volume_mm3", "semi_axes_mm", "axes_lps")}
    assert set(document["quality"]) == {"verdict", "reasons", "about"}
    assert document["landmarks"][1]["position_lps_mm"] is None


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE.to_json()[:-20],
        "[]",
        "{}",
        EXAMPLE.to_json().replace('"schema_version": 1', '"schema_version": 2'),
        EXAMPLE.to_json().replace('"presence"', '"presense"'),
    ],
)
def test_another_version_or_damage_is_refused(text):
    with pytest.raises(ValueError):
        Detection.from_json(text)


def test_other_slices_in_the_same_place_are_another_scan_where_both_are_known():
    one, other = (replace(EXAMPLE.volume, slices_sha256=letter * 64) for letter in "ab")
    assert one.difference(one) == ""
    assert "other voxels in the same place" in one.difference(other)
    earlier = json.loads(EXAMPLE.to_json())
    del earlier["volume"]["slices_sha256"]
    before = Detection.from_json(json.dumps(earlier)).volume
    assert before.difference(one) == one.difference(before) == ""


def test_a_number_that_is_none_never_reaches_the_file():
    with pytest.raises(ValueError):
        replace(EXAMPLE, timing_s={"total": float("nan")}).to_json()


def test_a_row_per_landmark_with_empty_cells_for_what_a_missing_one_lacks():
    left, right = EXAMPLE.to_csv_rows()
    assert tuple(left) == tuple(right) == CSV_COLUMNS
    assert (left["x_lps_mm"], left["y_lps_mm"], left["z_lps_mm"]) == (30.0, -10.0, 100.0)
    assert (left["level"], left["region_volume_mm3"], left["longest_semi_axis_mm"]) == (0.9, 113.0, 3.0)
    assert right["status"] == "missing"
    assert right["presence"] == 0.2
    empty = [column for column, value in right.items() if value == ""]
    assert empty == [*CSV_COLUMNS[4:13], "reliability"]
    assert {row["verdict"] for row in (left, right)} == {"review"}


@pytest.mark.parametrize("level, words", [(0.9, "90"), (0.945, "94.5"), (0.999, "99.9"), (0.9999999, "99.99999")])
def test_a_level_in_percent_is_never_rounded_to_another(level, words):
    assert percent(level) == words


def test_a_landmark_is_found_by_its_name():
    assert EXAMPLE["right_carotid_bifurcation"].status == "missing"
    with pytest.raises(KeyError):
        EXAMPLE["bregma"]


@settings(deadline=None)
@given(
    st.tuples(*[st.floats(0.1, 30)] * 3), st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(map(abs, q)) > 0.1)
)
def test_a_region_reaches_as_far_along_the_patient_s_axes_as_its_farthest_points(semi_axes, quaternion):
    axes = Rotation.from_quat(quaternion).as_matrix()
    ellipsoid = ConfidenceRegion(0.9, 1.0, 1.0, semi_axes, tuple(map(tuple, axes.tolist())))
    for n, reach in enumerate(ellipsoid.reach_mm):
        # The point of the ellipsoid x = axes^T (semi * u), |u| = 1, that lies farthest along axis n.
        direction = np.array(semi_axes) * axes[:, n]
        farthest = axes.T @ (np.array(semi_axes) * direction / np.linalg.norm(direction))
        assert reach == pytest.approx(farthest[n])
