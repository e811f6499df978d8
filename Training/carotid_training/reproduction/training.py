"""Training one row of the table: a budget in steps, an interrupted run that goes on, the best validation kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.work import Step
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from ..records import read_record, write_record
from ..training.alone import Alone
from ..training.checkpoint import Checkpoints
from ..training.curve import read_curve
from ..training.fit import ProgressCallback, RunCheckpoint, interruptible, quiet
from ..training.runs import read_checkpoint
from .module import data_of, module_of
from .predict import now
from .protocol import Protocol

# Steps that are timed before a training of so many minutes; the first is not counted.
TIMED_STEPS = 12
# An interrupted training loses a fiftieth of its steps at most.
CHECKPOINTS = 50


@dataclass(frozen=True)
class Plan:
    """How long a row trains: ``validations`` times ``interval`` steps."""

    seconds_per_step: float | None
    interval: int
    validations: int

    @property
    def steps(self) -> int:
        return self.interval * self.validations


@dataclass(frozen=True)
class TrainingResult:
    """A training that is done: its steps, the seconds spent in them, and the checkpoint that validated best.

    validation: what was measured at that checkpoint (`training.curve`: tag -> mm or share).
    """

    steps: int
    seconds: float
    best_step: int
    best_error_mm: float
    validation: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path) -> TrainingResult:
        """Of a training that is done. Raises ValueError where the file is damaged, OSError."""
        return cls(**read_record(folder / "trained.json"))

    @staticmethod
    def checkpoint(folder: Path) -> Path:
        return folder / "checkpoints" / "best.ckpt"


class Clock(pl.Callback):
    """The seconds spent in training steps, also over interruptions: without validation and waiting for data.

    ``steps``: of each step; the first entry of a training that goes on is all that was before.
    """

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._begin = 0.0

    @property
    def seconds(self) -> float:
        return sum(self.steps)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._begin = now(trainer.strategy.root_device)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps.append(now(trainer.strategy.root_device) - self._begin)

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.steps = [state_dict["seconds"]]


def train(
    key: str, protocol: Protocol, dataset: Path, folder: Path, device: torch.device, plan: Plan, step: Step
) -> TrainingResult:
    """Train a row into ``folder``, or go on with what is there, or return at once what is done.

    ``step`` is told how far it is.

    Raises ValueError where the cohort can not be used, KeyboardInterrupt when stopped, OSError.
    """
    done = folder / "trained.json"
    if done.exists():
        return TrainingResult.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    clock = Clock()
    best = ModelCheckpoint(
        folder / "checkpoints", filename="best", monitor="val/error", save_on_train_epoch_end=False,
        enable_version_counter=False,
    )  # fmt: skip
    # the last checkpoint after the best one: it keeps how good that was
    callbacks = [Alone(), clock, best, RunCheckpoint(max(1, plan.steps // CHECKPOINTS)), ProgressCallback(step)]
    if key == "ours":
        callbacks.append(EMAWeightAveraging(decay=0.99))
    trainer = _trainer(
        protocol, device, plan.steps, callbacks, default_root_dir=folder, val_check_interval=plan.interval,
        log_every_n_steps=min(10, plan.interval),
    )  # fmt: skip
    _fit(trainer, key, protocol, dataset, last if last.exists() else None)
    best_step = int(read_checkpoint(TrainingResult.checkpoint(folder), weights_only=False)["global_step"])
    assert best.best_model_score is not None
    until = [point.values for point in read_curve(folder) if point.step <= best_step]
    error = float(best.best_model_score)
    result = TrainingResult(trainer.global_step, round(clock.seconds, 3), best_step, error, until[-1])
    write_record(done, asdict(result))
    return result


def plan_of(key: str, protocol: Protocol, dataset: Path, folder: Path, device: torch.device) -> Plan:
    """How long a row trains: what ``folder`` says of it, and before it says anything, what a step takes on the machine.

    Raises as `train` does.
    """
    path = folder / "plan.json"
    if path.exists():
        return Plan(**read_record(path))
    if protocol.steps is not None:
        seconds, steps = None, protocol.steps
    else:
        assert protocol.minutes is not None
        seconds = seconds_per_step(key, protocol, dataset, device)
        steps = int(protocol.minutes * 60 / seconds)
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(seconds, max(1, steps // protocol.validations), protocol.validations)
    write_record(path, asdict(plan))
    return plan


def seconds_per_step(
    key: str, protocol: Protocol, dataset: Path, device: torch.device, steps: int = TIMED_STEPS
) -> float:
    """Mean seconds of a training step of a row on this machine.

    The schedules run from beginning to end in these steps: a chain trained in steps has quick ones and slow ones.
    """
    clock = Clock()
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
    _fit(_trainer(protocol, device, steps + 1, [clock], **options), key, protocol, dataset, None)
    return sum(clock.steps[1:]) / steps


def _trainer(
    protocol: Protocol, device: torch.device, steps: int, callbacks: list[pl.Callback], **options: Any
) -> pl.Trainer:
    with quiet():
        return pl.Trainer(
            max_steps=steps, max_epochs=-1, callbacks=callbacks, gradient_clip_val=1.0, num_sanity_val_steps=0,
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1, precision=protocol.precision,
            enable_model_summary=False, enable_progress_bar=False, plugins=Checkpoints(), **options,
        )  # fmt: skip


def _fit(trainer: pl.Trainer, key: str, protocol: Protocol, dataset: Path, checkpoint: Path | None) -> None:
    with quiet(), interruptible():
        module, data = module_of(key, protocol), data_of(key, protocol, dataset)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=False if checkpoint else None)
