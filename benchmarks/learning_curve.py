"""A learning curve over several runs, each checkpoint measured as the program detects: whole scans, search, noise.

    python benchmarks/learning_curve.py DATASET 0.15=runs/shipped-1 8.5=CHECKPOINT 20.15=runs/shipped-2

`carotid-train curve` shows what one run measured of itself, one pass on a few necks. Here the checkpoints of runs that
begin where others ended are measured alike, on the cases of a dataset's split: the chain, and the coarsest net by
itself. Detections are kept in --runs: stopped, the same command goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from carotid_training.evaluation.evaluate import Settings
from carotid_training.evaluation.figures import save
from carotid_training.evaluation.metrics import Estimate, mean_error
from carotid_training.release.export import model_of
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.report.figures import new_figure
from detected import as_detected, columns, found_by, net_of_run, scans
from matplotlib.figure import Figure
from tables import RESULTS, Output, Row, Table, run

GOAL_MM = 2.0
# So far from the landmark the next scale's patch hardly holds it.
LOST_MM = 15.0
MODE_MM = 16.0  # the window around a mode of an architecture that has none
TABLE = Table(
    "learning-curve", "What does training reach, after how long?",
    "Errors on patients, and the spread between trainings: each point is one.",
)  # fmt: skip


def coarsest_alone(checkpoint: Path, dataset: Dataset, split: str) -> np.ndarray:
    """How far the places that the coarsest net proposes are off, mm, the strongest first: [landmarks, modes]."""
    net, off = net_of_run(checkpoint)[0], []
    architecture = net.architecture
    for pyramid, points in scans(dataset, split, architecture):
        with as_detected():
            modes = net.modes(net.coarsest(pyramid), architecture.mode_window_mm or MODE_MM)[0].float().numpy()
        off += [np.linalg.norm(modes[n] - point, axis=1) for n, point in enumerate(points) if point is not None]
    return np.array(off)


def figure(hours: list[float], means: list[Estimate], coarsest: list[float]) -> Figure:
    """Mean error of the chain, with its interval, and of the coarsest net against hours of training."""
    drawn = new_figure(5, 3.4)
    axes = drawn.subplots()
    values = np.array(means, dtype=float)
    reach = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(hours, values[:, 0], reach, marker="o", capsize=2, color="#1971c2", label="all scales")
    axes.plot(hours, coarsest, marker="s", color="#f08c00", label="coarsest net by itself")
    axes.axhline(GOAL_MM, color="#868e96", lw=1, ls="--", label=f"{GOAL_MM:g} mm")
    axes.set(xlabel="hours of training", ylabel="mean error (mm), 95 % interval", xlim=(0, None), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return drawn


def main(
    dataset: Annotated[Path, typer.Argument(help="An annotated dataset.")],
    points: Annotated[list[str], typer.Argument(help="HOURS=RUN, CHECKPOINT or BUNDLE, in the order of training.")],
    split: Annotated[str, typer.Option(help="Whose cases are used.")] = "test",
    passes: int = 10,
    runs: Annotated[Path, typer.Option(help="Folder for the detections.")] = Path("runs/learning-curve"),
    output: Output = RESULTS,
) -> None:
    """Detect with every checkpoint, compare."""
    opened = Dataset.open(dataset)
    rows: list[Row] = []
    hours: list[float] = []
    means: list[Estimate] = []
    coarsest: list[float] = []
    for point in points:
        when, _, checkpoint = point.partition("=")
        steps = model_of(Path(checkpoint))[2]["steps"]
        outcomes = found_by(Path(checkpoint), opened, split, runs / when, Settings(passes=passes))
        off = coarsest_alone(Path(checkpoint), opened, split)
        alone = {
            "coarsest net: mean (mm)": off[:, 0].mean(),
            f"best of its modes over {LOST_MM:g} mm": f"{(off.min(axis=1) > LOST_MM).mean():.0%}",
        }
        rows.append({"hours of training": float(when), "steps of the run": steps, **columns(outcomes), **alone})
        print(rows[-1], flush=True)
        hours.append(float(when))
        means.append(mean_error(outcomes))
        coarsest.append(float(off[:, 0].mean()))
    cases = len(opened.annotated_cases(split))
    text = (
        f"Mean error on {cases} digital necks that no training saw (synthetic, nothing about patients), {passes} "
        "passes. Hours of one training after the other, without the rendering that went before."
    )
    TABLE.write(output, text, rows)
    save(figure(hours, means, coarsest), output, "learning-curve")


if __name__ == "__main__":
    run(main)
