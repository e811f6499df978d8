"""A CT volume in patient space: an array in HU, its geometry, and what makes a geometry unusable."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..detection import VolumeInfo
from ..errors import UserError
from ..geometry import FARTHEST_MM, Geometry

SMALLEST_SIZE = 16
SLICES = 32  # whose hash tells a scan from others, spread over all: enough, and quick in the largest scan
SPACING_RANGE_MM = (0.05, 10.0)
DIRECTION_TOLERANCE = 3e-3  # of a cosine between axes: headers round directions to three or four decimals


class VolumeError(UserError):
    """The input can not be used. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan in HU.

    ``array`` is [k, j, i], int16 or float32. ``affine_lps`` is 4 x 4 and maps a voxel index (i, j, k, 1) to LPS
    millimetres; its columns are orthogonal but may be oblique or flipped. ``name`` is a file or folder name, never a
    path. ``notes`` are sentences for the user: what reading decided (which of several series, an assumed side).
    """

    array: np.ndarray
    affine_lps: np.ndarray
    name: str = "volume"
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """All notes in one line, empty if there is none."""
        return " ".join(self.notes)

    @cached_property
    def geometry(self) -> Geometry:
        """Where its voxels are. Raises ValueError where ``affine_lps`` is none (`check_geometry` refuses it first)."""
        return Geometry(self.affine_lps, self.size)

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along i, j, k."""
        return self.geometry.spacing_mm

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        k, j, i = self.array.shape
        return i, j, k

    @property
    def centre_lps(self) -> np.ndarray:
        """The middle of the scan, LPS millimetres: [3]."""
        return self.geometry.centre_lps

    @property
    def info(self) -> VolumeInfo:
        """The scan as ``detection.json`` names it."""
        i, j, k = self.spacing_mm.tolist()
        x, y, z = self.centre_lps.tolist()
        some = np.ascontiguousarray(self.array[:: -(-len(self.array) // SLICES)], "<f4")  # the same in any number type
        digest = hashlib.sha256(some.data).hexdigest()
        return VolumeInfo(self.name, self.size, (i, j, k), self.geometry.orientation, (x, y, z), digest)

    def to_lps(self, voxels: Any) -> np.ndarray:
        """`Geometry.to_lps`."""
        return self.geometry.to_lps(voxels)

    def to_voxels(self, points_lps: Any) -> np.ndarray:
        """`Geometry.to_voxels`."""
        return self.geometry.to_voxels(points_lps)

    def contains(self, point_lps: Any) -> bool:
        """`Geometry.contains`."""
        return self.geometry.contains(point_lps)


def image_affine(image: Any) -> np.ndarray:
    """The 4 x 4 affine, voxel (i, j, k) to LPS mm, of a SimpleITK image: with its array what `from_array` takes."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def check_size(name: str, size: tuple[int, ...]) -> None:
    """Raise VolumeError if (i, j, k) voxels are too few along an axis."""
    if min(size) < SMALLEST_SIZE:
        text = " x ".join(map(str, size))
        raise VolumeError(f"{name} has {text} voxels; give a volume with at least {SMALLEST_SIZE} along every axis.")


def check_geometry(name: str, affine: np.ndarray) -> None:
    """Raise VolumeError if an affine is degenerate, sheared, or has an impossible voxel size."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise degenerate(name)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_RANGE_MM
    if not spacing.all():
        raise VolumeError(f"{name} has a voxel size of zero; correct the spacing in its header.")
    if (spacing < low * (1 - 1e-6)).any() or (spacing > high * (1 + 1e-6)).any():  # headers round
        text = " x ".join(f"{value:.3g}" for value in spacing)
        raise VolumeError(
            f"{name} has a voxel size of {text} mm, outside {low:g} to {high:g} mm; correct the spacing in its header."
        )
    if (farthest := np.abs(affine[:3, 3]).max()) > FARTHEST_MM:
        raise VolumeError(
            f"{name} begins {farthest / 1000:.0f} m from the scanner's middle, where no scan is; correct the origin in "
            "its header."
        )
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < 0.1:
        raise degenerate(name)
    if np.abs(axes.T @ axes - np.eye(3)).max() > DIRECTION_TOLERANCE:
        raise VolumeError(
            f"{name} has axes that are not at right angles, as a tilted gantry makes them; "
            "resample it onto an orthogonal grid, or give the DICOM folder."
        )


def degenerate(name: str) -> VolumeError:
    return VolumeError(f"{name} has a degenerate direction matrix; export it again with its orientation.")


def damaged(name: str) -> VolumeError:
    return VolumeError(f"{name} is damaged or incomplete; copy or export it again.")


def text_name(path: str | os.PathLike[str]) -> str:
    """The last part of a path as text that can be printed and stored: what is not UTF-8 or no letter becomes a mark."""
    return printable(os.path.basename(os.path.abspath(path)) or str(path))


def no_scalars(name: str, what: str = "") -> VolumeError:
    return VolumeError(f"{name} does not hold one number per voxel{what}; give a scalar CT volume in HU.")


def unknown_type(name: str, kind: str) -> VolumeError:
    return VolumeError(f"{name} has voxels of type '{printable(kind)}', which is not read; save it as short or float.")


def printable(text: str) -> str:
    """``text`` with a mark for each byte that is not UTF-8 and each sign that is no letter."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
