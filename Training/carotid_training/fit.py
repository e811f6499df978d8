"""carotid-train fit: lightning's command line over `ChainModule` and `NecksData`."""

from __future__ import annotations

import json
import logging
import platform
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import CarotidLandmarkLib
import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from .data import NecksData
from .module import ChainModule
from .seeds import GENERATOR


class RunRecord(Callback):
    """Writes run.json beside the checkpoints: versions, device, seeds, data, so that a run directory says all."""

    def __init__(self, arguments: Sequence[str]):
        self.arguments = list(arguments)

    def on_fit_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        record = {
            "lib_version": CarotidLandmarkLib.__version__,
            "torch_version": torch.__version__,
            "lightning_version": lightning.__version__,
            "python_version": platform.python_version(),
            "device": str(module.device),
            "precision": str(trainer.precision),
            "processes": trainer.world_size,
            "command": " ".join(["carotid-train", "fit", *map(_without_folders, self.arguments)]),
            "start_from": module.origin,
            "generator": GENERATOR,
            "seed": data.seed,
            "styles": data.weights,
            "dataset_sha256": data.dataset_hash(),
        }
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n")


def _without_folders(argument: str) -> str:
    """An argument with nothing but the last parts of its paths: the record ends in published models."""
    return re.sub(r"""(?<!\w)(?:/[^,\]"'/]+)+/""", "", argument)


class RunCheckpoint(ModelCheckpoint):
    """Keeps RUN/checkpoints/last.ckpt: every ``every_n_train_steps`` steps, and at the end whatever its number.

    With ``--ckpt_path last`` a run goes on from there, or begins where there is none.
    """

    def __init__(self, every_n_train_steps: int = 100):
        super().__init__(save_last=True, save_top_k=0, every_n_train_steps=every_n_train_steps)

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.dirpath = self._folder(trainer)
        super().setup(trainer, pl_module, stage)

    def _find_last_checkpoints(self, trainer: lightning.Trainer) -> set[str]:
        self.dirpath = self._folder(trainer)  # lightning looks for the last checkpoint before it sets callbacks up
        return super()._find_last_checkpoints(trainer)

    @staticmethod
    def _folder(trainer: lightning.Trainer) -> str:
        return str(Path(trainer.default_root_dir) / "checkpoints")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class _Command(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("model", "data.architecture", lambda model: model.architecture, "instantiate")


def configuration(name: str) -> Path:
    """One of the configurations that come with the program, for example "finetune"; in a checkout or in a wheel."""
    here = Path(__file__).resolve().parent
    folders = (here / "configs", here.parent / "configs")
    return next(folder for folder in folders if folder.is_dir()) / f"{name}.yaml"


def fit(arguments: Sequence[str], callbacks: Sequence[Callback] = ()) -> None:
    """Train, or go on with --ckpt_path RUN/checkpoints/last.ckpt; with ``callbacks`` beside those of the arguments."""
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # the arguments are those of the command line
    _Command(
        ChainModule,
        NecksData,
        args=["fit", *arguments],  # not sys.argv: there `fit` is a command among others
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        # Every process validates on all cases: split among them, each would have other styles to average.
        trainer_defaults={"callbacks": [RunRecord(arguments), *callbacks], "use_distributed_sampler": False},
        parser_kwargs={"fit": {"default_env": False}},
        auto_configure_optimizers=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advice on things that are settled here stays unsaid."""
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def prepared(arguments: Sequence[str]) -> LightningCLI:
    """Trainer (``trainer``), module (``model``) and data (``datamodule``) of a configuration, made but not started.

    Nothing is recorded or saved: for measurements.
    """
    command = _Command(
        ChainModule,
        NecksData,
        args=list(arguments),
        run=False,
        seed_everything_default=0,
        save_config_callback=None,
        trainer_defaults={"use_distributed_sampler": False, "logger": False},
        parser_kwargs={"default_env": False},
        auto_configure_optimizers=False,
    )
    callbacks = command.trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
    return command
