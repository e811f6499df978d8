"""The other generator's necks: their truth is where a lumen becomes two, in every storage order of the voxels."""

from functools import cache

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import DatasetError
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from benchmarks.accuracy import plain_necks as plain

neck = cache(plain.plain_neck)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.2, 0.7), st.floats(1.5, 3.0), st.floats(0, 6.28), st.tuples(*[st.floats(-40, 40)] * 3))
def test_two_branches_of_a_fork_part_where_their_ellipses_do(slope, radius, angle, start):
    aside = np.array([np.cos(angle), np.sin(angle), 0])
    up = np.array([[0, 0, 0], [0, 0, 40.0]])
    left, right = (plain.Tube(start + up + up[:, 2:] * slope * sign * aside, np.full(2, radius)) for sign in (1, -1))
    common = plain.Tube(start - up, np.full(2, radius))
    apex = np.array(plain._apex(common, left, right))
    # A level cuts a branch in an ellipse, wider by 1 / cos of the angle it climbs at.
    height = radius * np.hypot(1, slope) / slope
    assert np.allclose(apex[:2], start[:2], atol=0.21)
    assert height - 0.01 <= apex[2] - start[2] <= height + 0.1 + 0.2 / slope


@pytest.mark.parametrize("seed", [15, 23])
def test_the_carotid_is_bright_below_the_truth_and_two_lumens_lie_beside_it_above(seed):
    volume, truth = neck(seed)

    def hu(points):
        index = (np.asarray(points) - volume.affine_lps[:3, 3]) @ np.linalg.inv(volume.affine_lps[:3, :3]).T
        return map_coordinates(volume.array.astype(np.float32), index.T[::-1], order=1)

    assert len(truth) == 2
    assert truth["left_carotid_bifurcation"][0] > 0 > truth["right_carotid_bifurcation"][0]
    for point in truth.values():
        assert hu([np.subtract(point, (0, 0, d)) for d in (3, 4, 5)]).mean() > 150
        circle = [(4 * np.cos(a), 4 * np.sin(a), 4.0) for a in np.linspace(0, 6.28, 24)]
        wall = hu([np.add(point, (0, 0, 5))]).item()
        assert hu(np.add(point, circle)).max() > wall + 50


def test_a_seed_is_one_neck():
    first, truth = neck(15)
    again, same = plain.plain_neck(15)
    assert np.array_equal(first.array, again.array) and truth == same


def test_a_cohort_that_was_stopped_goes_on_with_the_same_necks(tmp_path):
    seed = 11
    begun = plain.plain_cohort(1, tmp_path / "plain", seed)
    stored = begun.case(begun.case_ids()[0])
    file, told = stored.image_path.stat(), []
    dataset = plain.plain_cohort(1, tmp_path / "plain", seed, lambda done, total: told.append((done, total)))
    assert dataset.case_ids() == begun.case_ids() and stored.image_path.stat().st_mtime_ns == file.st_mtime_ns
    assert told == [(1, 1)]
    truth = plain.plain_neck(seed * 1000)[1]
    points = dataset.case(dataset.case_ids()[0]).annotation("truth").points
    assert all(np.allclose(points[name], truth[name], atol=1e-3) for name in truth)
    with pytest.raises(DatasetError, match="choose a new folder"):
        plain.plain_cohort(1, tmp_path / "plain", seed + 1)
