"""The rows of Table 1: what each is called, and what Ma et al. (ISBI 2020) report for it."""

from __future__ import annotations

from dataclasses import dataclass

PASSES = 50


@dataclass(frozen=True)
class Method:
    """A row. ``paper_mm``: mean and sd of the error in the paper's Table 1; None where the row is not in it.

    trained: whether the row's training is a part of the run. passes: noise passes whose mean is the answer; 1: none.
    """

    title: str
    paper_mm: tuple[float, float] | None = None
    trained: bool = True
    passes: int = 1


METHODS: dict[str, Method] = {
    "constant": Method("mean place of the training cases (no net)", trained=False),
    "heatmap": Method("U-Net, Gaussian heatmaps, 1 mm", (6.45, 9.18)),
    "single": Method("single-scale Loc-Net, 1 mm", (5.52, 5.69)),
    "patches": Method("patch regression + classification", (4.35, 4.33)),
    "steps": Method("multi-scale Loc-Net, in steps", (3.72, 4.20)),
    "end_to_end": Method("multi-scale Loc-Net, end to end", (3.61, 3.17)),
    "noise": Method("multi-scale Loc-Net, end to end + noise", (2.81, 2.37), passes=PASSES),
    "taught": Method("end to end + noise, crops near the truth at first", passes=PASSES),
    "ours": Method("ours, same cases and budget", passes=PASSES),
    "shipped": Method("ours, as shipped (other training)", trained=False, passes=PASSES),
}
