"""How a scanner images: voxel sizes, kernel, dose, artefacts, storage; all drawn from one generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import seeds
from ..necks.dice import Dice
from ..necks.neck import Neck
from . import imaging

# Slice spacings in use and how often: median 1.25 mm, a third above 2 mm (the public table of Ma et al., ISBI 2020).
SLICES_MM = {
    0.4: 2, 0.5: 5, 0.6: 7, 0.625: 10, 0.7: 4, 0.75: 6, 0.8: 5, 1.0: 9, 1.25: 10, 1.5: 5, 2.0: 4, 2.5: 15, 3.0: 18,
}  # fmt: skip
PADDING_HU = (None, None, None, -1024.0, -2000.0, -3024.0, 0.0)
SEVERAL = 6  # dense objects that streak, at most
FILLING_MM = 2.5  # radius of a tooth's filling: what is smaller streaks less, by its radius


@dataclass(frozen=True)
class Streak:
    """The artefact of one dense object, or of a pair: a function of gantry coordinates, in HU, near its axial plane."""

    z_mm: float
    height_mm: float
    amplitude_hu: float
    shape: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """HU to add at gantry coordinates x, y, z, mm; of shapes that broadcast."""
        fade = torch.exp(-0.5 * ((z - self.z_mm) / self.height_mm) ** 2)
        return self.shape(x, y) * (self.amplitude_hu * fade)


@dataclass(frozen=True)
class Acquisition:
    """How a scan is made and stored; lengths in mm, in the gantry frame."""

    matrix: int
    pixel_mm: float
    slice_mm: float
    thickness_mm: float
    sigma_mm: float  # in-plane blur of the kernel
    edge: float  # edge enhancement of the kernel
    ramp: float  # low frequencies missing from the noise
    noise_hu: float  # above the shoulders
    shoulder_noise: float  # added share at the shoulders
    shoulder_mm: float  # neck z of the top of the shoulders
    starvation: float  # horizontal noise lines at the shoulders
    patchiness: float  # share of patchy noise: iterative reconstruction
    contrast_gain: float  # what a different kV does to iodine and bone
    tissue_gain: float
    offset_hu: float
    metal_hu: float
    dense_hu: float
    step_at: tuple[float, ...]  # patient motion: relative heights (-1 ... 1) of the steps
    step_mm: tuple[tuple[float, float], ...]
    ghost_at: float
    ghost_mm: float
    ghost_share: float
    padding_hu: float | None
    axes: tuple[int, int, int]  # storage order of the array's axes (k, j, i)
    flips: tuple[int, ...]

    @classmethod
    def draw(cls, generator: torch.Generator) -> Acquisition:
        """As scanners in use image and store; every number comes from ``generator`` (CPU)."""
        dice = scan_dice(generator)
        u, n, chance = dice.uniform, dice.normal, dice.chance
        pixel = n(0, 1)
        pixel = min(0.80, max(0.38, 0.49 * math.exp(pixel * (0.20 if pixel > 0 else 0.12))))
        slice_mm = dice.one_of(SLICES_MM)
        thickness = slice_mm * dice.one_of({1.0: 50, u(1.2, 2.0): 35, u(0.5, 0.9): 15})
        sharp = u(0, 1)
        steps = dice.one_of({0: 85, 1: 10, 3: 5})
        ghosts = chance(0.12)
        return cls(
            matrix=512,
            pixel_mm=pixel,
            slice_mm=slice_mm,
            thickness_mm=thickness,
            sigma_mm=0.75 - 0.5 * sharp + u(-0.05, 0.1),
            edge=max(0.0, sharp - 0.5) * u(0.5, 2.5),
            ramp=u(0.3, 0.8),
            noise_hu=min(45.0, math.exp(u(math.log(4), math.log(22))) * (1 + sharp)),
            shoulder_noise=u(0.2, 2.5),
            shoulder_mm=u(-110, -70),
            starvation=u(0, 1.5) if chance(0.5) else 0.0,
            patchiness=u(0.2, 0.85) if chance(0.4) else 0.0,
            contrast_gain=math.exp(n(0, 0.22)),
            tissue_gain=math.exp(n(0, 0.1)),
            offset_hu=n(0, 6),
            metal_hu=math.exp(u(math.log(30), math.log(400))),
            dense_hu=math.exp(u(math.log(5), math.log(90))),
            step_at=tuple(sorted(u(-1, 1) for _ in range(steps))),
            step_mm=tuple((n(0, 0.7), n(0, 1.2)) for _ in range(steps)),
            ghost_at=u(-1, 1),
            ghost_mm=u(1, 6) if ghosts else 0.0,
            ghost_share=u(0.1, 0.5) if ghosts else 0.0,
            padding_hu=PADDING_HU[int(u(0, len(PADDING_HU)))],
            axes=tuple(torch.randperm(3, generator=generator).tolist()) if chance(0.5) else (0, 1, 2),
            flips=tuple(axis for axis in range(3) if chance(0.5)),
        )

    def displacement(self, z_mm: float, half_mm: Tensor) -> Tensor:
        """How far the patient has moved, in the axial plane, when the table is at gantry z: [2] float64 (x, y)."""
        height = z_mm / float(half_mm)
        moved = [step for at, step in zip(self.step_at, self.step_mm, strict=True) if height > at]
        return torch.tensor(moved, dtype=torch.float64).sum(dim=0) if moved else torch.zeros(2, dtype=torch.float64)

    def recolour(self, x: Tensor) -> Tensor:
        """HU under this kV and calibration: gain on soft tissue and fat, another above enhanced tissue. In place."""
        soft = x.clamp(-120, 60)
        bright = (x - 60).clamp_(min=0)
        x.add_(soft, alpha=self.tissue_gain - 1).add_(bright, alpha=self.contrast_gain - 1)
        return x.add_(self.offset_hu)

    def streaks(self, neck: Neck, to_gantry: Tensor, seed: int) -> list[Streak]:
        """Streaks of the neck's metal and dense contrast, and dark bands between dense objects of one level."""
        generator = seeds.generator(seed, "streaks")
        out: list[Streak] = []
        for objects, amplitude in ((neck.metal, self.metal_hu), (neck.dense, self.dense_hu)):
            largest = objects[objects[:, 3].argsort(descending=True)[:SEVERAL]].cpu().double()
            centres = transform(to_gantry, largest[:, :3]).tolist()
            radii = [max(1.0, float(r)) for r in largest[:, 3]]
            strengths = [amplitude * min(1.0, radius / FILLING_MM) for radius in radii]
            for (x, y, z), radius, strength in zip(centres, radii, strengths, strict=True):
                profile = imaging.angular_profile(generator)
                rays = partial(imaging.rays, middle=(x, y), profile=profile, radius_mm=radius)
                out.append(Streak(z, 0.6 * radius + 1, strength, rays))
            for a in range(len(radii)):
                for b in range(a):
                    width, ends = min(radii[a], radii[b]), (centres[a], centres[b])
                    if abs(ends[0][2] - ends[1][2]) < width + 2:
                        band = partial(imaging.dark_band, ends=ends, width_mm=width)
                        middle, strength = (ends[0][2] + ends[1][2]) / 2, min(strengths[a], strengths[b])
                        out.append(Streak(middle, width + 2, -strength, band))
        return out


