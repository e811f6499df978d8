"""Presence made a probability: the heads' log-odds, stretched and shifted to fit cases that they were not trained on.

Left alone, the heads' sum has the right order and the wrong zero: on 84 landmarks of 42 unseen necks present and absent
ones met at log-odds of 2.9 and not at 0, so that absent ones were called found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from CarotidLandmarkLib.errors import UserError
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from torch import Tensor

from ..evaluation.outcomes import Outcome

# Fewer absent (or present) landmarks say too little about where the two meet.
FEWEST = 5


def platt(log_odds: Sequence[float], present: Sequence[bool]) -> tuple[float, float]:
    """Slope and offset that make ``log_odds`` those of presence (J. Platt, 1999, with his softened targets).

    Raises UserError where fewer than `FEWEST` landmarks are present or absent, or where the log-odds do not tell.
    """
    x, there = np.asarray(log_odds, dtype=float), np.asarray(present, dtype=bool)
    yes, no = int(there.sum()), int((~there).sum())
    if min(yes, no) < FEWEST:
        raise UserError(f"Presence needs {FEWEST} landmarks that are there and {FEWEST} that are not: {yes} and {no}.")
    target = np.where(there, (yes + 1) / (yes + 2), 1 / (no + 2))
    middle, spread = x.mean(), max(x.std(), 1e-6)
    z = (x - middle) / spread

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        odds = line[0] * z + line[1]
        rest = expit(odds) - target
        likelihood = target * log_expit(odds) + (1 - target) * log_expit(-odds)
        return -float(likelihood.sum()), np.array([rest @ z, rest.sum()])

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    if slope <= 0:
        raise UserError("Presence is no likelier where the heads say so: they have not learnt it.")
    return float(slope / spread), float(offset - slope * middle / spread)


def log_odds_of(outcomes: Sequence[Outcome]) -> tuple[list[float], list[bool]]:
    """Each landmark's log-odds of presence as detected, and whether it is there."""
    share = np.clip([outcome.result.presence for outcome in outcomes], 1e-9, 1 - 1e-9)
    return np.log(share / (1 - share)).tolist(), [outcome.truth_lps is not None for outcome in outcomes]


def with_presence(state: Mapping[str, Tensor], slope: float, offset: float) -> dict[str, Tensor]:
    """The weights of a `MultiScaleLocNet` whose presence has ``slope`` times the log-odds, plus ``offset``."""
    changed = dict(state)
    heads = [name for name in state if name.startswith("presence.")]
    for name in heads:
        changed[name] = state[name] * slope
    last = max(name for name in heads if name.endswith("bias"))
    changed[last] = changed[last] + offset
    return changed
