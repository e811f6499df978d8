"""How lightning writes checkpoints: whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from ..tensors import save_tensors
from .runs import read_checkpoint


class Checkpoints(TorchCheckpointIO):
    """Lightning's checkpoint files. It writes them in the system's temporary folder and moves them: from another file
    system, or where that is full, a stop in between cost the checkpoint before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Raises OSError; what was at ``path`` is then as it was."""
        save_tensors(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: Any = None) -> dict[str, Any]:
        """Raises as `read_checkpoint` does."""
        return read_checkpoint(Path(path), map_location, weights_only is not False)
