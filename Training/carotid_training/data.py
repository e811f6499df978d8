"""Where training batches come from: endless digital necks, annotated cases on disk, or both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.dataset import Dataset as CaseFolder
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from .disk import CaseBatches
from .necks.styles import Styles
from .rendered import RenderedBatches
from .stream import BOX_SIZES, COARSE_MM, NeckStream, SampleBatch
from .validation import UnseenCases, UnseenNecks, UnseenScan

# Rendered batches that a worker keeps for another turn: 9 MB each with boxes, so 3.5 GB where memory holds them.
POOL = 384
# It starts with so many, rendered when they are first drawn: the first steps see necks as various as the last.
POOL_START = 63


class Pool(IterableDataset):
    """A stream whose every batch is used ``times`` times on average, for augmentation to make the difference.

    Rendering a neck costs a CPU several times a training step. Every ``times`` steps a new batch joins the pool of the
    last ``size``, and the steps between draw from it at random: necks come back far apart. (Sixteen at a time, eight
    turns each, were learnt by heart: the loss jumped at every fresh sixteen.) Batch n is a function of n alone.
    The pool is in memory, or in the folder ``kept`` on disk, where the next run finds it.
    """

    def __init__(
        self, stream: NeckStream, times: int, size: int = POOL, first: int = POOL_START, kept: Path | None = None
    ):
        """``first``: how many batches the pool begins with."""
        super().__init__()
        self.stream, self.times, self.size, self.first, self.kept = stream, times, size, first, kept

    def __iter__(self) -> Iterator[SampleBatch]:
        stream, worker = self.stream, get_worker_info()
        workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
        rendered = stream.batch
        if self.kept is not None:
            rendered = RenderedBatches(stream, self.kept).batch
        elif self.times > 1:
            rendered = lru_cache(maxsize=self.size)(stream.batch)
        # start, rank and world size count training steps; each worker of each process has a pool of its own.
        for step in count(stream.start // stream.world_size + worker_id, workers):
            number = pool_number(step // workers, self.times, self.size, self.first)
            own = (number * workers + worker_id) * stream.world_size + stream.rank
            yield replace(rendered(own), index=step)


def pool_number(turn: int, times: int, size: int, first: int) -> int:
    """Which batch of a worker's pool its ``turn``-th step uses."""
    if times == 1:
        return turn
    newest = turn // times + first
    if turn % times == 0:
        return newest
    return newest - Random(turn).randrange(min(newest + 1, size))


