"""Which case to review next."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np

from .detection import Detection

if TYPE_CHECKING:
    from .dataset import Dataset

Order = Literal["uncertain", "random", "doubtful"]


def order_cases(dataset: Dataset, order: Order = "uncertain", seed: int = 0, annotator: str | None = None) -> list[str]:
    """The ids of all cases: those not reviewed yet (by ``annotator``, or by anybody if None) first.

    ``uncertain``: a verdict that is not ``ok`` first, then the largest confidence region; ``doubtful``: a presence
    probability nearest to one half first; both put cases without a prediction last. ``random``: an order that depends
    on the seed and the ids only, so that it stays when cases are added. Raises DatasetError, and
    ValueError on another order.
    """
    if order not in ("uncertain", "random", "doubtful"):
        raise ValueError(f"'{order}' is not an order; choose uncertain, random or doubtful.")

    def key(case_id: str) -> tuple[bool, bool, tuple[float, ...], str]:
        case = dataset.case(case_id)
        reviewed = annotator in case.annotators() if annotator is not None else bool(case.annotators())
        shuffled = hashlib.sha256(f"{seed} {case_id}".encode()).hexdigest()
        if order == "random":
            return reviewed, False, (), shuffled
        detection = case.prediction()
        if detection is None:
            return reviewed, True, (), shuffled
        urgency = _uncertainty(detection) if order == "uncertain" else (_doubt(detection),)
        return reviewed, False, tuple(-value for value in urgency), shuffled

    return sorted(dataset.case_ids(), key=key)


def _uncertainty(detection: Detection) -> tuple[float, ...]:
    """Not ok before ok; then the radius (mm) of the sphere as large as the largest confidence region; then doubt."""
    volumes = [mark.confidence.volume_mm3 for mark in detection.landmarks if mark.confidence is not None]
    radius = float(np.cbrt(0.75 / np.pi * max(volumes, default=0.0)))
    return float(detection.quality.verdict != "ok"), radius, _doubt(detection)


def _doubt(detection: Detection) -> float:
    """1 where the detector can not tell whether a landmark is in the scan, 0 where it is sure of all."""
    return max((1 - abs(2 * mark.presence - 1) for mark in detection.landmarks), default=0.0)
