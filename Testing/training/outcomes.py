"""Outcomes made by hand: what a detector could have said, without one."""

from __future__ import annotations

import numpy as np
from carotid_training.evaluation.outcomes import Outcome
from carotid_training.evaluation.summary import Model
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.detection import LandmarkResult

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
LANDMARKS = (LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT))
PLACES = {LEFT: (30.0, 0.0, 0.0), RIGHT: (-30.0, 0.0, 0.0)}


def outcome(
    case="a",
    name=LEFT,
    error=(0.0, 0.0, 0.0),
    sd=1.0,
    present=True,
    presence=0.9,
    verdict="ok",
    group=None,
    reliability=None,
) -> Outcome:
    """One landmark at its usual place, found ``error`` mm away (None: called missing), sd the same along each axis."""
    truth = PLACES[name]
    answer = LandmarkResult(name, "missing", presence)
    if error is not None:
        position = tuple(float(a + b) for a, b in zip(truth, error, strict=True))
        covariance = tuple(map(tuple, (np.eye(3) * sd**2).tolist()))
        answer = LandmarkResult(
            name, "detected", presence, position, (sd / 2,) * 3, covariance, reliability=reliability
        )
    return Outcome(
        case, group or f"patient of {case}", (0.0, 0.0, 0.0), name, truth if present else None, answer, verdict
    )


def cohort(cases=12, seed=0) -> list[Outcome]:
    """Both landmarks of several cases; the sd is the true one, some landmarks are absent, missed or far off."""
    generator = np.random.default_rng(seed)
    outcomes = []
    for number in range(cases):
        for name in (LEFT, RIGHT):
            present = number % 5 != 1 or name == RIGHT
            sd = float(generator.lognormal(0, 0.5))
            error = generator.normal(0, sd, 3) * (10 if number == 7 else 1)
            presence = float(generator.uniform(0.4, 1) if present else generator.uniform(0, 0.7))
            verdict = "review" if number % 4 == 3 else "ok"
            answer = error if presence >= 0.5 else None
            outcomes.append(outcome(f"case-{number:02d}", name, answer, sd, present, presence, verdict))
    return outcomes


def model(calibration=None) -> Model:
    """A model of both landmarks."""
    return Model("by hand 1.0", LANDMARKS, calibration or {})


def calibration(**factors: float) -> dict:
    """The same factor for both landmarks: ``calibration(**{"0.9": 2.5})``."""
    return {level: {name: {"factor": factor, "n": 60} for name in (LEFT, RIGHT)} for level, factor in factors.items()}