def reorient(
    array: np.ndarray, affine: np.ndarray, axes: Sequence[int], flips: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The same scan stored with its axes in another order and direction.

    array: [k, j, i]; axes: the new order of its axes; flips: which of the new axes run backwards. affine: 4 x 4, voxel
    index (i, j, k) -> mm. Returns array and affine of the stored scan.
    """
    stored = np.flip(array.transpose(axes), axis=tuple(flips))
    columns = affine[:, [2, 1, 0]][:, list(axes)].copy()  # in array order
    origin = affine[:, 3].copy()
    for axis in flips:
        origin += columns[:, axis] * (stored.shape[axis] - 1)
        columns[:, axis] *= -1
    return np.ascontiguousarray(stored), np.column_stack([columns[:, ::-1], origin])


def rotation(degrees: Sequence[float]) -> Tensor:
    """Rotations about x, then y, then z: [3, 3] float64."""
    matrix = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(degrees):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, dtype=torch.float64)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        matrix = turn @ matrix
    return matrix


def rigid(matrix: Tensor, offset: Tensor) -> Tensor:
    """[4, 4] float64: x -> matrix @ x + offset."""
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3], affine[:3, 3] = matrix, offset
    return affine


def transform(affine: Tensor, points: Tensor) -> Tensor:
    """Points [n, 3] through a 4 x 4 affine."""
    return points @ affine[:3, :3].T + affine[:3, 3]


def scan_dice(generator: torch.Generator) -> Dice:
    """Dice whose normal numbers stay within 2.5 sd."""
    return Dice(generator, normal=torch.float32, most_sd=2.5)
