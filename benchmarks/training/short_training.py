"""One short training of a comparison: it is made once, and a comparison that is begun again finds it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from carotid_training.training.fit import prepared
from CarotidLandmarkLib.files import write_text
from lightning.pytorch.callbacks import WeightAveraging
from torch.utils.data import Dataset

# The unseen necks of trainings before, by how many and of which styles: drawing 18 takes a minute or two.
_UNSEEN: dict[tuple[object, ...], Dataset] = {}


def short_training(
    config: Path, options: Sequence[str], steps: int, backgrounds: Sequence[Path], folder: Path, averaged: bool = True
) -> dict[str, float]:
    """Train a configuration with some options changed: its validation ("val/...") and "minutes", that included.

    FOLDER/checkpoints/last.ckpt holds the weights, FOLDER/measured.json what is returned: where that is, nothing is
    trained. Rendered necks are kept beside FOLDER, for the others. Raises SystemExit on a bad configuration.
    """
    done = folder / "measured.json"
    if not done.exists():
        arguments = [
            f"--config={config}", f"--trainer.max_steps={steps}", f"--trainer.val_check_interval={steps}",
            f"--model.warmup_steps={steps // 10}", "--trainer.enable_model_summary=false",
            f"--data.rendered={folder.parent / 'rendered'}", *options,
        ]  # fmt: skip
        if backgrounds:
            arguments.append(f"--data.backgrounds={[str(path) for path in backgrounds]}")
        cli = prepared(arguments)
        if not averaged:
            callbacks = cli.trainer.callbacks  # type: ignore[attr-defined]
            callbacks[:] = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
        data = cli.datamodule
        necks = data.validation_necks, data.seed, *data.weights, *data.styles.fingerprint()
        data.unseen = _UNSEEN.get(necks)
        begin = time.perf_counter()
        cli.trainer.fit(cli.model, data)
        minutes = (time.perf_counter() - begin) / 60
        _UNSEEN[necks] = data.unseen
        cli.trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
        metrics = cli.trainer.callback_metrics
        measured = {key: float(value) for key, value in metrics.items() if key.startswith("val/")}
        write_text(done, json.dumps({**measured, "minutes": minutes}, indent=2) + "\n")
    return json.loads(done.read_text(encoding="utf-8"))
