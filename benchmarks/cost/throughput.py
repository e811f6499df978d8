"""Training steps per second, and the share of the time in which the trainer waits for data.

    python -m benchmarks.cost.throughput --steps 24 Training/configs/small.yaml Training/configs/full-width.yaml

Each configuration runs as `carotid-train fit` would run it, in float32 and in bfloat16, on the CPU and, if there is
one, on the GPU; first on necks that it renders and keeps (``data.rendered``), then on the same necks again, as a second
run would. Validation and checkpoints are left out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import lightning.pytorch as pl
import typer
from carotid_training.reproduction.predict import now
from carotid_training.training.fit import prepared
from lightning.pytorch.profilers import SimpleProfiler

from ..tables import NO_GPU, RESULTS, Background, Output, Row, Table, devices, run

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
WAITING = "[_TrainingEpochLoop].train_dataloader_next"
TABLE = Table("throughput", "How fast is training?", "How much better a model becomes by a step.")


class Durations(SimpleProfiler):
    """Keeps the durations, and prints no report."""

    def summary(self) -> str:
        return ""


class Ends(pl.Callback):
    """When each training step ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.seconds.append(now(trainer.strategy.root_device))


def measure(
    config: Path, device: str, precision: str, rendered: Path, steps: int, warmup: int, background: list[Path]
) -> Row:
    """One row of the table; ``device``: cpu or cuda; ``rendered``: folder of the necks, new ones where it is empty.

    Raises SystemExit, with a message, on a bad configuration.
    """
    necks = "kept" if any(rendered.iterdir()) else "new"
    arguments = [
        f"--config={config}", f"--trainer.accelerator={device}", f"--trainer.precision={PRECISIONS[precision]}",
        "--trainer.devices=1", f"--trainer.max_steps={warmup + steps}", "--trainer.limit_val_batches=0",
        "--trainer.num_sanity_val_steps=0",
        # As in the middle of a run: every reuse-th step a new neck joins the pool.
        "--trainer.enable_model_summary=false", "--data.pool_start=0", f"--data.rendered={rendered}",
    ]  # fmt: skip
    if background:
        arguments.append(f"--data.backgrounds={[str(path) for path in background]}")
    cli = prepared(arguments)
    ends, profiler = Ends(), Durations()
    cli.trainer.callbacks.append(ends)  # type: ignore[attr-defined]
    cli.trainer.profiler = profiler  # type: ignore[attr-defined]
    cli.trainer.fit(cli.model, cli.datamodule)
    seconds = ends.seconds[-1] - ends.seconds[warmup - 1]
    waiting = sum(profiler.recorded_durations[WAITING][warmup : warmup + steps])
    return {
        "configuration": config.stem,
        "device": device,
        "precision": precision,
        "necks": necks,
        "steps per second": steps / seconds,
        "seconds per step": seconds / steps,
        "waiting for data": f"{waiting / seconds:.1%}",
        "steps measured": steps,
    }


def main(
    configs: Annotated[list[Path], typer.Argument(help="Training configurations.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps measured: several times data.reuse.")] = 24,
    warmup: Annotated[int, typer.Option(min=1, help="Steps before, not measured.")] = 4,
    background: Background = None,
    output: Output = RESULTS,
) -> None:
    """Table of training steps per second."""
    rows: list[Row] = []
    for config in configs:
        for device in devices(rows, {"configuration": config.stem, "steps per second": NO_GPU}):
            for precision in PRECISIONS:
                with tempfile.TemporaryDirectory() as folder:
                    for _ in ("new", "kept"):
                        rows.append(measure(config, device, precision, Path(folder), steps, warmup, background or []))
                        print(rows[-1], flush=True)
    text = (
        f"{steps} steps after {warmup} for warming up, with the data, augmentation, losses and optimizer of the "
        "configuration. Necks: new ones, rendered and kept beside the training, or those that an earlier run kept. "
        "Waiting for data: share of the time in which the trainer had no batch to train on."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
