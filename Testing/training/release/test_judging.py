"""A judgement fitted on digital necks: half of them lack a bifurcation, and the fit knows how rare that is."""

import numpy as np
import pytest
import torch
from carotid_training.necks.styles import Styles
from carotid_training.release.judging import (
    CANDIDATES,
    Answers,
    JudgedNecks,
    JudgementNecks,
    cross_validated,
    fit,
    judged,
)
from carotid_training.seeds import split_of
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.nets.chain import Architecture, MultiScaleLocNet

SIDES = (LandmarkSpec("left", "L", "right"), LandmarkSpec("right", "R", "left"))
SMALL = Architecture(SIDES, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24))


def answers(count: int, seed: int, telling: float = 6.0) -> Answers:
    """The second number tells whether an answer is right, the third whether there is a landmark."""
    random = np.random.default_rng(seed)
    as_they_come = np.arange(count) // 2 % 2 == 1
    present = random.random(count) < np.where(as_they_come, 0.9, 0.3)
    right = present & (random.random(count) < 0.7)
    evidence = random.normal(2.0, [1.0, 1.0, 4.0], (count, 3))
    evidence[:, 1] += telling * right / 2
    evidence[:, 2] += telling * present * 2
    return Answers(evidence, present, right, as_they_come)


def test_a_judgement_tells_right_from_wrong_in_answers_that_it_has_not_seen():
    unseen = answers(400, 2)
    presence, reliability = fit(answers(400, 1)).probabilities(unseen.evidence)
    assert ((presence > 0.5) == unseen.present).mean() > 0.9
    assert ((reliability > 0.5) == unseen.right).mean() > 0.9


def test_probabilities_are_those_of_necks_as_they_come():
    nothing = answers(8000, 3, telling=0.0)
    presence, reliability = fit(nothing).probabilities(nothing.evidence[:5])
    assert presence == pytest.approx(0.9, abs=0.03) and reliability == pytest.approx(0.63, abs=0.03)


def test_answers_that_are_all_right_teach_nothing():
    all_right = answers(60, 1)
    all_right.present[:] = all_right.right[:] = True
    with pytest.raises(ValueError, match="5 landmarks that are absent"):
        fit(all_right)


def test_what_does_not_tell_has_an_area_of_a_half_in_necks_left_out():
    telling, nothing = (cross_validated(answers(2000, 4, tells), 2) for tells in (6.0, 0.0))
    areas = [
        [float(word) for word in words.split() if word[0].isdigit() and "." in word] for words in (telling, nothing)
    ]
    assert min(areas[0]) > 0.95 and areas[1] == pytest.approx([0.5, 0.5], abs=0.06)


def test_every_second_neck_lacks_a_bifurcation_and_all_are_of_training_seeds():
    necks = JudgedNecks(MultiScaleLocNet(SMALL), Styles(), 2)
    lacking, any_neck = necks.drawn(0), necks.drawn(1)
    assert not lacking.truth.present.all()
    assert {split_of(lacking.seed), split_of(any_neck.seed)} == {"train"} and lacking.seed != any_neck.seed
    assert any_neck.seed % CANDIDATES == 0  # the first of its candidates, whatever it is


def test_too_few_necks_are_refused():
    torch.manual_seed(0)
    told = []
    with pytest.raises(ValueError, match="add necks"):
        judged(MultiScaleLocNet(SMALL), JudgementNecks(1, Styles()), told.append)
    assert told == [1]
