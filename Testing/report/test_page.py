"""The report: sides and directions right whatever the storage, outlines exact, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from CarotidLandmarkLib.detection import (
    ConfidenceRegion,
    Detection,
    LandmarkResult,
    ModelInfo,
    Quality,
)
from CarotidLandmarkLib.report import ReportError, report_html, write_report
from CarotidLandmarkLib.report.pictures import ellipse_in_plane, overview_png, slices_png
from CarotidLandmarkLib.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
CENTRE = (10.0, -20.0, 30.0)


def volume(
    balls_lps: list[tuple[float, float, float]] = (), oblique_degrees: float = 0.0, flip: bool = False
) -> Volume:
    """Soft tissue, 96 mm wide around CENTRE, with balls of bone of 6 mm radius; stored LPS, RAS or rotated about z."""
    angle = np.radians(oblique_degrees)
    axes = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    if flip:
        axes = axes @ np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = axes * 1.5
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ [31.5, 31.5, 31.5]
    k, j, i = np.mgrid[0:64, 0:64, 0:64]
    points = np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3]
    array = np.full(k.shape, 40, np.int16)
    for ball in balls_lps:
        array[np.linalg.norm(points - ball, axis=-1) < 6] = 1500
    return Volume(array, affine, "scan.nrrd")


def region(semi_axes=(6.0, 4.0, 2.0), axes=((1, 0, 0), (0, 1, 0), (0, 0, 1))) -> ConfidenceRegion:
    return ConfidenceRegion(0.9, 201.0, 20.0, tuple(semi_axes), tuple(map(tuple, np.asarray(axes, float).tolist())))


def detection(scan: Volume, right: LandmarkResult | None = None) -> Detection:
    found = LandmarkResult(LEFT, "detected", 0.97, CENTRE, (0.5, 0.6, 0.7), tuple(map(tuple, np.eye(3))), region())
    return Detection(
        volume=scan.info,
        model=ModelInfo("first", "0.1.0", "ab" * 32),
        passes=50,
        seed=3,
        device="cpu",
        timing_s={"load": 1.0, "total": 4.0},
        landmarks=(found, right or LandmarkResult(RIGHT, "missing", 0.21)),
        quality=Quality("review", ("R bifurcation: not found.",)),
    )


def panels(png: bytes) -> list[np.ndarray]:
    """The axial, coronal and sagittal picture as grey levels, letters and marks (coloured) left out."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    grey = np.where(np.ptp(pixels, axis=2) < 20, pixels.mean(axis=2), 0)
    third = grey.shape[1] // 3
    # Away from the edges: titles and scale bars are white, too.
    return [grey[40:-40, n * third + 20 : (n + 1) * third - 20] for n in range(3)]


def brightest(panel: np.ndarray) -> tuple[str, str]:
    """Where in a picture the bone ball is: (left or right, top or bottom)."""
    rows, columns = np.nonzero(panel > 230)
    assert len(rows) > 50
    height, width = panel.shape
    return ("right" if columns.mean() > width / 2 else "left", "bottom" if rows.mean() > height / 2 else "top")


@pytest.mark.parametrize("storage", [{}, {"flip": True}, {"oblique_degrees": 25.0}], ids=["LPS", "RAS", "oblique"])
def test_left_is_on_the_right_anterior_and_head_are_up_whatever_the_storage(storage):
    x, y, z = CENTRE
    left_anterior = volume([(x + 22, y - 18, z)], **storage)
    axial, _, _ = panels(slices_png(left_anterior, CENTRE, None, "#f76707"))
    assert brightest(axial) == ("right", "top")
    left_head = volume([(x + 22, y, z + 18)], **storage)
    _, coronal, _ = panels(slices_png(left_head, CENTRE, None, "#f76707"))
    assert brightest(coronal) == ("right", "top")
    anterior_foot = volume([(x, y - 22, z - 16)], **storage)
    _, _, sagittal = panels(slices_png(anterior_foot, CENTRE, None, "#f76707"))
    assert brightest(sagittal) == ("left", "bottom")


