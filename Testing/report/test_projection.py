"""The projection from in front: points at their places, vessels with and without the bone that hides them."""

from __future__ import annotations

import io

import numpy as np
from CarotidLandmarkLib.report.planes import sample_box
from CarotidLandmarkLib.report.projection import bone_of, overview_png
from CarotidLandmarkLib.volume import Volume
from PIL import Image
from report_cases import CENTRE, volume

LUMEN = 400.0


def test_the_overview_shows_the_points_at_their_place():
    scan = volume([CENTRE])
    x, y, z = CENTRE
    png, caption = overview_png(
        scan, {"a": ((x + 20, y, z + 20), "#00ff00"), "b": ((x - 20, y + 10, z - 20), "#0000ff")}
    )
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    pixels = pixels[:, : pixels.shape[1] // 2]  # as the scan is
    height, width, _ = pixels.shape
    for channel, across, up in ((1, 1, 1), (2, -1, -1)):
        others = [c for c in range(3) if c != channel]
        rows, columns = np.nonzero((pixels[..., channel] > 180) & (pixels[..., others].max(axis=-1) < 90))
        assert np.sign(columns.mean() - width / 2) == across
        assert np.sign(height / 2 - rows.mean()) == up
    assert "40 mm slab" in caption


def neck(plaque_mm: float = 0.0) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A vessel from feet to head at x = 12, a vertebra behind it, a jaw beside it; and which voxels are which."""
    z, y, x = np.mgrid[-30:31, -30:31, -40:41].astype(float)
    vessel = np.hypot(x - 12, y) < 4
    body = np.maximum(np.abs(x) - 9, np.abs(y - 16) - 7)
    jaw = np.hypot((x - 31) / 5, (y + 2) / 9)
    hu = np.full(x.shape, 40.0)
    hu[(body < 0) | (jaw < 1)] = 350  # marrow as bright as a lumen
    hu[(np.abs(body) < 1.5) | (np.abs(jaw - 1) < 0.2)] = 1100
    hu[vessel] = LUMEN
    if plaque_mm:
        hu[np.sqrt((x - 16) ** 2 + y**2 + z**2) < plaque_mm] = 1000
    affine = np.eye(4)
    affine[:3, 3] = (-40, -30, -30)
    bone = ((body < 1.5) | (jaw < 1.2)) & ~vessel
    return Volume(hu.astype(np.int16), affine, "neck"), vessel, bone


def boxed(scan: Volume):
    return sample_box(scan, scan.centre_lps, np.array(scan.size, float), 1.0)


def test_bone_goes_with_its_marrow_and_the_vessel_stays():
    scan, vessel, bone = neck()
    gone = bone_of(boxed(scan), [(12.0, 0.0, 0.0)], LUMEN)
    assert gone[bone].mean() > 0.97
    assert gone[vessel].mean() < 0.02


def test_a_plaque_in_the_wall_is_no_bone():
    scan, _, _ = neck(plaque_mm=2.5)
    plaque = scan.array == 1000
    assert plaque.sum() > 30
    assert bone_of(boxed(scan), [(12.0, 0.0, 0.0)], LUMEN)[plaque].mean() < 0.3


def test_without_a_point_bone_still_goes_and_most_of_the_vessel_stays():
    scan, vessel, bone = neck()
    gone = bone_of(boxed(scan), [], LUMEN)
    assert gone[bone].mean() > 0.9
    assert gone[vessel].mean() < 0.5


def test_without_points_the_middle_is_shown_as_it_is_because_nothing_tells_vessels_from_bone():
    scan = volume([CENTRE])
    png, caption = overview_png(scan, {})
    with_points, told = overview_png(scan, {"a": (CENTRE, "#00ff00")})
    assert "30 mm slab in the middle of the scan" in caption
    assert "Bone is taken out" not in caption
    assert "Bone is taken out" in told
    widths = [Image.open(io.BytesIO(each)).width for each in (png, with_points)]
    assert widths[1] == 2 * widths[0]
