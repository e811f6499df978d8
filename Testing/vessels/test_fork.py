"""The fork of a mask of tubes is where geometry says, in any orientation; what makes it doubtful is said."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from CarotidLandmarkLib.geometry import Geometry
from CarotidLandmarkLib.vessels import Lumens, Role, Segmentation, carotid_forks, forks
from CarotidLandmarkLib.volume import Volume

from .phantoms import APEX_MM, JUNCTION_MM, SLOPE, VOXEL_MM, apex, fork, geometry

X = -8.0


def forks_of(mask: np.ndarray, grid: Geometry | None = None):
    return forks(Lumens.of(mask, grid or geometry()))


def rotation(degrees: float) -> np.ndarray:
    """About x, then about y."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def test_the_fork_of_two_tubes_is_within_a_voxel_of_where_they_touch():
    (one,) = forks_of(fork(X) > 0)
    assert np.abs(one.point - apex(X)).max() <= VOXEL_MM
    assert one.notes == ()


@pytest.mark.parametrize(
    "order, turned",
    list(zip(itertools.permutations(range(3)), [(0, 1, 2), (0,), (1, 2), (), (2,), (0, 1)], strict=True)),
)
def test_the_order_and_direction_of_the_axes_do_not_matter(order, turned):
    mask, grid = fork(X) > 0, geometry()
    affine = grid.affine_lps.copy()
    for axis in turned:
        mask = np.flip(mask, 2 - axis)
        affine[:3, 3] += affine[:3, axis] * (grid.size[axis] - 1)
        affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, list(order)]
    mask = mask.transpose([2 - axis for axis in order[::-1]])
    (one,) = forks_of(mask, Geometry(affine, mask.shape[::-1]))
    assert np.abs(one.point - apex(X)).max() <= VOXEL_MM


@pytest.mark.parametrize("degrees", [4.0, 12.0])
def test_an_oblique_mask_is_looked_at_level_by_level_across_the_patient(degrees):
    mask, grid = fork(X) > 0, geometry()
    turn = rotation(degrees)
    affine = np.eye(4)
    affine[:3, :3] = turn * VOXEL_MM
    size = (150, 110, 150)
    affine[:3, 3] = grid.centre_lps - turn @ ((np.array(size) - 1) / 2 * VOXEL_MM)
    oblique = Geometry(affine, size)
    i, j, k = np.meshgrid(*map(np.arange, size), indexing="ij")
    voxels = np.rint(grid.to_voxels(oblique.to_lps(np.stack([i, j, k], axis=-1)))).astype(int)
    inside = ((voxels >= 0) & (voxels < grid.size)).all(axis=-1)
    voxels = np.where(inside[..., None], voxels, 0)
    turned = (mask[voxels[..., 2], voxels[..., 1], voxels[..., 0]] & inside).transpose(2, 1, 0)
    (one,) = forks_of(turned, oblique)
    assert np.linalg.norm(one.point - apex(X)) <= 2 * VOXEL_MM


def test_thick_slices_give_the_fork_to_within_one_of_their_voxels():
    mask = (fork(X) > 0)[::4]
    grid = geometry()
    affine = grid.affine_lps.copy()
    affine[:3, 2] *= 4
    (one,) = forks_of(mask, Geometry(affine, mask.shape[::-1]))
    off = np.abs(one.point - apex(X))
    assert (off <= [VOXEL_MM, VOXEL_MM, 4 * VOXEL_MM]).all()


def test_a_mask_that_ends_below_the_fork_and_a_tube_without_one_have_none():
    assert forks_of(fork(X, high=APEX_MM - 4) > 0) == []
    assert forks_of(fork(X) == 1) == []


def test_a_fork_just_below_the_end_of_the_mask_is_told_with_a_doubt():
    (one,) = forks_of(fork(X, high=APEX_MM + 2) > 0)
    assert np.abs(one.point - apex(X)).max() <= VOXEL_MM
    assert any("the segmentation ends" in note for note in one.notes)


def level(mm: float) -> slice:
    first = round(mm / VOXEL_MM)
    return slice(first, first + 1)


