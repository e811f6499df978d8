"""How bright a scan's vessels are: measured where the points are, whatever is beside them."""

from __future__ import annotations

import numpy as np
import pytest
from CarotidLandmarkLib.volume import Volume, lumen_hu
from CarotidLandmarkLib.volume.values import USUAL_LUMEN_HU
from hypothesis import given, settings
from hypothesis import strategies as st


def scan(lumen, beside=40.0, spacing=(1.0, 1.0, 1.0)):
    """Two vessels of 4 mm radius along z at x = 14 and 46, in a block of 60 mm."""
    size = [round(60 / step) for step in spacing]
    _, j, i = np.mgrid[: size[2], : size[1], : size[0]]
    x, y = i * spacing[0], j * spacing[1]
    hu = np.full(x.shape, beside)
    for place, value in zip((14, 46), np.broadcast_to(lumen, 2), strict=True):
        hu[np.hypot(x - place, y - 30) < 4] = value
    return Volume(hu.astype(np.int16), np.diag([*spacing, 1.0]), "two")


@settings(max_examples=20, deadline=None)
@given(st.floats(200, 800), st.sampled_from([(1.0, 1.0, 1.0), (0.5, 0.5, 3.0)]))
def test_it_is_the_lumen_s_hu_whatever_the_voxels(lumen, spacing):
    assert lumen_hu(scan(lumen, spacing=spacing), [(14, 30, 30), (46, 30, 30)]) == pytest.approx(lumen, abs=1.0)


def test_calcium_in_the_wall_does_not_raise_it():
    volume = scan(400)
    volume.array[28:33, 33:35, 12:17] = 1200
    assert lumen_hu(volume, [(14, 30, 30)]) == pytest.approx(400)


@pytest.mark.parametrize("points", [[], [(30, 5, 30)], [(-500, 0, 0)]], ids=["none", "beside a vessel", "outside"])
def test_without_an_enhanced_voxel_it_is_the_usual_one(points):
    assert lumen_hu(scan(400), points) == USUAL_LUMEN_HU
