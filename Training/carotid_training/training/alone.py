"""One training at a time in a folder."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from CarotidLandmarkLib.errors import UserError
from filelock import FileLock, Timeout

# Some file systems of clusters know no locks.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


class Alone(pl.Callback):
    """Holds the run's folder while it trains; a process that is killed lets go of it.

    A second one would mix its checkpoints and its log with those of the first. Raises UserError where there is one.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "training.lock", timeout=0, fallback_to_soft=False)  # a soft one outlives the killed
        try:
            lock.acquire()
        except Timeout as error:
            words = "wait until it ends, or take another folder"
            raise UserError(f"Another training is at work in {folder}; {words}.") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return
        self._lock = lock

    def on_exception(self, *_: Any) -> None:
        self._release()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
