"""What is measured twice, with autocast and without; and Loc-Nets that autocast does not touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from CarotidLandmarkLib.nets.locnet import LocNet


def in_both(measure: Callable[[], Any]) -> tuple[Any, Any]:
    """In float32, and under autocast to bfloat16."""
    with torch.no_grad():
        plain = measure()
        with torch.autocast("cpu", torch.bfloat16):
            return plain, measure()


def exact_nets(patch: pytest.MonkeyPatch) -> None:
    """From here on, what differs under autocast is not the Loc-Nets'."""
    forward = LocNet.forward

    def exact(self: LocNet, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", enabled=False):
            return forward(self, x)

    patch.setattr(LocNet, "forward", exact)
