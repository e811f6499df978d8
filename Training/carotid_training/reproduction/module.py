"""What trains each row of the table: its cases and its lightning module, with training steps that only Table 1 has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS, LandmarkSpec
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from ..batches.batch import SampleBatch
from ..batches.datamodule import NecksData
from ..training.augment import Augmentation
from ..training.losses import Objective, distance_loss
from ..training.module import ChainModule, falling
from ..training.view import BatchView
from .field import FieldData, augmented, field_middles
from .methods import CHAINS, architecture_of, field_net
from .nets import FIELD_MM, FieldNet, initialised
from .protocol import Protocol


@dataclass(frozen=True)
class Crops:
    """Parts of the field that a step sees: ``count`` cubes of ``voxels`` along a side, every other one with a landmark
    in it. They lie inside the field."""

    voxels: int
    count: int


class FieldModule(pl.LightningModule):
    """Trains a `FieldNet` with Adam and a falling rate, on whole fields or (``crops``) on parts of them."""

    def __init__(
        self,
        net: FieldNet,
        landmarks: tuple[LandmarkSpec, ...],
        augmentation: Augmentation | None = None,
        learning_rate: float = 5e-4,
        crops: Crops | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.net = net
        names = [landmark.name for landmark in landmarks]
        self.counterpart = [names.index(landmark.mirror) for landmark in landmarks]
        self.augmentation, self.learning_rate, self.crops, self.seed = augmentation, learning_rate, crops, seed

    def training_step(self, batches: dict[str, SampleBatch], step: int) -> Tensor:
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        view = augmented(batches["cases"], self.augmentation, self.counterpart, random)
        loss = self.net.loss(*self.crops_of(view, random))
        self.log("loss", loss.detach(), prog_bar=True, batch_size=1)
        return loss

    def crops_of(self, view: BatchView, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What a step looks at: values [N, 1, k, j, i], places in it [N, L, 3] in mm from its middle, which are there.

        A landmark outside a crop is there all the same: a patch can point at it.
        """
        batch, middles = view.batch, field_middles(view.batch)
        truth, present = batch.landmarks_lps, batch.present
        if self.crops is None:
            centres, side = middles[:, None], batch.boxes[FIELD_MM].shape[-1]
        else:
            centres, side = self._draw(view, random), self.crops.voxels
        values = view.patches(FIELD_MM, centres[:, None], side)[:, 0].flatten(0, 1)
        offsets = truth[:, None] - centres[:, :, None]
        return values, offsets.flatten(0, 1), present[:, None].expand(offsets.shape[:3]).flatten(0, 1)

    def _draw(self, view: BatchView, random: torch.Generator) -> Tensor:
        """Middles of the crops, [B, P, 3]."""
        assert self.crops is not None
        batch, count = view.batch, self.crops.count
        half = self.crops.voxels / 2 * FIELD_MM
        room = max(0.0, batch.boxes[FIELD_MM].shape[-1] / 2 * FIELD_MM - half)
        shape = (len(batch.present), count)
        u = (2 * torch.rand((*shape, 3), generator=random) - 1).to(batch.present.device)
        middles = field_middles(batch)[:, None]
        centres = middles + u * room
        for row, present in enumerate(batch.present.cpu()):
            there = present.nonzero()[:, 0]
            for column in range(0, count, 2):
                if len(there):
                    which = there[int(torch.randint(len(there), (), generator=random))]
                    centres[row, column] = batch.landmarks_lps[row, which] + u[row, column] * (half - 1)
        return torch.minimum(torch.maximum(centres, middles - room), middles + room)

    def validation_step(self, batch: SampleBatch, step: int) -> None:
        middles = field_middles(batch)
        view, side = BatchView(batch), batch.boxes[FIELD_MM].shape[-1]
        values = view.patches(FIELD_MM, middles[:, None, None], side)[:, 0, 0]
        positions = middles[:, None] + self.net.locate(values).offset_mm
        errors = (positions - batch.landmarks_lps).norm(dim=-1)[batch.present]
        if len(errors):
            self.log("val/error", errors.mean(), batch_size=len(errors), prog_bar=True)
            self.log("val/over_10mm", (errors > 10).float().mean(), batch_size=len(errors))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, steps = torch.optim.Adam(self.parameters(), lr=self.learning_rate), self.trainer.max_steps
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: falling(step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class StagedChain(ChainModule):
    """A chain trained in steps: as many equal parts as there are scales, no gradient from one scale to the next.

    Each part trains the net of one scale. Those before it stay as they are and only say where to crop; the others wait.
    """

    @property
    def stage(self) -> int:
        """The scale that learns now, 0 the coarsest."""
        scales = len(self.net.nets)
        return min(scales - 1, int(self.progress * scales))

    def share_of_decay(self, share: float) -> float:
        """The learning rate falls within each part: the last net would else begin with a rate that has fallen."""
        return share * len(self.net.nets) % 1.0

    def losses(self, batch: SampleBatch, random: torch.Generator) -> dict[str, Tensor]:
        view, stage = self.augmented(batch, random), self.stage
        guide = self.guide(view, random, teach=False)
        if stage == 0:
            output = self.net.coarsest(view)
        else:
            with torch.no_grad():
                centre = self.net.coarsest(view).position_lps
                for scale in range(1, stage):
                    centre = self.net.finer(view, scale, guide(scale, centre)).position_lps
            output = self.net.finer(view, stage, guide(stage, centre))
        truth, present = view.batch.landmarks_lps, view.batch.present
        return {f"distance_{output.scale_mm:g}mm": distance_loss(output, truth, present, self.objective.distance)}


# The paper's loss: squared distances with its schedule, nothing else.
PAPER = Objective(distance="squared", schedule="paper", heatmap_weight=0.0, presence_weight=0.0, teacher_until=0.0)
# As configs/small.yaml.
OURS = Objective(heatmap_weight=3.0, teacher_until=0.75, tied_until=0.35)
# The paper's, but for so long as in ours its finer nets see patches near the truth.
TAUGHT = replace(PAPER, teacher_until=OURS.teacher_until)
WARMUP_STEPS = 100
# How the rows that are chains train.
TRAININGS: dict[str, tuple[type[ChainModule], Objective]] = {
    "steps": (StagedChain, replace(PAPER, schedule="constant")),
    "end_to_end": (ChainModule, PAPER),
    "noise": (ChainModule, PAPER),
    "taught": (ChainModule, TAUGHT),
    "ours": (ChainModule, OURS),
}


def module_of(key: str, protocol: Protocol) -> pl.LightningModule:
    """The lightning module of a trained row, its nets untrained; a function of the protocol's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(protocol.seed)  # ChainModule does so by itself
        return _module(key, protocol)


def _module(key: str, protocol: Protocol) -> pl.LightningModule:
    if key not in CHAINS:
        crops = Crops(protocol.patch_voxels, protocol.patch_count) if key == "patches" else None
        net = field_net(key, protocol)
        return FieldModule(
            net, CAROTID_BIFURCATIONS, protocol.augmentation, protocol.learning_rate, crops, protocol.seed
        )
    kind, objective = TRAININGS[key]
    ours = key == "ours"
    chain = kind(
        architecture_of(key, protocol),
        objective,
        protocol.augmentation,
        protocol.learning_rate,
        warmup_steps=WARMUP_STEPS if ours else 0,
        epoch_steps=1,  # schedules move with every step
        seed=protocol.seed,
    )
    if not ours:  # plain convolutions, as those of the single-scale rows
        initialised(chain.net)
    return chain


def data_of(key: str, protocol: Protocol, dataset: Path) -> pl.LightningDataModule:
    """Training and validation cases of a trained row: the same cases in the same order for every row."""
    seed, workers, size = protocol.seed, protocol.workers, protocol.batch_size
    if key not in CHAINS:
        return FieldData(CAROTID_BIFURCATIONS, dataset, protocol.field_voxels, size, seed, workers)
    architecture = architecture_of(key, protocol)
    return NecksData(architecture, necks_per_step=0, cases_per_step=size, dataset=dataset, seed=seed, workers=workers)
