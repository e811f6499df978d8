"""The roll of a patient is measured from the likeness of the two sides, however the scan's own axes lie."""

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.nets.roll import roll_degrees, turn
from CarotidLandmarkLib.volume import Volume
from hypothesis import example, given, settings
from hypothesis import strategies as st

SCALES = (4.0, 2.0, 1.0, 0.5)
AXES = {
    "axial": np.eye(3),
    "from the feet": np.diag([-1.0, -1.0, 1.0]),
    "upside down": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
}


def neck(degrees, axes=AXES["axial"], spacing=4.0, tilted=0.0, centre_lps=(30.0, -200.0, 900.0)):
    """A neck with a spine, an airway and a jaw, rolled onto the left side, and somewhat more on its right side."""
    n = 40
    k, j, i = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing] * 3, indexing="ij")
    lps = np.stack([i, j, k], -1) @ axes.T
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y, z = c * lps[..., 0] + s * lps[..., 1], c * lps[..., 1] - s * lps[..., 0], lps[..., 2]
    y = y + np.tan(np.radians(tilted)) * z
    hu = np.full(x.shape, -1000.0)
    hu[np.hypot(x / 55, y / 60) < 1] = 40.0
    hu[np.hypot(x, y - 30) < 13] = 500.0
    hu[np.hypot(x, y + 20) < 9] = -1000.0
    hu[(np.abs(np.hypot(x, (y + 10) / 1.2) - 42) < 5) & (y < 0) & (z > 20)] = 900.0
    hu[np.hypot(x + 35, y - 10) < 8] = 300.0
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = np.array(centre_lps) - affine[:3, :3] @ np.full(3, (n - 1) / 2)
    return Volume(hu.astype(np.float32), affine)


def roll(volume):
    return roll_degrees(Pyramid(volume, SCALES))


@settings(max_examples=25, deadline=None)
@given(st.floats(-70, 70), st.sampled_from(sorted(AXES)), st.floats(-15, 15))
@example(0.0, "axial", 0.0)
@example(70.0, "sagittal", 0.0)
def test_a_roll_is_measured_within_three_degrees(degrees, axes, tilted):
    measured_degrees, _ = roll(neck(degrees, AXES[axes], tilted=tilted))
    assert measured_degrees == pytest.approx(degrees, abs=3.0)


def test_the_symmetry_gained_is_nothing_upright_and_plain_when_rolled():
    assert roll(neck(0.0))[1] == 0.0
    assert roll(neck(45.0))[1] > 0.2 and roll(neck(-45.0))[1] > 0.2


@pytest.mark.parametrize("hu", [-1000.0, 40.0])
def test_a_scan_that_shows_nothing_is_not_turned(hu):
    measured_degrees, gain = roll(Volume(np.full((20, 20, 20), hu, np.float32), np.diag([4.0, 4.0, 4.0, 1.0])))
    assert np.isfinite(measured_degrees) and abs(gain) < 0.1


@given(st.floats(-180, 180))
def test_a_turn_keeps_the_middle_and_goes_from_the_left_to_the_back(degrees):
    middle = torch.tensor([3.0, -40.0, 120.0], dtype=torch.float64)
    transform = turn(middle, degrees).numpy()
    assert np.allclose(transform @ [*middle.tolist(), 1.0], [*middle.tolist(), 1.0])
    angle = np.radians(degrees)
    assert np.allclose(transform[:3, :3] @ [1, 0, 0], [np.cos(angle), np.sin(angle), 0])
    assert np.allclose(transform[:3, 2], [0, 0, 1]) and np.linalg.det(transform) == pytest.approx(1.0)