class NecksData(pl.LightningDataModule):
    """Training batches as {"necks", "coarse", "cases"}, each when its batch size is above zero.

    necks: digital necks at all scales or at ``neck_scales``, the coarsest of them all; coarse: digital necks at 4 mm
    only, for the coarsest net; cases: annotated cases of the training split of ``dataset``. The mix is the ratio of
    the batch sizes. Validation: the dataset's validation cases if there is a dataset and no digital necks are asked
    for, else ``validation_necks`` unseen necks. Every rendered batch is used ``reuse`` times, out of a pool of ``pool``
    batches that begins with ``pool_start``; ``rendered``: a folder that keeps them for later runs. ``styles``: style ->
    weight; ``backgrounds``: CT files for the styles that need real tissue; ``render_device``: cuda renders in the main
    process (then use workers: 0).
    """

    def __init__(
        self,
        landmarks: tuple[LandmarkSpec, ...],
        necks_per_step: int = 4,
        neck_scales: tuple[float, ...] = (COARSE_MM, *BOX_SIZES),
        coarse_per_step: int = 0,
        cases_per_step: int = 0,
        dataset: Path | None = None,
        styles: dict[str, float] | None = None,
        backgrounds: list[Path] | None = None,
        seed: int = 0,
        reuse: int = 1,
        pool: int = POOL,
        pool_start: int = POOL_START,
        rendered: Path | None = None,
        workers: int = 1,
        render_device: str = "cpu",
        validation_necks: int = 32,
    ):
        super().__init__()
        if cases_per_step and dataset is None:
            raise ValueError("cases_per_step is above zero but no dataset is given; set data.dataset to its folder.")
        if not necks_per_step + coarse_per_step + cases_per_step:
            raise ValueError("Nothing to train on; set necks_per_step, coarse_per_step or cases_per_step above zero.")
        self.landmarks = landmarks
        self.necks_per_step, self.coarse_per_step, self.cases_per_step = necks_per_step, coarse_per_step, cases_per_step
        self.dataset, self.seed = dataset, seed
        self.reuse: dict[str, Any] = {"times": reuse, "size": pool, "first": pool_start, "kept": rendered}
        self.workers, self.render_device = workers, render_device
        self.neck_scales = neck_scales
        self.styles = Styles([str(path) for path in backgrounds or ()])
        self.weights = styles or dict.fromkeys(self.styles.available, 1.0)
        self.styles.check(list(self.weights))
        self.validation_necks = validation_necks
        self.unseen: Dataset | None = None  # what validation looks at, once it is drawn

    def train_dataloader(self) -> dict[str, DataLoader]:
        """Loaders that go on from the trainer's global step: an interrupted run sees what it would have seen."""
        trainer = self.trainer
        rank, world, turn = 0, 1, 0
        if trainer:
            rank, world = trainer.global_rank, trainer.world_size
            turn = trainer.global_step * trainer.accumulate_grad_batches
        every: dict[str, Any] = {"start": turn * world, "rank": rank, "world_size": world}
        neck: dict[str, Any] = {
            "base_seed": self.seed,
            "styles": self.styles,
            "weights": self.weights,
            "device": self.render_device,
        }
        loaders: dict[str, DataLoader] = {}
        if self.necks_per_step:
            necks = NeckStream(self.necks_per_step, **neck, **every, scales=self.neck_scales)
            loaders["necks"] = self._loader(Pool(necks, **self.reuse))
        if self.coarse_per_step:
            # Other necks than the full stream's: the seed space of the base seed after this one.
            coarse = {**neck, "base_seed": (self.seed + 1) % 256, "scales": (COARSE_MM,)}
            loaders["coarse"] = self._loader(Pool(NeckStream(self.coarse_per_step, **coarse, **every), **self.reuse))
        if self.cases_per_step:
            loaders["cases"] = self._loader(self._cases("train", **every))
        return loaders

    def val_dataloader(self) -> DataLoader:
        if self.unseen is None:
            if self.dataset is not None and not self.necks_per_step:
                self.unseen = UnseenCases(self._cases("validation"))
            else:
                styles = list(self.weights)
                self.unseen = UnseenNecks(self.validation_necks, self.seed, self.styles, styles, self.render_device)
        return DataLoader(self.unseen, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, dict):
            return {source: self.transfer_batch_to_device(b, device, dataloader_idx) for source, b in batch.items()}
        if isinstance(batch, UnseenScan):
            return batch.to(device)
        return replace(
            batch,
            **{
                name: getattr(batch, name).to(device, non_blocking=True)
                for name in ("coarse", "coarse_origin_lps", "landmarks_lps", "present")
            },
            boxes={scale: box.to(device, non_blocking=True) for scale, box in batch.boxes.items()},
            box_origins_lps={scale: o.to(device, non_blocking=True) for scale, o in batch.box_origins_lps.items()},
        )

    def dataset_hash(self) -> str | None:
        """Which data a run was trained on: see `dataset_sha256`."""
        return None if self.dataset is None else dataset_sha256(CaseFolder.open(self.dataset))

    def _cases(self, split: str, **every: int) -> CaseBatches:
        assert self.dataset is not None
        names = [landmark.name for landmark in self.landmarks]
        return CaseBatches(CaseFolder.open(self.dataset), split, max(1, self.cases_per_step), names, self.seed, **every)

    def _loader(self, source: Iterable) -> DataLoader:
        workers = 0 if self.render_device != "cpu" else self.workers
        return DataLoader(
            source,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            persistent_workers=False,
            # 16, with workers that yield less, waited for data 0.5 % of the time, not 18, but trained 9 % slower.
            prefetch_factor=2 if workers else None,
            worker_init_fn=in_the_background if workers else None,
        )


def dataset_sha256(dataset: CaseFolder) -> str:
    """sha256 over the image hashes, splits and annotations of all cases. Raises DatasetError."""
    digest = hashlib.sha256()
    for case in map(dataset.case, dataset.case_ids()):
        digest.update(f"{case.image_sha256} {case.split}".encode())
        for annotator in case.annotators():
            digest.update(repr(sorted(case.annotation(annotator).points.items())).encode())
    return digest.hexdigest()


def in_the_background(worker: int) -> None:
    """One thread, and it yields: a training thread that waits for its neighbour spins (4.2 s a step instead of 1.6)."""
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(10)