def test_the_overview_shows_the_points_at_their_place():
    scan = volume([CENTRE])
    x, y, z = CENTRE
    png, caption = overview_png(
        scan, {"a": ((x + 20, y, z + 20), "#00ff00"), "b": ((x - 20, y + 10, z - 20), "#0000ff")}
    )
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    for channel, across, up in ((1, 1, 1), (2, -1, -1)):
        others = [c for c in range(3) if c != channel]
        rows, columns = np.nonzero((pixels[..., channel] > 180) & (pixels[..., others].max(axis=-1) < 90))
        assert np.sign(columns.mean() - width / 2) == across
        assert np.sign(height / 2 - rows.mean()) == up
    assert "40 mm slab" in caption


@settings(max_examples=40)
@given(
    st.tuples(*[st.floats(0.5, 20)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.sampled_from([(0, 1), (0, 2), (1, 2)]),
)
def test_the_outline_lies_on_the_region_s_surface_and_in_the_slice(semi_axes, quaternion, plane):
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    axes = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    outline = ellipse_in_plane(region(semi_axes, axes), *plane)
    points = np.zeros((len(outline), 3))
    points[:, plane] = outline
    along_axes = points @ axes.T / np.array(semi_axes)
    assert np.linalg.norm(along_axes, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert outline[0] == pytest.approx(outline[-1], abs=1e-6)


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(body).split())


def test_the_page_says_all_there_is_to_know():
    text = text_of(report_html(volume(), detection(volume())))
    for words in (
        "REVIEW",
        "R bifurcation: not found.",
        "Left carotid bifurcation left detected 97 % 10.0, -20.0, 30.0 -10.0, 20.0, 30.0 6.0, 4.0, 2.0 201 mm³",
        "Right carotid bifurcation right missing 21 %",
        "Not found in this scan. The probability that it is there is 21 %.",
        "first 0.1.0",
        "ab" * 32,
        "Seed 3",
        "Device cpu",
        "total 4.0 s",
        "Not for clinical use.",
    ):
        assert words in text


def test_a_landmark_that_seems_to_lie_beyond_the_scan_is_not_called_improbable():
    beyond = LandmarkResult(RIGHT, "missing", 0.98)
    text = text_of(report_html(volume(), detection(volume(), beyond)))
    assert "Not found in this scan. The place where it seems to be lies outside the scan" in text


def test_the_page_loads_nothing_from_elsewhere_and_its_pictures_are_whole(tmp_path):
    page = write_report(tmp_path / "report.html", volume(), detection(volume())).read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 2  # the found landmark's slices, and the overview
    for source in sources:
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(data))).verify()
    assert not re.search(r"https?://|<link|<script|url\(", page)


def test_a_name_or_reason_can_not_break_the_page():
    hostile = replace(volume(), name="<script>alert(1)</script>.nrrd")
    result = replace(detection(hostile), quality=Quality("reject", ('<img src="x">',)))
    page = report_html(hostile, result)
    assert "<script>" not in page
    assert '<img src="x">' not in page


def test_the_truth_adds_the_error_and_a_cross():
    x, y, z = CENTRE
    text = text_of(report_html(volume(), detection(volume()), {LEFT: (x + 3, y, z + 4), RIGHT: None}))
    assert "5.0 mm" in text
    assert "absent in the truth" in text
    assert "known truth (×)" in text


def test_a_point_outside_the_scan_is_pictured_as_air_not_as_an_error():
    assert len(slices_png(volume(), (900.0, 900.0, 900.0), None, "#f76707")) > 1000


def test_a_detection_on_another_scan_is_refused():
    with pytest.raises(ReportError, match="64 x 64 x 64"):
        scan = volume()
        report_html(replace(scan, array=scan.array[:-1]), detection(scan))
