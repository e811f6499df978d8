"""Presence heads fitted for themselves: on necks half of which lack a bifurcation."""

import numpy as np
import pytest
import torch
from carotid_training.necks.styles import Styles
from carotid_training.release.presence_heads import (
    CANDIDATES,
    Evidence,
    HeadNecks,
    LookedAt,
    fit,
    look,
    refitted,
    with_heads,
)
from carotid_training.seeds import split_of
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.nets.chain import Architecture, MultiScaleLocNet

SIDES = (LandmarkSpec("left", "L", "right"), LandmarkSpec("right", "R", "left"))
SMALL = Architecture(SIDES, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return MultiScaleLocNet(SMALL)


def evidence(count, seed, usually_present=0.6):
    """What tells is the third number, four times as large as the others; six in ten are present."""
    random = np.random.default_rng(seed)
    present = random.random(count) < 0.6
    descriptors = random.normal(2.0, [1.0, 1.0, 4.0], (count, 3))
    descriptors[:, 2] += np.where(present, 6.0, -6.0)
    return Evidence(descriptors, present, usually_present)


def test_heads_tell_present_from_absent_where_they_have_not_looked():
    weights, bias = fit(evidence(300, 1))
    unseen = evidence(300, 2)
    odds = unseen.descriptors @ weights + bias
    assert ((odds > 0) == unseen.present).mean() > 0.9
    assert abs(weights[2] * 4) > 5 * abs(weights[:2]).max()


def test_presence_is_as_likely_as_in_necks_as_they_come():
    rare, weights = evidence(300, 1, 0.95), fit(evidence(300, 1))
    again, bias = fit(rare)
    assert np.array_equal(again, weights[0])
    assert bias - weights[1] == pytest.approx(np.log(19) - np.log(0.6 / 0.4))
    random = np.random.default_rng(3)
    nothing = Evidence(random.normal(size=(4000, 3)), random.random(4000) < 0.6, 0.95)
    weights, bias = fit(nothing)
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(0.95, abs=0.01)


def test_necks_without_absent_landmarks_teach_no_presence():
    few = Evidence(np.zeros((40, 3)), np.arange(40) > 3, 0.9)
    with pytest.raises(ValueError, match="5 absent landmarks"):
        fit(few)


def test_the_nets_say_what_was_fitted_whatever_the_order_of_their_weights(net):
    seen = [type("Seen", (), {"descriptor": torch.randn(1, 2, 3, 6)}) for _ in range(4)]
    weights, bias = np.random.default_rng(0).normal(size=24), 1.5
    backwards = dict(reversed(net.state_dict().items()))
    for state in (net.state_dict(), backwards):
        changed = MultiScaleLocNet(SMALL)
        changed.load_state_dict(with_heads(state, weights, bias))
        together = torch.cat([one.descriptor.mean(dim=2) for one in seen], dim=-1).double()
        expected = together @ torch.from_numpy(weights) + bias
        torch.testing.assert_close(changed.presence_logit(seen), expected.float(), rtol=1e-4, atol=1e-4)
        other = [name for name in net.state_dict() if not name.startswith("presence.")]
        assert all(torch.equal(changed.state_dict()[name], net.state_dict()[name]) for name in other)


def test_every_second_neck_lacks_a_bifurcation_and_all_are_of_training_seeds(net):
    necks = LookedAt(net, Styles(), 2)
    lacking, any_neck = necks.drawn(0), necks.drawn(1)
    assert not lacking.truth.present.all()
    assert {split_of(lacking.seed), split_of(any_neck.seed)} == {"train"} and lacking.seed != any_neck.seed
    assert any_neck.seed % CANDIDATES == 0  # the first of its candidates, whatever it is


def test_evidence_is_what_the_nets_say_at_test_and_too_little_of_it_is_refused(net):
    told = []
    with pytest.raises(ValueError, match="add necks"):
        refitted(SMALL, net.state_dict(), HeadNecks(1, Styles()), told.append)
    assert told == [1]
    found = look(net, HeadNecks(1, Styles()), told.append)
    again, present = LookedAt(net, Styles(), 1)[0]
    assert np.array_equal(found.descriptors, again.numpy()) and np.array_equal(found.present, present.numpy())
