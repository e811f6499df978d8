"""Where the voxels of a scan are: the one place where voxel indices and patient millimetres become each other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .landmarks import FARTHEST_MM


@dataclass(frozen=True, eq=False)
class Geometry:
    """A lattice in the patient: ``affine_lps`` [4, 4] maps a voxel (i, j, k, 1) to LPS mm, ``size`` is (i, j, k)."""

    affine_lps: np.ndarray
    size: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Raises ValueError where there is no such lattice."""
        affine = np.asarray(self.affine_lps, dtype=float)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or (affine[3] != (0, 0, 0, 1)).any():
            raise ValueError("affine_lps is not an affine of 4 x 4 finite numbers")
        if np.abs(affine).max() > FARTHEST_MM or (self.spacing_mm < 1e-4).any():
            raise ValueError("affine_lps has a voxel size or a place that no scan has")
        if abs(np.linalg.det(affine[:3, :3] / self.spacing_mm)) < 1e-3:
            raise ValueError("affine_lps has axes that fall together")
        if min(self.size) < 1 or max(self.size) > FARTHEST_MM:
            raise ValueError("size is not the number of voxels along i, j and k")

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along i, j, k."""
        return np.linalg.norm(self.affine_lps[:3, :3], axis=0)

    @property
    def axes_lps(self) -> np.ndarray:
        """Unit vectors along i, j and k, the columns: [3, 3]."""
        return self.affine_lps[:3, :3] / self.spacing_mm

    @property
    def orientation(self) -> str:
        """The patient direction nearest to each of i, j, k (letters as in ``LPS``: towards left, posterior, superior).

        Followed by `` oblique`` when an axis is more than 0.1 degrees off.
        """
        axes = self.axes_lps
        order = max(itertools.permutations(range(3)), key=lambda rows: np.abs(axes[rows, range(3)]).sum())
        cosines = axes[order, range(3)]
        letters = "".join("LPS"[row] if cosine > 0 else "RAI"[row] for row, cosine in zip(order, cosines, strict=True))
        return letters if np.abs(cosines).min() > np.cos(np.radians(0.1)) else f"{letters} oblique"

    @property
    def centre_lps(self) -> np.ndarray:
        """The middle of the scan, LPS millimetres: [3]."""
        return self.to_lps((np.array(self.size) - 1) / 2)

    def to_lps(self, voxels: Any) -> np.ndarray:
        """Voxel indices (i, j, k), [..., 3], to LPS millimetres, [..., 3] float64."""
        return np.asarray(voxels, float) @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def to_voxels(self, points_lps: Any) -> np.ndarray:
        """LPS millimetres, [..., 3], to voxel indices (i, j, k), [..., 3] float64."""
        inverse = np.linalg.inv(self.affine_lps)
        return np.asarray(points_lps, float) @ inverse[:3, :3].T + inverse[:3, 3]

    def contains(self, points_lps: Any) -> bool:
        """Whether a point or all of several, LPS millimetres, [..., 3], lie in voxels of this scan."""
        voxels = self.to_voxels(points_lps)
        return bool(np.all(voxels >= -0.5) and np.all(voxels <= np.array(self.size) - 0.5))

    def axial_slice(self, point_lps: Any) -> tuple[int, int]:
        """In which axial slice a point (LPS mm) is, from 1, and of how many; counted from the feet however stored."""
        upwards = self.axes_lps[2]
        axis = int(np.argmax(np.abs(upwards)))
        count = self.size[axis]
        number = int(np.clip(np.rint(self.to_voxels(point_lps)[axis]), 0, count - 1))
        return (number if upwards[axis] > 0 else count - 1 - number) + 1, count

    def same_as(self, other: Geometry) -> bool:
        """Whether both have the same voxels at the same places, to a micrometre."""
        return self.size == other.size and np.allclose(self.affine_lps, other.affine_lps, rtol=0, atol=1e-3)

    def reordered(self, array: np.ndarray, other: Geometry) -> np.ndarray | None:
        """``array`` [k, j, i], whose voxels lie as ``other`` says, in the order of this lattice; not a copy.

        None where these are not the same voxels at the same places, to a hundredth of a millimetre.
        """
        to_other = (np.linalg.inv(other.affine_lps) @ self.affine_lps)[:3, :3]
        axes = np.argmax(np.abs(to_other), axis=0)  # of the other lattice, for each of this one
        if tuple(np.take(other.size, axes, mode="clip").tolist()) != self.size or len(set(axes.tolist())) < 3:
            return None
        backwards = [n for n in range(3) if to_other[axes[n], n] < 0]
        corners = np.array(list(itertools.product(*((0, length - 1) for length in self.size))))
        elsewhere = np.empty_like(corners)
        for n in range(3):
            elsewhere[:, axes[n]] = self.size[n] - 1 - corners[:, n] if n in backwards else corners[:, n]
        if not np.allclose(self.to_lps(corners), other.to_lps(elsewhere), rtol=0, atol=0.01):
            return None
        return np.flip(array.transpose(2, 1, 0).transpose(axes), tuple(backwards)).transpose(2, 1, 0)
