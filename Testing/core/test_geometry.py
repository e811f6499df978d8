"""Voxels and millimetres: there and back, whatever the directions; and what is no lattice in a patient."""

from __future__ import annotations

import numpy as np
import pytest
from CarotidLandmarkLib.geometry import Geometry
from CarotidLandmarkLib.landmarks import is_place
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

spacing = st.floats(0.05, 10.0)
place = st.floats(-2000.0, 2000.0)
sizes = st.tuples(*[st.integers(1, 600)] * 3)


@st.composite
def geometries(draw):
    axes = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    if draw(st.booleans()):
        axes[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = axes * [draw(spacing) for _ in range(3)]
    affine[:3, 3] = [draw(place) for _ in range(3)]
    return Geometry(affine, draw(sizes))


@given(geometries(), st.tuples(place, place, place))
def test_millimetres_become_voxels_and_millimetres_again(geometry, point):
    assert geometry.to_lps(geometry.to_voxels(point)) == pytest.approx(point, abs=1e-6)


@given(geometries())
def test_a_scan_contains_its_voxels_and_nothing_beyond_their_faces(geometry):
    corner = np.array(geometry.size) - 0.5
    assert geometry.contains(geometry.centre_lps)
    assert geometry.contains(geometry.to_lps(corner - 1e-4)) and geometry.contains(geometry.to_lps((-0.4999,) * 3))
    for axis in range(3):
        outside = corner - 0.5
        outside[axis] += 0.6
        assert not geometry.contains(geometry.to_lps(outside))


@given(geometries())
def test_the_spacing_is_the_step_from_voxel_to_voxel(geometry):
    for axis in range(3):
        step = geometry.to_lps(np.eye(3)[axis]) - geometry.to_lps((0, 0, 0))
        assert np.linalg.norm(step) == pytest.approx(geometry.spacing_mm[axis])


def test_the_same_lattice_is_the_same_to_a_micrometre():
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    moved = affine.copy()
    moved[0, 3] = 5e-4
    assert Geometry(affine, (4, 5, 6)).same_as(Geometry(moved, (4, 5, 6)))
    moved[0, 3] = 5e-3
    assert not Geometry(affine, (4, 5, 6)).same_as(Geometry(moved, (4, 5, 6)))
    assert not Geometry(affine, (4, 5, 6)).same_as(Geometry(affine, (4, 5, 7)))


@pytest.mark.parametrize(
    ("affine", "size"),
    [
        (np.eye(3), (4, 4, 4)),
        (np.diag([1.0, np.nan, 1.0, 1.0]), (4, 4, 4)),
        (np.diag([1.0, 0.0, 1.0, 1.0]), (4, 4, 4)),
        (np.diag([1.0, 1.0, 1.0, 2.0]), (4, 4, 4)),
        (np.diag([1.0, 1.0, 1e7, 1.0]), (4, 4, 4)),
        (np.array([[1.0, 1.0, 0, 0], [0, 1e-6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), (4, 4, 4)),
        (np.eye(4), (4, 0, 4)),
        (np.eye(4), (4, 10**9, 4)),
    ],
)
def test_what_is_no_lattice_is_refused(affine, size):
    with pytest.raises(ValueError):
        Geometry(affine, size)


@pytest.mark.parametrize(
    ("point", "expected"),
    [((0, 0, 0), True), ((1e4, -1e4, 3), True), ((0, 0), False), ((0, 0, np.nan), False), ((0, 0, 1e9), False)],
)
def test_a_place_is_three_finite_numbers_near_a_scanner(point, expected):
    assert is_place(point) == expected


orders = st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))


@given(geometry=geometries(), size=st.tuples(*[st.integers(2, 5)] * 3), order=orders)
def test_voxels_of_one_lattice_are_the_same_in_whatever_order_they_are_stored(geometry, size, order):
    axes, flips = order
    whole = Geometry(geometry.affine_lps, size)
    array = np.arange(np.prod(size)).reshape(size[::-1])
    step = np.zeros((4, 4))
    step[3, 3] = 1.0
    stored = array.transpose(2, 1, 0).transpose(axes)
    for n, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        step[axis, n] = -1 if flip else 1
        step[axis, 3] = size[axis] - 1 if flip else 0
        stored = np.flip(stored, n) if flip else stored
    other = Geometry(whole.affine_lps @ step, tuple(size[axis] for axis in axes))
    assert np.array_equal(whole.reordered(stored.transpose(2, 1, 0), other), array)
    moved = other.affine_lps.copy()
    moved[:3, 3] += 0.02
    assert whole.reordered(stored.transpose(2, 1, 0), Geometry(moved, other.size)) is None
    longer = Geometry(other.affine_lps, (other.size[0] + 1, *other.size[1:]))
    assert whole.reordered(np.zeros(longer.size[::-1]), longer) is None


@pytest.mark.parametrize("stored", ["xyz", "zyx", "yzx"])
@pytest.mark.parametrize("upwards", [True, False])
def test_axial_slices_are_counted_from_the_feet_however_the_scan_is_stored(stored, upwards):
    affine, steps = np.eye(4), {"x": 0.5, "y": 0.5, "z": 2.0}
    for column, axis in enumerate(stored):
        affine[:3, column] = np.eye(3)["xyz".index(axis)] * steps[axis] * (1 if upwards or axis != "z" else -1)
    geometry = Geometry(affine, tuple(40 if axis == "z" else 100 for axis in stored))
    lowest = min(geometry.to_lps([0, 0, 0])[2], geometry.to_lps(np.array(geometry.size) - 1)[2])
    x, y, _ = geometry.centre_lps
    assert geometry.axial_slice((x, y, lowest)) == (1, 40)
    assert geometry.axial_slice((x, y, lowest + 2 * 12.2)) == (13, 40)
    assert geometry.axial_slice((x, y, lowest + 500)) == (40, 40)
