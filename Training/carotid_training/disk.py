"""Annotated cases as training batches: pyramids cached once and memory-mapped, augmented in the sampling lattice."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from CarotidLandmarkLib.agreement import Points, consensus
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.dataset import Case, Dataset
from CarotidLandmarkLib.pyramid import AIR_HU, Pyramid
from CarotidLandmarkLib.volume import Volume
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset

from .protocol import rotation, uniform
from .stream import BOX_SIZES, COARSE_MM, COARSE_MULTIPLE, JITTER_VOXELS, SampleBatch, turns

CACHE_VARIABLE = "CAROTID_CACHE"


class CaseBatches(IterableDataset):
    """Endless batches of a dataset's cases of one split, augmented. Batch n is a function of (seed, n) and the cases.

    A case is trained on its annotators' consensus, by which evaluation measures too. ``landmarks`` say which are each
    other's mirror image: mirroring a scan exchanges them.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        batch_size: int,
        landmarks: Sequence[LandmarkSpec],
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        augment: bool = True,
    ):
        """Raises ValueError where the split has no annotated case."""
        super().__init__()
        cases = (dataset.case(case_id) for case_id in dataset.case_ids())
        self.cases = [case for case in cases if case.split == split and case.annotators()]
        if not self.cases:
            raise ValueError(f"{dataset.path.name} has no annotated case in the split '{split}'; annotate or split it.")
        self.names = [landmark.name for landmark in landmarks]
        self.counterpart = [self.names.index(landmark.mirror) for landmark in landmarks]
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.start, self.rank, self.world_size = start, rank, world_size

    def __iter__(self) -> Iterator[SampleBatch]:
        return map(self.batch, turns(self.start, self.rank, self.world_size))

    def batch(self, index: int) -> SampleBatch:
        """Batch number ``index``: each case comes once before any comes again."""
        numbers = [index * self.batch_size + b for b in range(self.batch_size)]
        return joined([self._sample(number) for number in numbers], index)

    def each_once(self) -> TorchDataset:
        """Every case once, not augmented: for validation."""
        return _EachOnce(self)

    def _sample(self, number: int) -> _Sample:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        turn, place = divmod(number, len(self.cases))
        order = torch.randperm(len(self.cases), generator=torch.Generator().manual_seed(self.seed + turn))
        case = self.cases[int(order[place])] if self.augment else self.cases[place]
        said = [case.annotation(annotator).points for annotator in case.annotators()]
        return self._seen(case, consensus(said, self.names), generator)

    def _seen(self, case: Case, points: Points, generator: torch.Generator) -> _Sample:
        pyramid, truth = cached_pyramid(case), self._truth(points)
        middle = torch.as_tensor(np.asarray(pyramid.volume.centre_lps))
        mirrored = False
        if self.augment:
            transform, mirrored = draw_transform(generator, middle)
            pyramid = pyramid.seen_through(transform)
            truth = truth @ transform[:3, :3].T + transform[:3, 3]
            middle = transform[:3, :3] @ middle + transform[:3, 3]
            truth = truth[self.counterpart] if mirrored else truth
        recolour = draw_intensity(generator) if self.augment else (1.0, 0.0, 0.0)
        present = ~truth.isnan().any(dim=1)
        u = uniform(generator)
        places = torch.where(present[:, None], truth, middle)
        boxes, origins = {}, {}
        for scale, size in BOX_SIZES.items():
            reach = torch.where(present, JITTER_VOXELS * scale, 25.0)[:, None]
            shift = reach * torch.tensor([[u(-1, 1) for _ in range(3)] for _ in self.names], dtype=torch.float64)
            centres = (places + shift).float()
            boxes[scale] = _recoloured(
                pyramid.patches(scale, centres[None, :, None], size)[0, :, 0], recolour, generator
            )
            origins[scale] = centres - (size - 1) / 2 * scale
        coarse, centre = pyramid.whole(COARSE_MM, COARSE_MULTIPLE)
        coarse = _recoloured(coarse[0], recolour, generator)
        last = torch.tensor([n - 1 for n in coarse.shape[:0:-1]])
        return _Sample(coarse, centre[0] - last * COARSE_MM / 2, boxes, origins, truth.float(), present)

    def _truth(self, points: Points) -> Tensor:
        """[L, 3] float64, NaN where missing."""
        return torch.tensor([points[name] or (math.nan,) * 3 for name in self.names], dtype=torch.float64)


