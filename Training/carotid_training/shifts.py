"""Scans that no training has seen: each shift puts one property of a scan beyond what any training draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .protocol import Protocol
from .scanner import Scanner

# Training draws slices up to 3 mm, noise up to 45 HU, and enhancement down to 0.58 of the vessel's own.
SHIFTS: dict[str, Callable[[Protocol], Protocol]] = {
    "thick-slices": lambda usual: replace(usual, slice_mm=5.0, thickness_mm=5.0),
    "noise": lambda usual: replace(usual, noise_hu=80.0),
    "weak-contrast": lambda usual: replace(usual, contrast_gain=0.4),
}


def check_shift(name: str) -> None:
    """Raises ValueError where there is no such shift."""
    if name not in SHIFTS:
        raise ValueError(f"There is no shift {name!r}; use one of {', '.join(SHIFTS)}.")


def shifted(scanner: Scanner, name: str) -> Scanner:
    """The same patient in the same place, scanned with a shift; the scan stays as long as it is. Raises ValueError."""
    check_shift(name)
    moved = SHIFTS[name](scanner.protocol)
    slices = max(2, round(scanner.slices * scanner.protocol.slice_mm / moved.slice_mm))
    return replace(scanner, protocol=moved, slices=slices)