def between(low: float, high: float) -> slice:
    return slice(round(low / VOXEL_MM), round(high / VOXEL_MM))


def test_a_gap_near_the_fork_is_said():
    mask = fork(X) > 0
    mask[between(10, 13)] = False
    (one,) = forks_of(mask)
    assert np.abs(one.point - apex(X)).max() <= VOXEL_MM
    assert any("the lumen has a gap" in note and "below it" in note for note in one.notes)


def test_lumens_that_touch_again_further_up_are_said_and_the_first_level_of_two_counts():
    mask = fork(X) > 0
    height = APEX_MM + 6
    rows = level(height)
    j = round((30.0 - 10.0) / VOXEL_MM)
    columns = np.flatnonzero(mask[rows, j, :].any(axis=0))
    mask[rows, j - 1 : j + 2, columns.min() : columns.max()] = True
    mask[rows.start + 1 : rows.start + 3, j - 1 : j + 2, columns.min() : columns.max()] = True
    every = forks_of(mask)
    assert np.abs(every[0].point - apex(X)).max() <= VOXEL_MM
    assert any("touch again" in note for note in every[0].notes)


def test_a_vein_that_touches_the_common_carotid_is_no_fork_and_one_near_the_fork_is_said():
    def with_vein(touches_from: float, touches_to: float) -> np.ndarray:
        mask, grid = fork(X) > 0, geometry()
        i, j, k = np.meshgrid(*map(np.arange, grid.size), indexing="ij")
        place = grid.to_lps(np.stack([i, j, k], axis=-1)).transpose(2, 1, 0, 3)
        height = place[..., 2] - 200.0
        near = (height >= touches_from) & (height <= touches_to)
        y = np.where(near, 30.0 - 3.2 - 3.8, 30.0 - 3.2 - 6.0)
        return mask | ((place[..., 0] - X) ** 2 + (place[..., 1] - y) ** 2 <= 16.0)

    far = forks_of(with_vein(3, 6))
    assert [np.abs(one.point - apex(X)).max() <= VOXEL_MM for one in far] == [True]
    near = forks_of(with_vein(APEX_MM - 8, APEX_MM - 4))
    assert all(abs(one.point[2] - 200 - APEX_MM) <= 2 * VOXEL_MM for one in near)
    assert near == [] or any("vein touches" in note for note in near[0].notes)


def test_the_fork_of_an_artery_of_the_chest_is_left_out_and_said():
    grid = geometry((120, 70, 280))
    i, j, k = np.meshgrid(*map(np.arange, grid.size), indexing="ij")
    place = grid.to_lps(np.stack([i, j, k], axis=-1)).transpose(2, 1, 0, 3)
    height = place[..., 2] - grid.to_lps((0, 0, 0))[2]

    def tube(radius: float, low: float, high: float, slope: float) -> np.ndarray:
        aside = slope * np.maximum(height - low, 0)
        inside = (place[..., 0] - 22.0 - aside) ** 2 + (place[..., 1] - 30.0) ** 2 <= radius**2
        return inside & (height >= low) & (height <= high)

    trunk_and_carotid, subclavian = tube(3.2, 0, 120, 0), tube(3.0, 15, 45, 0.5)
    mask = trunk_and_carotid | subclavian | tube(2.7, 120, 1e3, SLOPE) | tube(2.2, 120, 1e3, -SLOPE)
    assert len(forks_of(mask, grid)) == 2
    array = np.full(mask.shape, -1000, np.int16)
    array[:, 4:-4, 4:-4] = 40
    points, notes = carotid_forks(
        {Role("left", "lumen"): mask}, Segmentation("mask", grid, ()),
        ("left_carotid_bifurcation", "right_carotid_bifurcation"), Volume(array, grid.affine_lps, "scan"),
    )  # fmt: skip
    place = points["left_carotid_bifurcation"]
    assert place[2] - grid.affine_lps[2, 3] == pytest.approx(120 + APEX_MM - JUNCTION_MM, abs=VOXEL_MM)
    assert any("was taken for that of an artery of the chest" in note for note in notes)
