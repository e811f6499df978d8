"""The layers of a heatmap that Figure 3 shows, as a file of some kilobytes: a whole map has a hundred times as many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from CarotidLandmarkLib.files import atomic_path
from CarotidLandmarkLib.report.planes import AXIAL, SAGITTAL, Plane

PLANES = (AXIAL, SAGITTAL)  # the paper's two


@dataclass(frozen=True)
class Heatmap:
    """What an answer was read from: values [k, j, i] on an LPS-aligned lattice around ``middle_lps`` [3], in mm."""

    values: np.ndarray
    spacing_mm: float
    middle_lps: np.ndarray

    def layer(self, place: np.ndarray, plane: Plane) -> Layer:
        """The layer nearest to ``place`` ([3], LPS mm), empty where the map does not reach it."""
        axis = 3 - plane.across - plane.along  # LPS axis across the slice: array axis 2 - axis
        layers, highest = self.values.shape[2 - axis], float(self.values.max())
        index = round((place[axis] - self.middle_lps[axis]) / self.spacing_mm + (layers - 1) / 2)
        if not 0 <= index < layers or highest <= 0:
            return Layer(np.zeros((0, 0)), (0.0, 0.0, 0.0, 0.0))
        cut = self.values.take(index, axis=2 - axis)  # [along, across]
        height, width = (n * self.spacing_mm / 2 for n in cut.shape)
        x, y = float(self.middle_lps[plane.across]), float(self.middle_lps[plane.along])
        return Layer(cut / highest, (x - width, x + width, y - height, y + height))


@dataclass(frozen=True)
class Layer:
    """One layer [along, across] as shares of its map's highest value; left, right, low, high of its frame, LPS mm."""

    shares: np.ndarray
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class Shown:
    """A row of Figure 3: where the landmark was found (LPS mm, [3]), and its heatmap's layers through the true place,
    one per plane of `PLANES`."""

    found_lps: np.ndarray
    layers: tuple[Layer, ...]

    def write(self, path: Path) -> None:
        arrays = {"found_lps": self.found_lps}
        for plane, layer in zip(PLANES, self.layers, strict=True):
            arrays[f"{plane.title}_shares"] = layer.shares.astype(np.float16)
            arrays[f"{plane.title}_extent"] = np.array(layer.extent)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Shown:
        """Raises OSError, ValueError or KeyError where it is damaged."""
        with np.load(path) as arrays:
            layers = [
                Layer(arrays[f"{plane.title}_shares"].astype(float), tuple(arrays[f"{plane.title}_extent"].tolist()))
                for plane in PLANES
            ]
            return cls(arrays["found_lps"], tuple(layers))
