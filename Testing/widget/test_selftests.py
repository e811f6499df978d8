"""The module's own self-tests, the ones that Slicer runs by ctest, here on the harness."""

from __future__ import annotations

import pytest

NAMES = [
    "test_detect_finds_both_bifurcations_of_the_bundled_scan",
    "test_markups_are_named_fixed_and_where_the_detection_says",
    "test_ellipsoids_lie_around_their_points_and_are_as_large_as_reported",
    "test_points_follow_the_transform_of_their_scan",
    "test_a_review_is_shown_on_the_point_and_can_be_undone",
    "test_scene_and_review_survive_saving_and_opening",
    "test_work_on_a_case_of_a_dataset_is_a_draft_until_it_is_saved",
    "test_cancel_returns_at_once_and_leaves_the_scene_alone",
    "test_bad_input_is_refused_in_one_sentence",
]


@pytest.mark.parametrize("name", NAMES)
def test_self_test(widget, name):
    import CarotidLandmark

    case = CarotidLandmark.CarotidLandmarkTest(name)
    result = case.run()
    assert result.wasSuccessful(), [text for _case, text in result.failures + result.errors]
    assert result.skipped == []


def test_every_self_test_is_listed_here(widget):
    import CarotidLandmark

    methods = [name for name in dir(CarotidLandmark.CarotidLandmarkTest) if name.startswith("test_")]
    assert sorted(NAMES) == sorted(methods)
