"""Pictures of landmarks: sides and directions right whatever the storage, outlines exact, what is marked is seen."""

from __future__ import annotations

import io

import numpy as np
import pytest
from CarotidLandmarkLib.report.pictures import STRIP_MM, ellipse_in_plane, slices_png, strip_png
from CarotidLandmarkLib.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_cases import CENTRE, region, volume


def panels(png: bytes) -> list[np.ndarray]:
    """The axial, coronal and sagittal picture as grey levels, letters and marks (coloured) left out."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    grey = np.where(np.ptp(pixels, axis=2) < 20, pixels.mean(axis=2), 0)
    third = grey.shape[1] // 3
    # Of the upper row, away from the edges: titles and scale bars are white, too.
    return [grey[40 : grey.shape[0] // 2 - 50, n * third + 30 : (n + 1) * third - 30] for n in range(3)]


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


rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def turned(quaternion):
    """A rotation, its rows the axes of a region."""
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@settings(max_examples=60)
@given(
    st.tuples(*[st.floats(0.5, 20)] * 3),
    rotations,
    st.sampled_from([(0, 1), (0, 2), (1, 2)]),
    st.floats(-1.2, 1.2),
)
def test_the_outline_lies_on_the_region_s_surface_and_in_the_slice(semi_axes, quaternion, plane, share):
    some = region(semi_axes, turned(quaternion))
    third = ({0, 1, 2} - set(plane)).pop()
    offset = share * some.reach_mm[third]
    outline = ellipse_in_plane(some, *plane, offset)
    if outline is None:
        assert abs(share) > 1 - 1e-9
        return
    assert abs(share) < 1 + 1e-9
    points = np.zeros((len(outline), 3))
    points[:, plane], points[:, third] = outline, offset
    along_axes = points @ np.array(some.axes_lps).T / np.array(semi_axes)
    assert np.linalg.norm(along_axes, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert outline[0] == pytest.approx(outline[-1], abs=1e-6)


def green_pixels(png):
    """Which pixels of a picture are green, blends with grey, too: [rows, columns]."""
    red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int), 2, 0)
    return (green - red > 60) & (green - blue > 60)


GREEN = "#00ff00"


def test_a_region_of_one_millimetre_is_a_ring_and_what_it_surrounds_is_seen():
    bare = slices_png(volume(), CENTRE, None, "#000000")
    png = slices_png(volume(), CENTRE, region((1.0, 1.0, 1.0)), GREEN)
    green = green_pixels(png)
    pixels, before = (np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (png, bare))
    middle = green_pixels(slices_png(volume(), CENTRE, region((0.01, 0.01, 0.01)), GREEN))
    height, width = green.shape
    for row in range(2):
        for column in range(3):
            part = (
                slice(row * height // 2, (row + 1) * height // 2),
                slice(column * width // 3, (column + 1) * width // 3),
            )
            places = np.argwhere(middle[part])
            centre = places.mean(axis=0).round().astype(int) + np.array([part[0].start, part[1].start])
            near = (slice(centre[0] - 2, centre[0] + 3), slice(centre[1] - 2, centre[1] + 3))
            assert not green[near].any()
            assert np.abs(pixels[near] - before[near]).max() <= 2
            y, x = np.argwhere(green[part]).T
            away = np.hypot(y + part[0].start - centre[0], x + part[1].start - centre[1])
            # 80 or 30 mm are 450 pixels wide: a ring of that radius all round, one or two pixels thick
            radius = width / 3 / (80, 30)[row] * 0.97
            ring = np.abs(away - radius) < 2
            assert 4 * radius < ring.sum() < 4.5 * np.pi * radius


def test_the_strip_goes_up_a_millimetre_at_a_time():
    """A wedge whose edge goes one voxel to the left with each slice: where it is, tells the height."""
    scan = volume()
    k, _, i = np.mgrid[0:64, 0:64, 0:64]
    fine = Volume(np.where(i - k < 0, 1500, 40).astype(np.int16), np.diag([0.5, 0.5, 0.5, 1.0]), "wedge")
    centre = tuple(float(x) for x in fine.geometry.centre_lps)
    assert scan.size == fine.size
    pixels = np.asarray(Image.open(io.BytesIO(strip_png(fine, centre, None, GREEN))).convert("L")).astype(int)
    tile = pixels.shape[1] / len(STRIP_MM)
    edges = []
    for number in range(len(STRIP_MM)):
        row = pixels[pixels.shape[0] * 2 // 5, round(number * tile) : round((number + 1) * tile)]
        bright = np.flatnonzero(row > 200)
        edges.append(bright[bright < 0.8 * tile].max())
    steps = np.diff(edges) / (tile / 30)
    assert steps == pytest.approx(np.ones(6), abs=0.3)


def test_the_strip_shows_the_region_s_cut_at_each_height():
    png = strip_png(volume(), CENTRE, region((2.5, 2.5, 2.5)), GREEN)
    green = green_pixels(png)
    parts = np.array_split(green, len(STRIP_MM), axis=1)
    widths = [np.ptp(np.argwhere(part)[:, 1]) if part.any() else 0 for part in parts]
    assert widths[0] == widths[6] == 0  # 3 mm is beyond a ball of 2.5 mm
    assert 0 < widths[1] < widths[2]
    assert widths[1] == pytest.approx(widths[5], abs=2)


def test_slices_beyond_the_scan_are_said_to_be():
    x, y, _ = CENTRE
    bottom = volume().to_lps([31.5, 31.5, 0])[2]
    lowest = strip_png(volume(), (x, y, bottom + 1.0), None, GREEN)
    assert len(lowest) > 1000
    tiles = np.array_split(np.asarray(Image.open(io.BytesIO(lowest)).convert("L")).astype(int), len(STRIP_MM), axis=1)
    middle = [tile[50:-90, 40:-40] for tile in tiles]
    assert middle[0].max() > 200  # words on black
    assert np.median(middle[0]) == 0
    assert np.median(middle[3]) > 0


def test_a_point_outside_the_scan_is_pictured_as_air_not_as_an_error():
    picture = Image.open(io.BytesIO(slices_png(volume(), (900.0, 900.0, 900.0), None, "#f76707")))
    within = slices_png(volume(), CENTRE, None, "#f76707")
    outside, inside = (np.asarray(each.convert("L")) for each in (picture, Image.open(io.BytesIO(within))))
    assert np.median(outside) == 0 < np.median(inside)
