"""Which case is reviewed next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from CarotidLandmarkLib.dataset import (
    Dataset,
    order_cases,
)
from CarotidLandmarkLib.detection import LandmarkResult


class TestReviewQueue:
    @pytest.fixture
    def queue(self, dataset, case_volume, make_detection) -> Dataset:
        """Cases a to e, e without a prediction; c1 is reviewed by anna."""
        for case_id, result in {
            "a": make_detection(volume_mm3=20, presence=0.9),
            "b": make_detection(volume_mm3=400, presence=0.99),
            "c": make_detection(volume_mm3=10, presence=0.93, verdict="review"),
            "d": make_detection(volume_mm3=30, presence=0.5),
            "c1": make_detection(volume_mm3=9000, presence=0.5, verdict="reject"),
        }.items():
            if case_id != "c1":
                dataset.add_case(case_volume, case_id)
            dataset.save_prediction(case_id, result)
        dataset.add_case(case_volume, "e")
        return dataset

    def test_the_most_uncertain_unreviewed_case_comes_first(self, queue):
        # b has regions of 4.6 mm (10.3 mm of expected cost), d one of 1.9 mm whose presence is open (14.9 mm).
        assert order_cases(queue) == ["c", "d", "b", "a", "e", "c1"]

    def test_a_landmark_called_missing_is_reviewed_before_points_found_well_the_less_sure_first(
        self, queue, make_detection, case_volume
    ):
        for case_id, presence in (("sure", 0.01), ("surer", 0.001), ("unsure", 0.3), ("unsurer", 0.4)):
            prediction = make_detection(volume_mm3=8)
            missing = LandmarkResult("left_carotid_bifurcation", "missing", presence)
            queue.add_case(case_volume, case_id)
            queue.save_prediction(case_id, replace(prediction, landmarks=(missing, prediction.landmarks[1])))
        assert order_cases(queue) == ["c", "d", "unsurer", "unsure", "sure", "surer", "b", "a", "e", "c1"]

    def test_the_most_doubtful_presence_comes_first(self, queue):
        assert order_cases(queue, "doubtful") == ["d", "a", "c", "b", "e", "c1"]

    def test_a_second_annotator_still_has_the_case_of_the_first_to_do(self, queue):
        assert order_cases(queue, annotator="ben")[0] == "c1"
        assert order_cases(queue, annotator="anna")[-1] == "c1"

    def test_a_random_order_follows_its_seed_and_stays_when_cases_are_added(self, queue, case_volume):
        order = order_cases(queue, "random", seed=1)
        assert order == order_cases(queue, "random", seed=1) and sorted(order) == queue.case_ids()
        assert len({tuple(order_cases(queue, "random", seed=seed)) for seed in range(10)}) > 3
        queue.add_case(case_volume, "new")
        assert [case for case in order_cases(queue, "random", seed=1) if case != "new"] == order

    def test_another_order_is_refused(self, queue):
        with pytest.raises(ValueError, match="'best' is not an order"):
            order_cases(queue, "best")
