"""Two models on the same cases: what each mistake costs, when the new one is worse, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from carotid_training.evaluation.comparison import MISTAKE_MM, compare

from ..outcomes import LEFT, RIGHT, outcome

MIRRORS = {LEFT: RIGHT, RIGHT: LEFT}


def test_a_missed_landmark_and_one_found_where_there_is_none_cost_a_mistake_each():
    outcomes = [outcome("a", LEFT, (3.0, 4.0, 0.0)), outcome("a", RIGHT, None)]
    outcomes += [outcome("b", LEFT, (0.0, 0.0, 0.0), present=False), outcome("b", RIGHT, None, present=False)]
    same = compare(outcomes, outcomes, MIRRORS)
    assert same.cost_mm == ((5 + 2 * MISTAKE_MM) / 4,) * 2
    assert not same.worse and tuple(same.change) == (0.0, 0.0, 0.0)


def test_a_model_that_hides_its_errors_by_calling_landmarks_missing_is_worse():
    before = [outcome(case, LEFT, (8.0, 0.0, 0.0)) for case in "abcd"]
    after = [outcome(case, LEFT, None if case == "d" else (7.0, 0.0, 0.0)) for case in "abcd"]
    change = compare(before, after, MIRRORS)
    rows = {name: values for name, *values in change.rows}
    assert rows["mean error (mm)"] == [8.0, 7.0] and rows["missed, of 4"] == [0.0, 1.0]
    assert change.worse and change.cost_mm == (8.0, (21 + MISTAKE_MM) / 4)


def test_a_model_is_worse_by_what_the_table_shows_and_not_by_rounding():
    before = [outcome(case, LEFT, (8.0, 0.0, 0.0)) for case in "ab"]
    for after, worse in ((8.004, False), (8.006, True)):
        change = compare(before, [outcome(case, LEFT, (after, 0.0, 0.0)) for case in "ab"], MIRRORS)
        assert change.worse is worse
        assert ("| mean cost (mm) | 8 | 8.01 |" in change.markdown("old", "new")) is worse


def test_the_interval_takes_whole_patients():
    before = [outcome(case, LEFT, (4.0, 0.0, 0.0), group="one") for case in "abcdef"]
    after = [outcome(case, LEFT, (float(n), 0.0, 0.0), group="one") for n, case in enumerate("abcdef")]
    change = compare(before, after, MIRRORS)
    assert np.isnan(change.change.low) and change.patients == 1 and change.cases == 6


@pytest.mark.parametrize("other", [outcome("b"), outcome("a", present=False)])
def test_outcomes_of_other_cases_or_by_another_truth_are_not_compared(other):
    with pytest.raises(ValueError, match="not run on the same landmarks"):
        compare([outcome("a")], [other], MIRRORS)