class _EachOnce(TorchDataset):
    def __init__(self, batches: CaseBatches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches.cases)

    def __getitem__(self, index: int) -> SampleBatch:
        return joined([self.batches._sample(index)], index)


class _Sample:
    def __init__(self, coarse, coarse_origin, boxes, origins, truth, present):
        self.coarse, self.coarse_origin, self.boxes, self.origins = coarse, coarse_origin, boxes, origins
        self.truth, self.present = truth, present


def joined(samples: Sequence[_Sample], index: int) -> SampleBatch:
    """One batch; coarse views are padded with air at their far ends to the largest one."""
    shape = [max(s.coarse.shape[n] for s in samples) for n in (1, 2, 3)]
    padded = []
    for s in samples:
        grown = torch.full((1, *shape), AIR_HU)
        grown[:, : s.coarse.shape[1], : s.coarse.shape[2], : s.coarse.shape[3]] = s.coarse
        padded.append(grown)
    return SampleBatch(
        index=index,
        coarse=torch.stack(padded).half(),
        coarse_origin_lps=torch.stack([s.coarse_origin for s in samples]),
        boxes={scale: torch.stack([s.boxes[scale] for s in samples]).half() for scale in BOX_SIZES},
        box_origins_lps={scale: torch.stack([s.origins[scale] for s in samples]) for scale in BOX_SIZES},
        landmarks_lps=torch.stack([s.truth for s in samples]),
        present=torch.stack([s.present for s in samples]),
        seeds=(index,) * len(samples),
        styles=("case",) * len(samples),
        absent_because=(("", ""),) * len(samples),
    )


def draw_transform(generator: torch.Generator, middle_lps: Tensor) -> tuple[Tensor, bool]:
    """A random affine [4, 4] float64 about ``middle_lps``, and whether it mirrors left and right."""
    u = uniform(generator)
    matrix = rotation([u(-15, 15), u(-10, 10), u(-15, 15)])
    scale = torch.tensor([u(-0.15, 0.15) for _ in range(3)], dtype=torch.float64).exp()
    shear = torch.eye(3, dtype=torch.float64) + 0.05 * torch.tensor([[u(-1, 1) for _ in range(3)] for _ in range(3)])
    mirrored = u(0, 1) < 0.5
    flip = torch.tensor([-1.0 if mirrored else 1.0, 1.0, 1.0], dtype=torch.float64)
    matrix = matrix @ shear @ torch.diag(scale * flip)
    shift = torch.tensor([u(-20, 20) for _ in range(3)], dtype=torch.float64)
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3], transform[:3, 3] = matrix, middle_lps + shift - matrix @ middle_lps
    return transform, mirrored


def draw_intensity(generator: torch.Generator) -> tuple[float, float, float]:
    """Gain above 60 HU (contrast and kV), offset and noise sd in HU."""
    u = uniform(generator)
    return math.exp(u(-0.3, 0.3)), u(-20, 20), u(0, 15)


def _recoloured(values: Tensor, how: tuple[float, float, float], generator: torch.Generator) -> Tensor:
    """Values above air -> HU with another contrast, offset and noise; air stays air."""
    gain, offset, noise = how
    hu = values + AIR_HU
    if how == (1.0, 0.0, 0.0):
        return hu
    tissue = values > 0
    changed = hu + (gain - 1) * (hu - 60).clamp(min=0) + offset
    changed = changed + noise * torch.randn(hu.shape, generator=generator)
    return torch.where(tissue, changed, hu)


@lru_cache(maxsize=16)
def _pyramid(digest: str, image: Path) -> Pyramid:
    from CarotidLandmarkLib.volume import read_volume

    folder = cache_directory()
    array_file, affine_file = folder / f"{digest}.npy", folder / f"{digest}.affine.npy"
    if not affine_file.exists():
        volume = read_volume(image)
        folder.mkdir(parents=True, exist_ok=True)
        for file, values in ((array_file, volume.array), (affine_file, volume.affine_lps)):
            temporary = file.with_suffix(f".{os.getpid()}.npy")
            np.save(temporary, values)
            temporary.replace(file)
    volume = Volume(np.load(array_file, mmap_mode="r"), np.load(affine_file), digest)
    return Pyramid(volume, (COARSE_MM, *BOX_SIZES))


def cached_pyramid(case: Case) -> Pyramid:
    """The case's pyramid: voxels memory-mapped from the cache (decompressed once), coarse levels in memory."""
    return _pyramid(case.image_sha256, case.image_path)


def cache_directory() -> Path:
    """$CAROTID_CACHE, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "carotid-landmark" / "pyramids"
