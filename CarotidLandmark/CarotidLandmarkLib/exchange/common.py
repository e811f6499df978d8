"""What the whole room shares: its error, and the frames in which others write coordinates."""

from __future__ import annotations

from typing import Literal

from ..errors import UserError

# ``voxel``: indices (i, j, k) of the scan, counted from 0
Frame = Literal["LPS", "RAS", "voxel"]
Triple = tuple[float, float, float]


class ExchangeError(UserError):
    """What comes in or goes out can not be used so. The message is one sentence for the user."""
