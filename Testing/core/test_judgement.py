"""The judgement of answers: probabilities from evidence, and what is no judgement."""

import numpy as np
import pytest
from CarotidLandmarkLib.uncertainty import Judgement
from hypothesis import given
from hypothesis import strategies as st

WEIGHTS = st.lists(st.floats(-50, 50), min_size=4, max_size=4).map(tuple)


@given(WEIGHTS, WEIGHTS, st.lists(st.floats(-100, 100), min_size=6, max_size=6))
def test_a_right_answer_is_never_likelier_than_that_there_is_a_landmark(presence, reliability, numbers):
    there, right = Judgement(presence, reliability).probabilities(np.reshape(numbers, (2, 3)))
    assert ((right >= 0) & (right <= there) & (there <= 1)).all()


def test_the_last_weight_is_that_of_a_landmark_of_which_nothing_is_known():
    there, right = Judgement((1.0, 2.0, np.log(9.0)), (0.0, 0.0, np.log(3.0))).probabilities(np.zeros((1, 2)))
    assert there == pytest.approx([0.9]) and right == pytest.approx([0.75])


@pytest.mark.parametrize(("presence", "reliability"), [((1.0,), (1.0,)), ((1.0, 2.0), (1.0, 2.0, 3.0))])
def test_weights_of_different_evidence_are_no_judgement(presence, reliability):
    with pytest.raises(ValueError, match="same evidence"):
        Judgement(presence, reliability)
