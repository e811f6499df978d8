"""Annotated cases as training batches: boxes cut where the chain looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from CarotidLandmarkLib.dataset import Case, Dataset, DatasetError
from CarotidLandmarkLib.nets.pyramid import AIR_HU
from torch import Tensor
from torch.utils.data import IterableDataset

from ..scans.acquisition import scan_dice
from .batch import SampleBatch, joined
from .cache import cache_directory, cached_pyramid
from .stream import ABSENT_JITTER_MM, COARSE_MM, COARSE_MULTIPLE, JITTER_VOXELS, turns


class CaseBatches(IterableDataset):
    """Endless batches of a dataset's cases of one split. Batch n is a function of (seed, n) and the cases.

    A case is trained on its annotators' consensus, by which evaluation measures too. As with digital necks, the
    training step augments.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        batch_size: int,
        names: Sequence[str],
        box_sizes: Mapping[float, int],
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        """``names``: the landmarks, in the net's order; ``box_sizes``: scale (mm) -> voxels along a side of its boxes
        (`stream.box_sizes_of`). Raises DatasetError where it has no word on a landmark, no annotated case of the split,
        or not the image of one; UserError where there is no place for the cache."""
        super().__init__()
        cache_directory()  # told now, not by a worker's traceback
        check_names(dataset, names)
        self.cases = dataset.annotated_cases(split)
        self.names = tuple(names)
        truths = [self.truth(case) for case in self.cases]
        if split == "train" and all(truth.isnan().all() for truth in truths):
            raise DatasetError(
                f"In no training case of {dataset.path.name} is there a point of {', '.join(names)}; annotate some."
            )
        for case in self.cases:
            _ = case.image_path  # one that is missing is named now, not when it is drawn
        self.batch_size, self.seed = batch_size, seed
        self.box_sizes = dict(box_sizes)
        self.start, self.rank, self.world_size = start, rank, world_size

    def __iter__(self) -> Iterator[SampleBatch]:
        return map(self.batch, turns(self.start, self.rank, self.world_size))

    def batch(self, index: int) -> SampleBatch:
        """Batch number ``index``: each case comes once before any comes again."""
        numbers = [index * self.batch_size + b for b in range(self.batch_size)]
        return joined([self.sample(self._drawn(number), number) for number in numbers], index)

    def _drawn(self, number: int) -> Case:
        turn, place = divmod(number, len(self.cases))
        order = torch.randperm(len(self.cases), generator=torch.Generator().manual_seed(self.seed + turn))
        return self.cases[int(order[place])]

    def sample(self, case: Case, number: int) -> SampleBatch:
        """The whole scan at 4 mm and boxes around its landmarks, off their middles as a function of (seed, number).

        Raises DatasetError, OSError.
        """
        pyramid, truth = cached_pyramid(case), self.truth(case)
        present = ~truth.isnan().any(dim=1)
        middle = torch.as_tensor(np.asarray(pyramid.volume.centre_lps))
        places = torch.where(present[:, None], truth, middle)
        u = scan_dice(torch.Generator().manual_seed(self.seed * 1_000_003 + number)).uniform
        boxes, origins = {}, {}
        for scale, size in self.box_sizes.items():
            reach = torch.where(present, JITTER_VOXELS * scale, ABSENT_JITTER_MM)[:, None]
            shift = reach * torch.tensor([[u(-1, 1) for _ in range(3)] for _ in self.names], dtype=torch.float64)
            centres = (places + shift).float()
            boxes[scale] = (pyramid.patches(scale, centres[None, :, None], size)[:, :, 0] + AIR_HU).half()
            origins[scale] = (centres - (size - 1) / 2 * scale)[None]
        coarse, centre = pyramid.whole(COARSE_MM, COARSE_MULTIPLE)
        last = torch.tensor([n - 1 for n in coarse.shape[:1:-1]])
        return SampleBatch(
            index=number,
            coarse=(coarse + AIR_HU).half(),
            coarse_origin_lps=centre - last * COARSE_MM / 2,
            boxes=boxes,
            box_origins_lps=origins,
            landmarks_lps=truth.float()[None],
            present=present[None],
        )

    def truth(self, case: Case) -> Tensor:
        """The annotators' consensus: [L, 3] float64 LPS mm, NaN where missing."""
        points = case.consensus(self.names)
        return torch.tensor([points[name] or (math.nan,) * 3 for name in self.names], dtype=torch.float64)


def check_names(dataset: Dataset, names: Sequence[str]) -> None:
    """Raises DatasetError where a dataset has no word on one of the landmarks ``names``."""
    if unknown := [name for name in names if name not in dataset.landmarks]:
        raise DatasetError(
            f"{dataset.path.name} is about {', '.join(dataset.landmarks)}, not about {', '.join(unknown)}; name "
            "its landmarks under model.architecture.landmarks, or give another dataset."
        )
