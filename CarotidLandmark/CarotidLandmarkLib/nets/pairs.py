"""The looks at a landmark beside those at its counterpart: of two places that look alike one fits better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..landmarks import LandmarkSpec, mirror_pairs
from ..uncertainty import PEAK_ODDS


def beside_counterparts(position_lps: Tensor, peak: Tensor, landmarks: Sequence[LandmarkSpec]) -> Tensor:
    """Peaks [B, L, P] of looks that ended at position_lps [B, L, P, 3]; lower, the less one fits its counterpart.

    A look's peak and its counterpart's, less what is unusual in the way between them, are a pair's; of the pairs that a
    look is part of the best counts (max-marginals: every landmark's highest look belongs to the best pair of all).
    Unusual is a Gaussian's log-odds near the middle and a Laplacian's far from it: necks are tilted, and some are odd.
    In the axial plane only a way's length counts, and that it goes from right to left: so a patient may be rolled.
    Of 357 landmarks 23 places were over 10 mm off, 28 without, and 19 at best (docs/results/counterparts.md).
    """
    names, peak = [landmark.name for landmark in landmarks], peak.float()  # bfloat16 has steps of a sixteenth there
    fitting = peak.clone()
    for pair in mirror_pairs(landmarks):
        if pair.usual_offset_mm is None:
            continue
        left, right = (names.index(name) for name in pair)
        middle, spread = position_lps.new_tensor(pair.usual_offset_mm)
        x, y, up = (position_lps[:, left, :, None] - position_lps[:, right, None]).unbind(-1)  # [B, P, P] each
        off = (torch.stack([torch.hypot(x, y).copysign(x), up], -1) - middle) / spread
        unusual = ((1 + off.square().sum(-1)).sqrt() - 1) / PEAK_ODDS
        of_left, of_right = peak[:, left, :, None], peak[:, right, None]
        fitting[:, left] += (of_right - unusual).amax(2) - of_right.amax(2)
        fitting[:, right] += (of_left - unusual).amax(1) - of_left.amax(1)
    return fitting
