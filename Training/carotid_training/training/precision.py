"""bfloat16 where the machine multiplies it, and float32 elsewhere."""

from __future__ import annotations

import torch
from CarotidLandmarkLib.detector import bfloat16_is_fast

# A step of small.yaml takes 2.2 s in float32 and 90 s in bfloat16 then (docs/results/without-bfloat16/throughput.md).
NOTE = "This machine does not multiply bfloat16 and would take many times as long with it: training is in float32."


def is_slow(precision: str | None, device: torch.device) -> bool:
    """Whether ``precision``, one of lightning's, computes in bfloat16 and ``device`` does not multiply it.

    Weights are float32 with "bf16-mixed" and with "32-true": a run can go on in either.
    """
    return precision in ("bf16", "bf16-mixed") and not bfloat16_is_fast(device)
