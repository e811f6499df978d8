"""Scans that no training has seen: each shift puts one property of a scan beyond what any training draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from CarotidLandmarkLib.errors import UserError

from . import acquisition
from .scanner import Scanner

CHILD = 0.6
ROLL_DEGREES = 45.0


def _rescanned(usual: Scanner, **changed: float) -> Scanner:
    """The same patient in the same place under another acquisition; the scan stays as long as it is."""
    own = replace(usual.acquisition, **changed)  # type: ignore[arg-type]
    slices = max(2, round(usual.slices * usual.acquisition.slice_mm / own.slice_mm))
    return replace(usual, acquisition=own, slices=slices)


def _child(usual: Scanner) -> Scanner:
    """Everything smaller in patient millimetres, voxels included, as when a child is scanned to the same picture."""
    shrink = torch.diag(torch.tensor([CHILD, CHILD, CHILD, 1.0], dtype=torch.float64))
    return replace(usual, gantry_to_lps=shrink @ usual.gantry_to_lps, neck_to_lps=shrink @ usual.neck_to_lps)


def _rolled(usual: Scanner) -> Scanner:
    """The patient rolled onto the left side about the table's axis through the scan's middle; the scan stays."""
    roll = acquisition.rigid(acquisition.rotation([0.0, 0.0, ROLL_DEGREES]), torch.zeros(3, dtype=torch.float64))
    gantry = usual.gantry_to_lps
    return replace(usual, neck_to_lps=gantry @ roll @ torch.linalg.inv(gantry) @ usual.neck_to_lps)


# carotid-small 0.7.0 was trained on slices up to 3 mm, noise up to 45 HU, enhancement down to 0.58 of the vessel's own,
# necks down to 0.67, turns rarely over 30 degrees.
SHIFTS: dict[str, Callable[[Scanner], Scanner]] = {
    "thick-slices": partial(_rescanned, slice_mm=5.0, thickness_mm=5.0),
    "noise": partial(_rescanned, noise_hu=80.0),
    "weak-contrast": partial(_rescanned, contrast_gain=0.4),
    "child": _child,
    "rolled": _rolled,
}


def check_shift(name: str) -> None:
    """Raises ValueError where there is no such shift."""
    if name not in SHIFTS:
        raise UserError(f"There is no shift {name!r}; use one of {', '.join(SHIFTS)}.")
