"""The scanner: one CT of a digital neck, whole (`Scanner.acquire`) or only where training looks (`Scanner.view`).

Frames, all in millimetres: neck (the neck's own), gantry (x and y in the axial plane, z along the table, origin in the
middle of the scan) and LPS (patient space, as written in the file; smaller than the others for a child).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..necks.neck import Grid, Neck
from . import acquisition, imaging
from .acquisition import Acquisition
from .window import Window, average_slices, coordinates, finer

AIR_HU = -1024.0
HIGHEST_HU = 3071.0
# Below this an artery can not be told from the muscle beside it.
LEAST_ARTERIAL_HU = 75.0
# A landmark this close to the scan's end is not in the scan: two lumens must be seen above it and one below.
EDGE_MM = 3.0
# The blur of a pyramid level, in voxels of the level, beyond the box that a rendered voxel averages over:
# CarotidLandmarkLib.nets.pyramid low-passes with a sd of 0.45 voxels, a box has 0.29.
LEVEL_BLUR = math.sqrt(0.45**2 - 1 / 12)

Region = Literal["carotids", "chest", "head", "empty"]


@dataclass(frozen=True)
class Truth:
    """The landmarks of a scan.

    points_lps: [2, 3] float64, left and right; where absent, where it would have been. present: [2] bool.
    absent_because: '', 'outside', 'surgery' or 'unenhanced'.
    """

    points_lps: Tensor
    present: Tensor
    absent_because: tuple[str, str]

    @property
    def landmarks_lps(self) -> Tensor:
        """[2, 3] float64, NaN where absent."""
        return torch.where(self.present[:, None], self.points_lps, torch.nan)


@dataclass(frozen=True)
class Scanner:
    """One scan: its acquisition, and how the patient lies in it."""

    acquisition: Acquisition
    region: Region
    slices: int
    gantry_to_lps: Tensor  # [4, 4] float64, with a scale where the patient is a child
    neck_to_lps: Tensor  # [4, 4] float64, the same, and a reflection where the neck is mirrored
    seed: int

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        neck: Neck,
        length_mm: tuple[float, float] = (120.0, 500.0),
        region: Region = "carotids",
    ) -> Scanner:
        """An acquisition of ``neck``, its length along the body within ``length_mm``, of a region of the body.

        Everything is drawn from ``generator`` (CPU).
        """
        dice = acquisition.scan_dice(generator)
        uniform, normal = dice.uniform, dice.normal
        settings = Acquisition.draw(generator)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        middle = float(neck.bifurcations(up)[:, 2].mean())
        length = uniform(*length_mm)
        if region == "chest":
            length = min(length, max(middle - 25 - neck.lower_mm, 120.0))
            bottom = middle - 25 - uniform(0, 20) - length
        elif region == "head":
            bottom = middle + 25 + uniform(0, 30)
        else:
            bottom = middle - length * uniform(0.1, 0.9)
            # No more air above the head than needed, and nothing below where the neck is modelled.
            bottom = max(min(bottom, neck.upper_mm + 40 - length), neck.lower_mm + 15)
        slices = max(round(length / settings.slice_mm), 2)
        in_view = torch.tensor([normal(0, 10), normal(-5, 12), bottom + length / 2], dtype=torch.float64)
        # Nod and turn of the head vary, its roll hardly: technicians lay heads straight. But not for wild necks.
        wild = float(neck.facts.get("wild", 0.0)) > 0
        tilt = acquisition.rotation([normal(0, sd) for sd in ((7, 7, 7) if wild else (6, 2, 6))])
        if uniform(0, 1) < 0.5:
            tilt = tilt @ torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
        oblique = uniform(0, 1) < 0.2
        turn = acquisition.rotation([uniform(-14, 14) if oblique else 0.0 for _ in range(3)])
        origin = torch.tensor([uniform(-200, 200), uniform(-200, 200), uniform(-1500, 500)], dtype=torch.float64)
        seed = int(torch.randint(1 << 31, (), generator=generator))
        return cls(
            acquisition=settings,
            region=region,
            slices=slices,
            gantry_to_lps=acquisition.rigid(turn, origin),
            neck_to_lps=acquisition.rigid(tilt, origin - tilt @ in_view),
            seed=seed,
        )

    @property
    def mirrored(self) -> bool:
        """Whether the scan shows the neck's mirror image: its left on the patient's right."""
        return bool(torch.linalg.det(self.neck_to_lps[:3, :3]) < 0)

    @property
    def lattice(self) -> Grid:
        """The scan's own voxels: axial slices from feet to head, rows to the back, columns to the left."""
        p, n = self.acquisition, self.acquisition.matrix
        gantry = Grid.aligned(torch.zeros(3), (p.pixel_mm, p.pixel_mm, p.slice_mm), (self.slices, n, n))
        return Grid(self.gantry_to_lps @ gantry.affine, gantry.shape)

    @cached_property
    def _to_gantry(self) -> Tensor:
        return torch.linalg.inv(self.gantry_to_lps)

    @cached_property
    def _half_mm(self) -> Tensor:
        """Half the scan's size in the gantry frame: [3]."""
        p = self.acquisition
        return torch.tensor([p.matrix * p.pixel_mm, p.matrix * p.pixel_mm, self.slices * p.slice_mm]).double() / 2

    def extent_lps(self) -> tuple[Tensor, Tensor]:
        """The box along the LPS axes around the scan: lowest and highest corner, [3] float64 each."""
        corners = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0], dtype=torch.float64) * h for h in self._half_mm))
        corners = acquisition.transform(self.gantry_to_lps, corners)
        return corners.amin(dim=0), corners.amax(dim=0)

    def nearest_inside(self, points_lps: Tensor, margin_mm: float = EDGE_MM) -> Tensor:
        """Points [n, 3] moved to the nearest place inside the scan."""
        half = (self._half_mm - margin_mm).clamp(min=0)
        gantry = acquisition.transform(self._to_gantry, points_lps)
        return acquisition.transform(self.gantry_to_lps, torch.maximum(torch.minimum(gantry, half), -half))

    def truth(self, neck: Neck) -> Truth:
        """Where the two bifurcations are in this scan, and whether they can be seen."""
        up = torch.linalg.inv(self.neck_to_lps)[:3, :3] @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        points = acquisition.transform(self.neck_to_lps, neck.bifurcations(up).double())
        exists = neck.present.clone()
        if self.mirrored:
            points, exists = points.flip(0), exists.flip(0)
        gantry = acquisition.transform(self._to_gantry, points)
        gantry[:, :2] += torch.stack([self.acquisition.displacement(float(z), self._half_mm[2]) for z in gantry[:, 2]])
        points = acquisition.transform(self.gantry_to_lps, gantry)
        inside = (gantry.abs() <= self._half_mm - EDGE_MM).all(dim=1)
        inside &= gantry[:, :2].norm(dim=1) < self._half_mm[0]
        unenhanced = float(neck.facts.get("arterial_hu", HIGHEST_HU)) < LEAST_ARTERIAL_HU
        reasons = ["unenhanced" if unenhanced else ""] * 2
        for side in range(2):
            if self.region == "empty" or not inside[side]:
                reasons[side] = "outside"
            elif not exists[side]:
                reasons[side] = "surgery"
        return Truth(points, torch.tensor([r == "" for r in reasons]), (reasons[0], reasons[1]))

    def acquire(self, neck: Neck, device: torch.device | str = "cpu") -> tuple[np.ndarray, np.ndarray, Truth]:
        """The whole scan, as stored: int16 [k, j, i], affine 4 x 4 (voxel index i, j, k -> LPS mm), and the truth."""
        p, n = self.acquisition, self.acquisition.matrix
        stored = np.empty((self.slices, n, n), dtype=np.int16)
        lattice = self._to_gantry @ self.lattice.affine
        slab = max(1, round(4e6 / n**2))
        for first in range(0, self.slices, slab):
            count = min(slab, self.slices - first)
            window = self._crop(lattice, (p.slice_mm, p.pixel_mm, p.pixel_mm), (first, 0, 0), (count, n, n), 0.0)
            image = self._image(neck, [window], device)[0].clamp_(AIR_HU, HIGHEST_HU).round_()
            if p.padding_hu is not None:
                x, y, _ = coordinates(window.to_gantry, window.shape, image.device)
                image = torch.where(x * x + y * y > self._half_mm[0] ** 2, p.padding_hu, image)
            stored[first : first + count] = image.cpu().numpy().astype(np.int16)
        array, affine = acquisition.reorient(stored, self.lattice.affine.numpy(), p.axes, p.flips)
        return array, affine, self.truth(neck)

    def view(self, neck: Neck, grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
        """What a pyramid of this scan shows on grids along the LPS axes: float32 [k, j, i] in HU, air outside the scan.

        The grid's spacing is the pyramid level. Only these parts are rendered.
        """
        windows = [self._window(grid) for grid in grids]
        images = self._image(neck, windows, device)
        return [self._onto(grid, w, image) for grid, w, image in zip(grids, windows, images, strict=True)]

    def _window(self, grid: Grid) -> Window:
        """The lattice on which the scan is rendered for one grid: no finer than the scanner, no finer than the grid."""
        p = self.acquisition
        level = float(grid.spacing_mm[0])
        to_gantry = self._to_gantry @ grid.affine
        margin = self._margin(level)
        if max(p.pixel_mm, p.slice_mm) <= level * 1.001:
            k, j, i = grid.shape
            affine = to_gantry.clone()
            affine[:3, 3] -= to_gantry[:3, :3] @ torch.tensor([margin, margin, 0.0], dtype=torch.float64)
            start_i, start_j, start_k = (round(place / level) for place in to_gantry[:3, 3].tolist())
            target = (slice(None), slice(margin, margin + j), slice(margin, margin + i))
            shape = (k, j + 2 * margin, i + 2 * margin)
            return Window(affine, (start_k, start_j, start_i), shape, (level,) * 3, level, target)
        step = torch.tensor([max(p.pixel_mm, level), max(p.pixel_mm, level), max(p.slice_mm, level)]).double()
        lattice = self._to_gantry @ self.lattice.affine
        lattice[:3, :3] = torch.diag(step)
        corners = torch.cartesian_prod(*(torch.tensor([0.0, n - 1.0]).double() for n in grid.shape[::-1]))
        index = (acquisition.transform(to_gantry, corners) - lattice[:3, 3]) / step
        low = (index.amin(dim=0) - 0.01).floor().long() - torch.tensor([margin, margin, 0])
        high = (index.amax(dim=0) + 0.01).ceil().long() + torch.tensor([margin, margin, 0])
        sizes, start, shape = (tuple(row.tolist()[::-1]) for row in (step, low, high - low + 1))
        return self._crop(lattice, sizes, start, shape, level)

    @staticmethod
    def _crop(lattice: Tensor, step: tuple, start: tuple, shape: tuple, level: float) -> Window:
        affine = lattice.clone()
        affine[:3, 3] += lattice[:3, :3] @ torch.tensor(start[::-1], dtype=torch.float64)
        return Window(affine, start, shape, step, level)

    def _margin(self, level: float) -> int:
        """In-plane voxels that the kernel needs around what is looked at."""
        sigma = self._sigma(max(self.acquisition.pixel_mm, level), level)
        return imaging.reach(sigma) + (imaging.reach(sigma * math.sqrt(3)) if self._edge(level) else 0)

    def _sigma(self, step: float, level: float) -> float:
        """In-plane blur in voxels: the kernel's, and the pyramid's where the level is coarser than the scan."""
        of_level = LEVEL_BLUR * math.sqrt(max(level**2 - self.acquisition.pixel_mm**2, 0.0)) if level else 0.0
        return math.hypot(self.acquisition.sigma_mm, of_level) / step

    def _edge(self, level: float) -> float:
        return self.acquisition.edge if level <= 1.0 else 0.0

    def _onto(self, grid: Grid, window: Window, image: Tensor) -> Tensor:
        """The image of a window, resampled once (trilinear) onto a grid; air outside the scan."""
        to_gantry = self._to_gantry @ grid.affine
        if window.target is not None:
            image = image[window.target]
        else:
            to_window = torch.linalg.inv(window.to_gantry) @ to_gantry
            last = torch.tensor(window.shape[::-1], dtype=torch.float64) - 1
            to_unit = torch.diag(torch.cat([2 / last.clamp(min=1), torch.ones(1, dtype=torch.float64)])) @ to_window
            to_unit[:3, 3] -= 1
            points = Grid(to_unit, grid.shape).points(image.device)[None]
            image = F.grid_sample(image[None, None], points, padding_mode="border", align_corners=True)[0, 0]
        x, y, z = coordinates(to_gantry, grid.shape, image.device)
        half = self._half_mm.tolist()
        outside = (x.abs() > half[0]) | (y.abs() > half[1]) | (z.abs() > half[2])
        image = torch.where(outside, AIR_HU, image)
        if self.acquisition.padding_hu is not None:
            corner = (x * x + y * y > half[0] ** 2) & ~outside
            image = torch.where(corner, self.acquisition.padding_hu, image)
        return image.clamp(AIR_HU, HIGHEST_HU)

    def _image(self, neck: Neck, windows: Sequence[Window], device: torch.device | str) -> list[Tensor]:
        """The windows as the scanner shows them: float32 [k, j, i], HU."""
        profiles = [self._profile(w) for w in windows]
        fine = [finer(w, *profile) for w, profile in zip(windows, profiles, strict=True)]
        if self.region == "empty":
            rendered = [self._phantom(w, torch.device(device)) for w in fine]
        else:
            to_neck = torch.linalg.inv(self.neck_to_lps) @ self.gantry_to_lps
            rendered = neck.render([Grid(to_neck @ w.to_gantry, w.shape) for w in fine], device)
        images = []
        for window, profile, x in zip(windows, profiles, rendered, strict=True):
            x = self.acquisition.recolour(average_slices(x, window.shape[0], *profile))
            x = self._moved(x, window)
            sigma = [self._sigma(step, window.level_mm) for step in window.step_mm[1:]]
            edge = self._edge(window.level_mm)
            x = imaging.kernel(x, sigma, 1 + edge, edge)
            self._streak(x, window, neck)
            images.append(x.add_(self._noise(window, sigma, x.device)))
        return images

    def _profile(self, window: Window) -> tuple[int, list[float]]:
        """Sub-slices per slice, and the slice profile: half a symmetric kernel over sub-slices, centre first."""
        p, step = self.acquisition, window.step_mm[0]
        own = step == p.slice_mm and window.target is None
        thickness = p.thickness_mm if own else max(p.thickness_mm, step)
        # Cut slices that are thicker than they are wide, or thinner than their spacing.
        count = 3 if own and (step > 2 * window.step_mm[1] or thickness < 0.9 * step) else 1
        return count, imaging.slice_profile(thickness, step / count)

    def _phantom(self, window: Window, device: torch.device) -> Tensor:
        """No patient: air, or a water cylinder for the daily quality check."""
        x, y, _ = coordinates(window.to_gantry, window.shape, device)
        radius = 100.0 if self.seed % 2 else 0.0
        edge = (radius - torch.sqrt(x * x + y * y)) / window.step_mm[2]
        return ((edge + 0.5).clamp(0, 1) * 1000 - 1000).expand(window.shape).contiguous()

    def _slice_z(self, window: Window) -> Tensor:
        """Gantry z of the middle of each slice: [k] float64."""
        k = torch.arange(window.shape[0], dtype=torch.float64)
        middle = torch.tensor([(window.shape[2] - 1) / 2, (window.shape[1] - 1) / 2], dtype=torch.float64)
        return window.to_gantry[2, 3] + window.to_gantry[2, :2] @ middle + k * window.to_gantry[2, 2]

    def _moved(self, x: Tensor, window: Window) -> Tensor:
        """Patient motion: steps between slices, and ghosts."""
        p, z = self.acquisition, self._slice_z(window)
        shift = torch.stack([p.displacement(float(v), self._half_mm[2]) for v in z])
        if float(shift.abs().max()) > 0.05:
            x = imaging.shift_slices(x, shift / torch.tensor([window.step_mm[2], window.step_mm[1]]))
        # Swallowing blurs a few centimetres.
        weight = p.ghost_share * torch.exp(-0.5 * ((z - p.ghost_at * self._half_mm[2]) / 12) ** 2)
        weight = weight.to(x.device, torch.float32)[:, None, None]
        by = round(p.ghost_mm / window.step_mm[1])
        if by and float(weight.max()) > 0.02:
            ghost = (torch.roll(x, by, dims=1) + torch.roll(x, -by, dims=1)) / 2
            x = torch.lerp(x, ghost, weight)
        return x

    def _streak(self, x: Tensor, window: Window, neck: Neck) -> None:
        """Adds what dense objects do to their axial planes."""
        if self.region == "empty":
            return
        place = coordinates(window.to_gantry, window.shape, x.device)
        for streak in self.acquisition.streaks(neck, self._to_gantry @ self.neck_to_lps, self.seed):
            k = torch.arange(window.shape[0])
            if window.upright:
                k = k[(self._slice_z(window) - streak.z_mm).abs() < 3 * streak.height_mm]
            if len(k):
                rows = slice(int(k[0]), int(k[-1]) + 1)
                x[rows] += streak(*(c[rows] if c.shape[0] > 1 else c for c in place))

    def _noise(self, window: Window, sigma: Sequence[float], device: torch.device) -> Tensor:
        """Quantum noise: correlated by the kernel, patchy after iterative reconstruction, larger at the shoulders."""
        p = self.acquisition
        level = window.level_mm
        # One noise per lattice: a box and the whole scan see the same where their voxels are the same.
        seed = self.seed + sum(round(1000 * step) * 31**n for n, step in enumerate(window.step_mm))
        gain, loss = 1 + self._edge(level), self._edge(level) + p.ramp
        margin = imaging.reach(sigma[0]) + imaging.reach(sigma[0] * math.sqrt(3))
        half = imaging.slice_profile(p.thickness_mm, window.step_mm[0])
        start = (window.start[0] - len(half) + 1, window.start[1] - margin, window.start[2] - margin)
        k, j, i = window.shape
        shape = (k + 2 * len(half) - 2, j + 2 * margin, i + 2 * margin)
        white = imaging.white_noise(seed, start, shape, device)
        white = imaging.convolve(white, half, 0)[len(half) - 1 : len(half) - 1 + k]
        noise = imaging.kernel(white, sigma, gain, loss)[:, margin : margin + j, margin : margin + i]
        norm = imaging.kernel_noise_sd(sigma, gain, loss) * math.hypot(half[0], math.sqrt(2) * math.hypot(*half[1:], 0))
        noise = noise * (math.sqrt(1 - p.patchiness**2) / norm)
        if p.patchiness > 0.05 and level <= 1.0:
            cell = [max(1, round(2.2 / step)) for step in window.step_mm]
            noise += imaging.cell_noise(seed + 1, window.start, window.shape, cell, device) * (1.6 * p.patchiness)
        # Averaging over a voxel coarser than the grain of the noise makes it smaller.
        grain = (max(p.slice_mm, p.thickness_mm), *(max(p.pixel_mm, 2 * p.sigma_mm),) * 2)
        shrink = math.prod(min(1.0, g / s) for g, s in zip(grain, window.step_mm, strict=True)) ** 0.5
        _, _, z = coordinates(window.to_gantry, window.shape, device)
        shoulder = torch.tensor([[0.0, 0.0, p.shoulder_mm]], dtype=torch.float64)
        shoulder = acquisition.transform(self._to_gantry @ self.neck_to_lps, shoulder)
        starved = torch.sigmoid((float(shoulder[0, 2]) - z) / 16)
        if p.starvation > 0.05 and level <= 2.0:
            cell = [1, 1, max(1, round(20 / window.step_mm[2]))]
            lines = imaging.cell_noise(seed + 2, window.start, window.shape, cell, device)
            noise += lines * starved * p.starvation
        return noise.mul_(p.noise_hu * shrink * (1 + p.shoulder_noise * starved))
