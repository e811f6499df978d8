"""The module's own self-tests, the ones that Slicer runs by ctest, here on the harness."""

from __future__ import annotations

import importlib.metadata
import unittest

import pytest

NAMES = [
    "test_detect_finds_both_bifurcations_of_the_bundled_scan",
    "test_markups_are_named_fixed_and_where_the_detection_says",
    "test_ellipsoids_lie_around_their_points_and_are_as_large_as_reported",
    "test_points_follow_the_transform_of_their_scan",
    "test_points_that_are_put_under_a_transform_of_their_own_count_as_moved_by_hand",
    "test_points_stay_on_the_anatomy_when_their_scan_is_cropped_in_place",
    "test_a_review_is_shown_on_the_point_and_can_be_undone",
    "test_scene_and_review_survive_saving_and_opening",
    "test_work_on_a_case_of_a_dataset_is_a_draft_until_it_is_saved",
    "test_cancel_returns_at_once_and_leaves_the_scene_alone",
    "test_a_question_can_be_put_with_a_default_and_a_button_for_escape",
    "test_nodes_that_have_left_the_scene_are_let_go",
    "test_what_the_user_has_put_into_the_folder_of_a_detection_stays",
    "test_a_point_that_was_cleared_deleted_or_renamed_is_there_again_and_counts_as_not_placed",
    "test_points_go_with_a_scan_that_is_centred_and_keep_their_place_in_its_image",
    "test_points_in_another_order_keep_their_names",
    "test_after_a_second_detection_undo_does_not_go_back_before_it",
    "test_a_colour_volume_is_no_scan",
    "test_an_installation_that_fails_is_a_sentence",
    "test_after_cancel_nothing_of_the_detection_is_left",
    "test_bad_input_is_refused_in_one_sentence",
]


@pytest.mark.parametrize("name", NAMES)
def test_self_test(widget, name):
    import CarotidLandmark

    case = CarotidLandmark.CarotidLandmarkTest(name)
    result = case.run()
    assert result.wasSuccessful(), [text for _case, text in result.failures + result.errors]
    assert result.skipped == []


def test_where_nothing_can_be_detected_the_self_tests_leave_it_out_one_by_one_and_all_together(widget, monkeypatch):
    import CarotidLandmark

    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(CarotidLandmark.CarotidLandmarkTest, "_found", None)
    for name in (NAMES[0], "test_after_cancel_nothing_of_the_detection_is_left"):
        ((_case, reason),) = CarotidLandmark.CarotidLandmarkTest(name).run().skipped
        assert "Detect needs the extension PyTorch" in reason
    try:
        CarotidLandmark.CarotidLandmarkTest().runTest()
    except unittest.SkipTest:
        pytest.fail("one that was left out has ended all")


def test_every_self_test_is_listed_here(widget):
    import CarotidLandmark

    methods = [name for name in dir(CarotidLandmark.CarotidLandmarkTest) if name.startswith("test_")]
    assert sorted(NAMES) == sorted(methods)
