"""Where training batches come from: endless digital necks, annotated cases on disk, or both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.bundle import Architecture
from CarotidLandmarkLib.dataset import Dataset as CaseFolder
from CarotidLandmarkLib.dataset import freeze_splits
from CarotidLandmarkLib.detector import choose_device
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS, LandmarkSpec
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch.utils.data import DataLoader, Dataset

from ..necks.styles import Styles
from .batch import share_memory
from .cases import CaseBatches, check_names
from .pool import POOL, POOL_START, Pool
from .stream import COARSE_MM, NeckStream, box_sizes_of
from .unseen import UnseenCases, UnseenNecks


class NecksData(pl.LightningDataModule):
    """Training batches as {"necks", "coarse", "cases"}, each when its batch size is above zero.

    The mix is the ratio of the batch sizes. Validation: the dataset's validation cases if there is a dataset and
    ``necks_per_step`` is 0, else unseen necks.

    Args:
        architecture: What the nets are made of; the model's.
        necks_per_step: Digital necks in a step, at all scales.
        neck_depth: How many of the scales, from the coarsest on, these train; null: all.
        coarse_per_step: Digital necks in a step at 4 mm only, for the coarsest net.
        cases_per_step: Annotated cases in a step, of the dataset's training split.
        dataset: The folder with dataset.json; its patients are given splits, on the disk and for good.
        styles: Weight of each style of necks, how often it is drawn; null: all that can be drawn, alike.
        backgrounds: Unenhanced CTs, prepared ones, or folders of them, for the styles of real tissue; null: what
            $CAROTID_BACKGROUND_CT names.
        seed: Of the necks, and of the order of cases; 0: seed_everything.
        reuse: How often a rendered neck is used on average, each time augmented differently.
        pool: Rendered necks that a worker keeps for another turn, 5 MB each.
        pool_start: Necks with which that pool begins.
        rendered: Folder that keeps rendered necks for later runs; null: memory alone.
        workers: Processes that prepare batches, for each of necks, coarse and cases.
        prefetch: Batches that each of them prepares in advance.
        render_device: Where necks are rendered: cpu, or cuda, in the main process.
        validation_necks: Unseen necks that measure the training.
    """

    def __init__(
        self,
        architecture: Architecture,
        necks_per_step: NonNegativeInt = 4,
        neck_depth: PositiveInt | None = None,
        coarse_per_step: NonNegativeInt = 0,
        cases_per_step: NonNegativeInt = 0,
        dataset: Path | None = None,
        styles: dict[str, NonNegativeFloat] | None = None,
        backgrounds: list[Path] | None = None,
        seed: NonNegativeInt = 0,
        reuse: PositiveInt = 1,
        pool: PositiveInt = POOL,
        pool_start: NonNegativeInt = POOL_START,
        rendered: Path | None = None,
        workers: NonNegativeInt = 1,
        prefetch: PositiveInt = 2,
        render_device: str = "cpu",
        validation_necks: NonNegativeInt = 32,
    ):
        super().__init__()
        if cases_per_step and dataset is None:
            raise UserError("cases_per_step is above zero but no dataset is given; set data.dataset to its folder.")
        if dataset is not None and necks_per_step and not cases_per_step:
            raise UserError("Nothing looks at data.dataset; set data.cases_per_step above zero, or leave it out.")
        if not necks_per_step + coarse_per_step + cases_per_step:
            raise UserError("Nothing to train on; set necks_per_step, coarse_per_step or cases_per_step above zero.")
        if architecture.scales_mm[0] != COARSE_MM:
            raise UserError(f"Training shows the whole scan at {COARSE_MM:g} mm; begin architecture.scales_mm with it.")
        if not in_digital_necks(architecture.landmarks) and necks_per_step + coarse_per_step:
            raise UserError(
                "Digital necks know the two carotid bifurcations alone, left first; for others set data.necks_per_step "
                "and data.coarse_per_step to 0, data.cases_per_step above it, and data.dataset to a dataset of theirs."
            )
        self.draws_necks = bool(necks_per_step + coarse_per_step)
        of_necks = {"styles": styles, "backgrounds": backgrounds, "rendered": rendered}
        if ignored := [f"data.{name}" for name, given in of_necks.items() if given and not self.draws_necks]:
            raise UserError(
                f"No digital necks are asked for, so nothing looks at {', '.join(ignored)}; leave that out, or set "
                "data.necks_per_step above zero."
            )
        if neck_depth is not None and not (necks_per_step and neck_depth <= len(architecture.scales_mm)):
            raise UserError(
                f"data.neck_depth is how many of the {len(architecture.scales_mm)} scales the necks of "
                "data.necks_per_step train; give no more, or leave it out where there are none."
            )
        self.landmarks, self.box_sizes = architecture.landmarks, box_sizes_of(architecture)
        self.necks_per_step, self.coarse_per_step, self.cases_per_step = necks_per_step, coarse_per_step, cases_per_step
        self.dataset, self.seed = dataset, seed
        self.reuse: dict[str, Any] = {"times": reuse, "size": pool, "first": pool_start, "folder": rendered}
        self.workers, self.prefetch = workers, prefetch
        self.render_device = str(choose_device(render_device))
        self.neck_depth = neck_depth
        self.styles = Styles([str(path) for path in backgrounds or ()])
        self.weights = styles or dict.fromkeys(self.styles.available, 1.0)
        self.styles.check(list(self.weights))
        self.validation_necks = validation_necks
        self.unseen: Dataset | None = None  # what validation looks at, once it is drawn

    def prepare_data(self) -> None:
        """Give every annotated patient of the dataset a split, on the disk and for good; lightning calls it once.

        Raises DatasetError before that where the dataset is of other landmarks, or of too few patients.
        """
        if self.dataset is not None and self.cases_per_step:
            dataset = CaseFolder.open(self.dataset)
            check_names(dataset, [landmark.name for landmark in self.landmarks])
            freeze_splits(dataset)

    def setup(self, stage: str) -> None:
        """What validation looks at is chosen before training: a dataset that lacks it is refused now."""
        if stage == "fit" and self.trainer and self.trainer.limit_val_batches:
            self.val_dataloader()

    def train_dataloader(self) -> dict[str, DataLoader]:
        """Loaders that go on from the trainer's global step: an interrupted run sees what it would have seen."""
        trainer = self.trainer
        rank, world, turn = 0, 1, 0
        if trainer:
            rank, world = trainer.global_rank, trainer.world_size
            turn = trainer.global_step * trainer.accumulate_grad_batches
        every: dict[str, Any] = {"start": turn * world, "rank": rank, "world_size": world}

        def necks(per_step: int, base_seed: int, box_sizes: Mapping[float, int]) -> DataLoader:
            how = {"styles": self.styles, "weights": self.weights, "device": self.render_device, **every}
            return self._loader(Pool(NeckStream(1, base_seed, box_sizes=box_sizes, **how), per_step, **self.reuse))

        loaders: dict[str, DataLoader] = {}
        if self.necks_per_step:
            depth = None if self.neck_depth is None else self.neck_depth - 1
            loaders["necks"] = necks(self.necks_per_step, self.seed, dict(list(self.box_sizes.items())[:depth]))
        if self.coarse_per_step:
            # Other necks than the full stream's: the seed space of the base seed after this one.
            loaders["coarse"] = necks(self.coarse_per_step, (self.seed + 1) % 256, {})
        if self.cases_per_step:
            loaders["cases"] = self._loader(self._cases("train", **every))
        return loaders

    def val_dataloader(self) -> DataLoader:
        if self.unseen is None:
            if self.dataset is not None and not self.necks_per_step:
                self.unseen = UnseenCases(self._cases("validation"))
            else:
                styles = [style for style, weight in self.weights.items() if weight]
                self.unseen = UnseenNecks(self.validation_necks, self.seed, self.styles, styles, self.render_device)
        return DataLoader(self.unseen, batch_size=None)

    def dataset_hash(self) -> str | None:
        """Which data a run was trained on: see `dataset_sha256`."""
        return None if self.dataset is None else dataset_sha256(CaseFolder.open(self.dataset))

    def _cases(self, split: str, **every: int) -> CaseBatches:
        assert self.dataset is not None
        names = [landmark.name for landmark in self.landmarks]
        dataset, size = CaseFolder.open(self.dataset), max(1, self.cases_per_step)
        return CaseBatches(dataset, split, size, names, self.box_sizes, self.seed, **every)

    def _loader(self, source: Iterable) -> DataLoader:
        workers = 0 if self.render_device != "cpu" else self.workers
        return DataLoader(
            source,  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=share_memory if workers else None,  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=False,
            # 16, with workers that yield less, waited for data 0.5 % of the time, not 18, but trained 9 % slower.
            prefetch_factor=self.prefetch if workers else None,
            worker_init_fn=in_the_background if workers else None,
            # A process that is forked after CUDA has begun can not make an optimiser, and placing vessels takes one.
            multiprocessing_context="spawn" if workers and torch.cuda.is_available() else None,
        )


def in_digital_necks(landmarks: Sequence[LandmarkSpec]) -> bool:
    """Whether digital necks have all of these landmarks in this order, and no other."""
    return [spec.name for spec in landmarks] == [spec.name for spec in CAROTID_BIFURCATIONS]


def dataset_sha256(dataset: CaseFolder) -> str:
    """sha256 over the image hashes, splits and annotations of all cases. Raises DatasetError."""
    digest = hashlib.sha256()
    for case in map(dataset.case, dataset.case_ids()):
        digest.update(f"{case.image_sha256} {case.split}".encode())
        for annotation in case.truth_annotations.values():
            digest.update(repr(sorted(annotation.points.items())).encode())
    return digest.hexdigest()


def in_the_background(worker: int) -> None:
    """One thread, and it yields: a training thread that waits for its neighbour spins (4.2 s a step instead of 1.6)."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(10)
