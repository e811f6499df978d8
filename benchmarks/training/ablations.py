"""What each of our additions to the paper is worth: the same short training with one of them switched off.

    python -m benchmarks.training.ablations Training/configs/small.yaml --steps 600 --background CT.nii.gz

Every variant trains on the same rendered necks (kept in OUTPUT/rendered) from the same first weights, as far as its
architecture allows, and is measured on the same unseen necks. A variant that is done is not trained again: the
command may be interrupted and repeated. RUN/measured.json holds what was measured, RUN/checkpoints/last.ckpt the
weights, for example for equivariance.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..tables import RESULTS, Background, Output, Row, Table, run
from .short_training import short_training

TABLE = Table(
    "ablations", "What is each addition to the paper worth?",
    "What a long training makes of them. One training each: differences of a few tenths say little.",
)  # fmt: skip


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
    "mirror": Variant("a heatmap for each side, not one mirrored net", ("--model.architecture.mirrored=false",)),
    "teacher": Variant("no teacher: crops follow the chain from step one", ("--model.objective.teacher_until=0",)),
    "precision": Variant("float32 instead of bfloat16", ("--trainer.precision=32-true",)),
    "averaging": Variant("last weights instead of averaged ones", averaged=False),
    "presence": Variant("no presence loss", ("--model.objective.presence_weight=0",)),
    "distance": Variant("squared instead of robust distance", ("--model.objective.distance=squared",)),
}


def row(variant: Variant, measured: dict[str, float]) -> Row:
    """A line of the table: each finer net in patches that hold the landmark, then the chain, on the unseen necks."""
    scales = [key for key in measured if re.fullmatch(r"val/[\d.]+mm", key)]
    near = [key for key in measured if key.startswith("val/near_")]
    return {
        "variant": variant.name,
        **{f"{key.removeprefix('val/near_')} net near it": measured[key] for key in near},
        **{f"chain down to {key.removeprefix('val/')}": measured[key] for key in scales},
        "over 10 mm": f"{measured['val/over_10mm']:.0%}",
        "presence right": f"{measured['val/presence_correct']:.0%}",
    }


def main(
    config: Annotated[Path, typer.Argument(help="Training configuration that is ours.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps of every variant.")] = 600,
    variant: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(VARIANTS)}; default: all.")] = None,
    background: Background = None,
    necks: Annotated[int, typer.Option(min=1, help="Unseen necks that each is measured on.")] = 18,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/ablations"),
    output: Output = RESULTS,
) -> None:
    """Table of what each switch is worth."""
    for name in variant or VARIANTS:
        if name not in VARIANTS:
            print(f"There is no variant {name!r}; use one of {', '.join(VARIANTS)}.")
            raise typer.Exit(2)
    rows: list[Row] = []
    for name in variant or VARIANTS:
        chosen = VARIANTS[name]
        folder = runs / f"{name}-{steps}"
        options = (*chosen.options, f"--data.validation_necks={necks}")
        measured = short_training(config, options, steps, background or [], folder, chosen.averaged)
        rows.append(row(chosen, measured))
        print(rows[-1], flush=True)
        text = (
            f"{config.name} for {steps} steps from nothing, one switch changed at a time. Mean errors in mm on {necks} "
            "unseen necks (synthetic): of each finer net in patches that hold the landmark off their middle, then of "
            "the chain, one pass. After so few steps the coarsest net misses by more than a patch holds, and the chain "
            "with it. One training each: differences of a few tenths say little. "
            "See [ablations.py](../../benchmarks/training/ablations.py)."
        )
        TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
