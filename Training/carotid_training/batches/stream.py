"""An endless stream of multi-resolution training samples, rendered only where the chain of Loc-Nets looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import torch
from CarotidLandmarkLib.bundle import Architecture
from CarotidLandmarkLib.errors import UserError
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from .. import seeds
from ..necks.neck import Grid
from ..necks.styles import Styles
from ..scans.acquisition import scan_dice
from ..scans.sample import Sample, draw_length
from .batch import SampleBatch

COARSE_MM = 4.0
# A box holds the patch and so many voxels around it on every side: as much as the patch's centre may be off. At 2 mm
# that is 32 mm (the coarsest net alone was 7 mm off in the median), at 1 mm 16 mm, at 0.5 mm the noise of 5 and 3 mm.
SLACK_VOXELS = 16
# What is left of it at the last scale beside the noise at least: the crop follows the chain so far.
FREE_VOXELS = 6
JITTER_VOXELS = 3.0
ABSENT_JITTER_MM = 25.0
# The coarse lattice is a multiple of this many voxels: necks of about the same size fit into one batch without padding.
COARSE_MULTIPLE = 8


def box_sizes_of(architecture: Architecture) -> dict[float, int]:
    """Scale (mm) -> voxels along a side of its boxes, for every scale that looks at patches."""
    scales, sizes = architecture.scales_mm[1:], architecture.patch_sizes
    boxes = {scale: size + 2 * SLACK_VOXELS for scale, size in zip(scales, sizes, strict=True)}
    noisy = sizes[-1] + 2 * (math.ceil(architecture.noise_mm / scales[-1]) + FREE_VOXELS)
    return boxes | {scales[-1]: max(boxes[scales[-1]], noisy)}


def turns(start: int, rank: int, world_size: int) -> Iterator[int]:
    """The batch numbers of this worker of this process: together they take every number once, from ``start`` on."""
    worker = get_worker_info()
    workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
    return count(start + rank + worker_id * world_size, workers * world_size)


class NeckStream(IterableDataset):
    """Batches of digital necks, for ever. Batch n is a function of (base_seed, split, n) and the options alone.

    Workers of a `DataLoader` (``batch_size=None``) and processes (``rank`` of ``world_size``) take turns; together they
    give every batch once, from number ``start`` on. With ``device="cuda"`` use no workers.
    """

    def __init__(
        self,
        batch_size: int,
        base_seed: int = 0,
        split: str = "train",
        styles: Styles | None = None,
        weights: Mapping[str, float] | None = None,
        box_sizes: Mapping[float, int] | None = None,
        device: torch.device | str = "cpu",
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        """``weights``: style name -> how often (default: all available alike). ``box_sizes``: scale (mm) -> voxels
        along a side of its boxes (`box_sizes_of`); without any the coarse view alone is rendered. Raises ValueError on
        a style that is unknown or lacks its background."""
        super().__init__()
        self.styles = Styles() if styles is None else styles
        self.weights = dict.fromkeys(self.styles.available, 1.0) if weights is None else dict(weights)
        self.styles.check(list(self.weights))
        if not self.weights or min(self.weights.values()) < 0 or sum(self.weights.values()) <= 0:
            raise UserError("Style weights must not be negative, and one must be above zero.")
        self.batch_size, self.base_seed, self.split = batch_size, base_seed, split
        self.box_sizes, self.device = dict(box_sizes or {}), torch.device(device)
        self.start, self.rank, self.world_size = start, rank, world_size

    def __iter__(self) -> Iterator[SampleBatch]:
        return map(self.batch, turns(self.start, self.rank, self.world_size))

    def batch(self, index: int) -> SampleBatch:
        """Batch number ``index``."""
        numbers = [index * self.batch_size + b for b in range(self.batch_size)]
        neck_seeds = [seeds.neck_seed(self.split, self.base_seed, n) for n in numbers]
        length = draw_length(seeds.generator(neck_seeds[0], "batch"))
        samples = [Sample.draw(seed, self.styles, self.weights, length, randomised=True) for seed in neck_seeds]
        # The lattice that holds the largest scan of the batch.
        extents = [s.scanner.extent_lps() for s in samples]
        size = torch.stack([high - low for low, high in extents]).amax(dim=0)
        grids = [[coarse_grid(low, high, size)] for low, high in extents]
        for sample, own in zip(samples, grids, strict=True):
            own.extend(self._boxes(sample))
        images = [s.scanner.view(s.neck, g, self.device) for s, g in zip(samples, grids, strict=True)]
        boxes, box_origins = {}, {}
        for n, scale in enumerate(self.box_sizes):
            pair = slice(1 + 2 * n, 3 + 2 * n)
            boxes[scale] = torch.stack([torch.stack(i[pair]) for i in images])[:, :, None].half()
            box_origins[scale] = torch.stack([_origins(g[pair]) for g in grids]).to(self.device)
        truths = [s.truth for s in samples]
        return SampleBatch(
            index=index,
            coarse=torch.stack([i[0] for i in images])[:, None].half(),
            coarse_origin_lps=torch.cat([_origins(g[:1]) for g in grids]).to(self.device),
            boxes=boxes,
            box_origins_lps=box_origins,
            landmarks_lps=torch.stack([t.landmarks_lps for t in truths]).float().to(self.device),
            present=torch.stack([t.present for t in truths]).to(self.device),
        )

    def _boxes(self, sample: Sample) -> list[Grid]:
        """Boxes around the left and right landmark at every fine scale; an absent one: around where it might be."""
        uniform = scan_dice(sample.generator).uniform
        grids = []
        for scale, size in self.box_sizes.items():
            for side in range(2):
                present = bool(sample.truth.present[side])
                jitter = JITTER_VOXELS * scale if present else ABSENT_JITTER_MM
                shift = torch.tensor([uniform(-jitter, jitter) for _ in range(3)], dtype=torch.float64)
                middle = sample.truth.points_lps[side] + shift
                if not present:
                    middle = sample.scanner.nearest_inside(middle[None])[0]
                grids.append(Grid.aligned(middle, scale, (size,) * 3))
        return grids


def coarse_grid(low_lps: Tensor, high_lps: Tensor, size_mm: Tensor) -> Grid:
    """The lattice at 4 mm around the middle of a scan that holds ``size_mm`` ([3], x, y, z), in multiples of 8."""
    multiples = (size_mm / (COARSE_MM * COARSE_MULTIPLE)).tolist()
    i, j, k = (COARSE_MULTIPLE * math.ceil(n - 1e-6) for n in multiples)
    return Grid.aligned((low_lps + high_lps) / 2, COARSE_MM, (k, j, i))


def _origins(grids: Sequence[Grid]) -> Tensor:
    """The middles of the first voxels: [n, 3] float32."""
    return torch.stack([g.affine[:3, 3] for g in grids]).float()
