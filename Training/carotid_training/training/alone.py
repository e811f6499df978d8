"""One training at a time in a folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import BusyError, locked


class Alone(pl.Callback):
    """Holds the run's folder while it trains; a process that is killed lets go of it.

    A second one would mix its checkpoints and its log with those of the first. Raises UserError where there is one.
    """

    def __init__(self) -> None:
        self._held = ExitStack()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._held.enter_context(locked(folder / "training.lock"))
        except BusyError as error:
            words = "wait until it ends, or take another folder"
            raise UserError(f"Another training is at work in {folder}; {words}.") from error

    def on_exception(self, *_: Any) -> None:
        self._held.close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._held.close()
