"""A CT volume in patient space: an array in HU and its geometry; reading it, and refusing what is not one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class VolumeError(ValueError):
    """The input can not be used. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True)
class Volume:
    """A scan in HU.

    ``array`` is [k, j, i], int16 or float32. ``affine_lps`` is 4 x 4 and maps a voxel index (i, j, k, 1) to LPS
    millimetres; its columns are orthogonal but may be oblique or flipped. ``name`` is a file or folder name, never a path.
    """

    array: np.ndarray
    affine_lps: np.ndarray
    name: str = "volume"

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along i, j, k."""
        return np.linalg.norm(self.affine_lps[:3, :3], axis=0)
