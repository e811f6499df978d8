"""A learning curve over several runs, each checkpoint measured as the program detects: whole scans, search, noise.

    python benchmarks/learning_curve.py DATASET 0.15=runs/shipped-1 8.5=CHECKPOINT 20.15=runs/shipped-2

`carotid-train curve` shows what one run measured of itself, one pass on a few necks. Here the checkpoints of runs that
begin where others ended are measured alike, on the validation cases of a dataset. Detections are kept in --runs:
stopped, the same command goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from carotid_training.evaluation.evaluate import Settings
from carotid_training.evaluation.figures import save
from carotid_training.evaluation.metrics import Estimate
from carotid_training.evaluation.outcomes import annotated
from carotid_training.training.checkpoint import read_run
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.memory import keep_freed_memory
from detected import columns, found_by, mean_error
from matplotlib.figure import Figure
from tables import RESULTS, Output, Row, write_table

GOAL_MM = 2.0


NOT_SHOWN = "Errors on patients, and the spread between trainings: each point is one."


def figure(hours: list[float], means: list[Estimate]) -> Figure:
    """Mean error with its interval against hours of training."""
    drawn = Figure(figsize=(5, 3.4), layout="constrained", facecolor="white")
    axes = drawn.subplots()
    values = np.array(means, dtype=float)
    axes.errorbar(hours, values[:, 0], np.abs(values[:, 1:] - values[:, :1]).T, marker="o", capsize=2, color="#1971c2")
    axes.axhline(GOAL_MM, color="#868e96", lw=1, ls="--", label=f"{GOAL_MM:g} mm")
    axes.set(xlabel="hours of training", ylabel="mean error (mm), 95 % interval", xlim=(0, None), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return drawn


def main(
    dataset: Annotated[Path, typer.Argument(help="Annotated; its validation cases are used.")],
    points: Annotated[list[str], typer.Argument(help="HOURS=RUN or HOURS=CHECKPOINT, in the order of training.")],
    passes: int = 10,
    runs: Annotated[Path, typer.Option(help="Folder for the detections.")] = Path("runs/learning-curve"),
    output: Output = RESULTS,
) -> None:
    """Detect with every checkpoint, compare."""
    opened = Dataset.open(dataset)
    rows: list[Row] = []
    hours: list[float] = []
    means: list[Estimate] = []
    for point in points:
        when, _, checkpoint = point.partition("=")
        steps = read_run(Path(checkpoint))[2]["steps"]
        outcomes = found_by(Path(checkpoint), opened, "validation", runs / when, Settings(passes=passes))
        rows.append({"hours of training": float(when), "steps of the run": steps, **columns(outcomes)})
        print(rows[-1], flush=True)
        hours.append(float(when))
        means.append(mean_error(outcomes))
    cases = len(annotated(opened, "validation"))
    text = (
        f"Mean error on {cases} digital necks that no training saw (synthetic, nothing about patients), {passes} "
        "passes. Hours of one training after the other, without the rendering that went before."
    )
    print(write_table(output, "learning-curve", "What does training reach, after how long?", text, NOT_SHOWN, rows))
    save(figure(hours, means), output, "learning-curve")


if __name__ == "__main__":
    keep_freed_memory()  # as the commands do
    typer.run(main)
