"""Several annotators of one case: training, evaluation and the agreement report speak of the same point."""

from __future__ import annotations

import json

import numpy as np
import pytest
from carotid_training.batches.cache import CACHE_VARIABLE
from carotid_training.batches.cases import CaseBatches
from carotid_training.batches.datamodule import dataset_sha256
from carotid_training.batches.unseen import UnseenCases
from carotid_training.evaluation.evaluate import check_landmarks
from carotid_training.evaluation.outcomes import outcomes_of
from CarotidLandmarkLib.dataset import Dataset, DatasetError, freeze_splits
from CarotidLandmarkLib.dataset.agreement import consensus
from CarotidLandmarkLib.landmarks import LandmarkSpec
from CarotidLandmarkLib.report.agreement import readings_of

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
SAID = {
    "anna": {LEFT: (30.0, 0.0, 0.0), RIGHT: None},
    "ben": {LEFT: (33.0, 6.0, 0.0), RIGHT: None},
    "cleo": {LEFT: None, RIGHT: (-30.0, 0.0, 0.0)},
}


@pytest.fixture
def dataset(tmp_path, case_volume, monkeypatch) -> Dataset:
    """One training case; two of three have placed the left point, one of three the right one."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    made = Dataset.create(tmp_path / "set", NAMES)
    made.add_case(case_volume, "c1", split="train")
    for who, points in SAID.items():
        made.save_annotation("c1", who, points, {n: "missing" if p is None else "corrected" for n, p in points.items()})
    return made


def test_a_case_that_can_not_be_read_is_named(dataset):
    image = dataset.case("c1").image_path
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(DatasetError, match="The image of case c1 is not the one that was added; restore it"):
        CaseBatches(dataset, "train", 1, NAMES, {}).batch(0)


def test_cases_without_a_single_point_teach_nothing_and_are_refused(dataset):
    for who in SAID:
        dataset.save_annotation("c1", who, dict.fromkeys(NAMES), dict.fromkeys(NAMES, "missing"))
    with pytest.raises(DatasetError, match=f"In no training case of set is there a point of {LEFT}, {RIGHT}"):
        CaseBatches(dataset, "train", 1, NAMES, {})


def test_a_missing_image_is_named_before_any_case_is_drawn(dataset):
    dataset.case("c1").image_path.unlink()
    with pytest.raises(DatasetError, match="The image of case c1 is not here"):
        CaseBatches(dataset, "train", 1, NAMES, {})


def test_training_evaluation_and_the_report_use_the_same_consensus(dataset, make_detection):
    expected = {LEFT: (31.5, 3.0, 0.0), RIGHT: None}
    (reading,) = readings_of(dataset)
    assert consensus(list(reading.points.values()), NAMES) == expected
    outcomes = outcomes_of(dataset.case("c1"), make_detection())
    assert {outcome.landmark: outcome.truth_lps for outcome in outcomes} == expected
    scan = UnseenCases(CaseBatches(dataset, "train", 1, NAMES, {}))[0]
    assert scan.present.tolist() == [[True, False]]
    assert scan.landmarks_lps[0, 0].tolist() == pytest.approx(expected[LEFT])
    assert np.isnan(scan.landmarks_lps[0, 1].numpy()).all()


def test_a_landmark_of_which_no_annotation_speaks_is_not_taught_or_measured_as_missing(dataset, make_detection):
    """One that joined the dataset after its cases were annotated."""
    document = json.loads((dataset.path / "dataset.json").read_text())
    document["landmarks"].append("nasion")
    (dataset.path / "dataset.json").write_text(json.dumps(document))
    grown = Dataset.open(dataset.path)
    words = "No annotation of case c1 says where nasion is; review the case again"
    with pytest.raises(DatasetError, match=words):
        CaseBatches(grown, "train", 1, (*NAMES, "nasion"), {})
    with pytest.raises(DatasetError, match=words):
        check_landmarks([LandmarkSpec(name, name, name) for name in (*NAMES, "nasion")], grown)
    check_landmarks([LandmarkSpec(name, name, name) for name in NAMES], grown)
    assert consensus([{LEFT: (1.0, 2.0, 3.0), "nasion": (4.0, 5.0, 6.0)}, {LEFT: (1.0, 2.0, 3.0)}], ["nasion"]) == {
        "nasion": (4.0, 5.0, 6.0)
    }


@pytest.mark.parametrize("others", [(), ("ben", "cleo")])
def test_training_evaluation_and_their_splits_refuse_a_damaged_annotation_and_name_it(dataset, make_detection, others):
    folder = dataset.case("c1").folder / "annotations"
    for who in set(SAID) - {"anna", *others}:
        (folder / f"{who}.json").unlink()
    (folder / "anna.json").write_text("{")
    for use in (
        lambda: CaseBatches(dataset, "train", 1, NAMES, {}),
        lambda: dataset_sha256(dataset),
        lambda: dataset.annotated_cases("test"),
        lambda: freeze_splits(dataset),
        lambda: outcomes_of(dataset.case("c1"), make_detection()),
    ):
        with pytest.raises(DatasetError, match=r"The annotation of case c1 by anna is damaged .*; annotate it again\."):
            use()
