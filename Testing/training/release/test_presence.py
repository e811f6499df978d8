"""Presence as a probability: what the heads say, stretched and shifted to fit."""

import numpy as np
import pytest
import torch
from carotid_training.release.presence import log_odds_of, platt, with_presence
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from ..outcomes import outcome


@given(st.floats(0.5, 5.0), st.floats(-6.0, 6.0), st.integers(0, 99))
def test_the_line_that_made_the_cases_is_found_again(slope, middle, seed):
    random = np.random.default_rng(seed)
    log_odds = random.normal(middle, 2.0, 4000)
    present = random.random(4000) < expit(slope * (log_odds - middle))
    fitted_slope, offset = platt(log_odds, present)
    assert fitted_slope == pytest.approx(slope, rel=0.25)
    assert -offset / fitted_slope == pytest.approx(middle, abs=0.25)


def test_cases_that_can_be_told_apart_get_a_zero_between_them_and_no_certainty():
    slope, offset = platt([2.0, 2.2, 2.4, 2.5, 2.6] + [3.0, 3.1, 3.4, 3.5, 4.0] * 4, [False] * 5 + [True] * 20)
    probability = expit(slope * np.array([2.0, 2.6, 3.0, 4.0]) + offset)
    assert probability[1] < 0.5 < probability[2]
    assert probability[0] > 0.001 and probability[3] < 0.999


def test_what_does_not_tell_is_refused():
    with pytest.raises(ValueError, match="5 that are not: 20 and 4"):
        platt(np.arange(24.0), [False] * 4 + [True] * 20)
    with pytest.raises(ValueError, match="have not learnt it"):
        platt(-np.arange(24.0), [False] * 6 + [True] * 18)


def test_the_changed_weights_say_the_line_of_what_the_weights_said():
    sides = (LandmarkSpec("left", "L", "right"), LandmarkSpec("right", "R", "left"))
    torch.manual_seed(0)
    net = MultiScaleLocNet(Architecture(sides, widths=((4, 8),) * 4))
    seen = [type("Seen", (), {"descriptor": torch.randn(1, 2, 3, 6)}) for _ in range(4)]
    before = net.presence_logit(seen)
    net.load_state_dict(with_presence(net.state_dict(), 2.5, -7.0))
    torch.testing.assert_close(net.presence_logit(seen), 2.5 * before - 7.0)


def test_log_odds_are_read_from_what_was_found_also_where_it_was_sure():
    cases = [outcome(presence=0.5), outcome(presence=1.0, present=False), outcome(presence=float(expit(3.0)))]
    log_odds, present = log_odds_of(cases)
    assert present == [True, False, True]
    assert log_odds[0] == pytest.approx(0) and log_odds[2] == pytest.approx(3) and 15 < log_odds[1] < 25
