"""What each of our additions to the paper is worth: the same short training with one of them switched off.

    python Testing/benchmarks/ablations.py Training/configs/small.yaml --steps 600 --background CT.nii.gz

Every variant trains on the same rendered necks (kept in OUTPUT/rendered) from the same first weights, as far as its
architecture allows, and is measured on the same unseen necks. A variant that is done is not trained again: the
command may be interrupted and repeated. RUN/variant.json holds its row, RUN/checkpoints/last.ckpt its weights, for
example for equivariance.py.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from carotid_training.fit import prepared
from CarotidLandmarkLib.atomic import write_text
from CarotidLandmarkLib.memory import keep_freed_memory
from lightning.pytorch.callbacks import WeightAveraging
from tables import Row, write_table


@dataclass(frozen=True)
class Variant:
    """A training that differs from the configuration by some options."""

    name: str
    options: tuple[str, ...] = ()
    averaged: bool = True


VARIANTS = {
    "ours": Variant("as configured"),
    "pooling": Variant("max pooling instead of anti-aliased", ("--model.architecture.pooling=max",)),
    "heatmap": Variant("ReLU heatmaps instead of softmax", ("--model.architecture.heatmap=relu",)),
    "convolution": Variant("plain instead of standardised convolutions", ("--model.architecture.convolution=plain",)),
    "mirror": Variant("a heatmap for each side, not one mirrored net", ("--model.architecture.mirrored=false",)),
    "mode": Variant("centre of mass of the whole heatmap", ("--model.architecture.mode_window_mm=null",)),
    "teacher": Variant("no teacher: crops follow the chain from step one", ("--model.objective.teacher_until=0",)),
    "tie": Variant("finer nets apart from step one", ("--model.objective.tied_until=0",)),
    "distance": Variant("squared instead of robust distance", ("--model.objective.distance=squared",)),
    "target": Variant("no heatmap target", ("--model.objective.heatmap_weight=0",)),
    "presence": Variant("no presence loss", ("--model.objective.presence_weight=0",)),
    "augmentation": Variant("no augmentation", ("--model.augmentation=null",)),
    "averaging": Variant("last weights instead of averaged ones", averaged=False),
    "precision": Variant("float32 instead of bfloat16", ("--trainer.precision=32-true",)),
}


def train(config: Path, variant: Variant, steps: int, backgrounds: list[Path], folder: Path, rendered: Path) -> Row:
    """Train one variant and measure it: a row of the table. Raises SystemExit on a bad configuration."""
    arguments = [
        f"--config={config}", f"--trainer.max_steps={steps}", f"--trainer.val_check_interval={steps}",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", f"--data.rendered={rendered}",
        *variant.options,
    ]  # fmt: skip
    if backgrounds:
        arguments.append(f"--data.backgrounds={[str(path) for path in backgrounds]}")
    cli = prepared(arguments)
    if not variant.averaged:
        callbacks = cli.trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
    begin = time.perf_counter()
    cli.trainer.fit(cli.model, cli.datamodule)
    seconds = time.perf_counter() - begin
    cli.trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    measured = {key: float(value) for key, value in cli.trainer.callback_metrics.items() if key.startswith("val/")}
    scales = [f"{scale:g}mm" for scale in cli.model.architecture.scales_mm]
    return {
        "variant": variant.name,
        **{f"{scale}: mean error": measured[f"val/{scale}"] for scale in scales},
        "over 10 mm": f"{measured['val/over_10mm']:.0%}",
        "presence right": f"{measured['val/presence_correct']:.0%}",
        "minutes, validation included": seconds / 60,
    }


def main(
    config: Annotated[Path, typer.Argument(help="Training configuration that is ours.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps of every variant.")] = 600,
    variant: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(VARIANTS)}; default: all.")] = None,
    background: Annotated[list[Path] | None, typer.Option(help="Unenhanced CT for the styles of real tissue.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/ablations"),
    output: Annotated[Path, typer.Option(help="Folder of ablations.md and .csv.")] = Path("docs/benchmarks"),
) -> None:
    """Table of what each switch is worth."""
    for name in variant or VARIANTS:
        if name not in VARIANTS:
            print(f"There is no variant {name!r}; use one of {', '.join(VARIANTS)}.")
            raise typer.Exit(2)
    rows: list[Row] = []
    for name in variant or VARIANTS:
        folder = runs / f"{name}-{steps}"
        done = folder / "variant.json"
        if not done.exists():
            row = train(config, VARIANTS[name], steps, background or [], folder, runs / "rendered")
            write_text(done, json.dumps(row, indent=2) + "\n")
        rows.append(json.loads(done.read_text()))
        print(rows[-1], flush=True)
        text = (
            f"{config.name} for {steps} steps, one switch changed at a time. Errors in mm on the unseen necks of the "
            "configuration, one pass. One training each: differences of a few tenths say little. "
            "See [ablations.py](../../Testing/benchmarks/ablations.py)."
        )
        written = write_table(output, "ablations", "What each addition is worth", text, rows)
    print(written.read_text())


if __name__ == "__main__":
    keep_freed_memory()  # as the commands do
    typer.run(main)
