"""How the chain behaved on a scan, in numbers that mean the same in any tissue."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from .chain import ScaleOutput

# Lengths enter as logarithms; a shorter one says no more.
SHORTEST_MM = 0.1


def evidence_of(outputs: Sequence[ScaleOutput], presence_logit: Tensor, elsewhere: Sequence[float]) -> np.ndarray:
    """[L, F] for one scan: ``outputs`` of all scales, the last under noise; presence_logit [1, L] of the heads.

    In this order: the heads' log-odds; each scale's mean peak; the mean spread of the last heatmaps, that of the
    passes' answers, and how far each scale moved the answer (logarithms of millimetres); the root of the share of the
    odds that the search sees ``elsewhere`` [L].
    """
    places = [_array(output.position_lps) for output in outputs]  # [L, P, 3] each
    peaks = [_array(output.peak).mean(axis=1) for output in outputs]
    heatmaps = np.sqrt(np.trace(_array(outputs[-1].covariance_mm2).mean(axis=1), axis1=1, axis2=2))
    passes = np.sqrt(places[-1].var(axis=1).sum(axis=-1))
    moved = [np.linalg.norm(after.mean(axis=1) - before.mean(axis=1), axis=-1) for before, after in pairwise(places)]
    lengths = [np.log(np.maximum(length, SHORTEST_MM)) for length in (heatmaps, passes, *moved)]
    return np.column_stack([_array(presence_logit), *peaks, *lengths, np.sqrt(elsewhere)])


def _array(of_one_scan: Tensor) -> np.ndarray:
    return of_one_scan[0].detach().cpu().double().numpy()
