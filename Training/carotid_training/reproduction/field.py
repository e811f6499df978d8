"""Whole scans on one lattice of 1 mm, and batches of them: what the single-scale methods look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.dataset import Case, Dataset
from CarotidLandmarkLib.nets.pyramid import AIR_HU
from torch import Tensor
from torch.utils.data import DataLoader

from ..batches.batch import SampleBatch, share_memory
from ..batches.cache import CODE, cache_path
from ..batches.cases import CaseBatches
from ..tensors import load_or_make
from ..training.augment import Augmentation, draw_affines, move_truth, recolour
from ..training.view import BatchView
from .nets import FIELD_MM, cut_field


class FieldBatches(CaseBatches):
    """`CaseBatches` in which one box holds the whole field, [B, 1, 1, k, j, i] at `FIELD_MM`, for all landmarks.

    Fields are cut once and kept beside the pyramids: 22 MB for 224 voxels along a side.
    """

    def __init__(self, voxels: int, dataset: Dataset, split: str, batch_size: int, names: Sequence[str], **how: int):
        """``how``: as in `CaseBatches`. Raises DatasetError where no case of the split is annotated."""
        super().__init__(dataset, split, batch_size, names, {FIELD_MM: voxels}, **how)
        self.voxels = voxels

    def batch(self, index: int) -> SampleBatch:
        numbers = range(index * self.batch_size, (index + 1) * self.batch_size)
        return self.of([self._drawn(number) for number in numbers], index)

    def of(self, cases: Sequence[Case], index: int = 0) -> SampleBatch:
        """The batch of these cases. Raises DatasetError, VolumeError."""
        fields, middles = zip(*(self._field(case) for case in cases), strict=True)
        truth = torch.stack([self.truth(case).float() for case in cases])
        nothing = torch.zeros((len(cases), 1, 0, 0, 0), dtype=torch.float16)
        reach = (self.voxels - 1) / 2 * FIELD_MM
        return SampleBatch(
            index=index,
            coarse=nothing,
            coarse_origin_lps=torch.zeros(len(cases), 3),
            boxes={FIELD_MM: torch.stack(fields)[:, None, None]},
            box_origins_lps={FIELD_MM: torch.stack(middles)[:, None] - reach},
            landmarks_lps=truth,
            present=~truth.isnan().any(dim=2),
        )

    def _field(self, case: Case) -> tuple[Tensor, Tensor]:
        """HU [k, j, i] float16 and the middle [3]."""

        def make() -> Tensor:
            values, _ = cut_field(case.read_volume(), self.voxels)
            return (values[0, 0] + AIR_HU).half()

        field = load_or_make(cache_path(f"{case.image_sha256}.field{self.voxels}-{CODE}"), make)
        return field, torch.as_tensor(case.geometry.centre_lps, dtype=torch.float32)


class FieldData(pl.LightningDataModule):
    """Training batches {"cases"} and the validation cases of a cohort on disk; an interrupted run goes on."""

    def __init__(
        self, landmarks: tuple[LandmarkSpec, ...], dataset: Path, voxels: int, batch_size: int, seed: int, workers: int
    ):
        super().__init__()
        self.names = [landmark.name for landmark in landmarks]
        self.dataset, self.voxels, self.batch_size = dataset, voxels, batch_size
        self.seed, self.workers = seed, workers

    def train_dataloader(self) -> dict[str, DataLoader]:
        start = self.trainer.global_step if self.trainer else 0
        options: dict[str, Any] = {"prefetch_factor": 1, "collate_fn": share_memory} if self.workers else {}
        batches = self._batches("train", start)
        return {"cases": DataLoader(batches, batch_size=None, num_workers=self.workers, **options)}

    def val_dataloader(self) -> DataLoader:
        batches = self._batches("validation", 0)
        cases: Any = batches.cases  # torch's annotation wants a Dataset; a list will do
        return DataLoader(cases, batch_size=1, collate_fn=batches.of)

    def _batches(self, split: str, start: int) -> FieldBatches:
        dataset = Dataset.open(self.dataset)
        return FieldBatches(self.voxels, dataset, split, self.batch_size, self.names, seed=self.seed, start=start)


def field_middles(batch: SampleBatch) -> Tensor:
    """Middles of the fields of a batch, [B, 3]."""
    return BatchView(batch).box_middles(FIELD_MM)[:, 0, 0]


def augmented(
    batch: SampleBatch, how: Augmentation | None, counterpart: list[int], generator: torch.Generator
) -> BatchView:
    """A batch of fields moved and recoloured; ``counterpart``: each landmark's mirror image, by index."""
    if how is None:
        return BatchView(batch)
    affines, mirrored = draw_affines(how, field_middles(batch), generator)
    # The one box belongs to no landmark, so mirroring does not exchange it.
    moved = move_truth(replace(batch, boxes={}, box_origins_lps={}), affines, mirrored, counterpart)
    moved = replace(moved, boxes=batch.boxes, box_origins_lps=batch.box_origins_lps)
    return BatchView(recolour(how, moved, generator), affines)
