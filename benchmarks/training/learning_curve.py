"""A learning curve over several runs, each checkpoint measured as the program detects: whole scans, search, noise.

    python -m benchmarks.training.learning_curve DATASET 0.15=runs/shipped-1 8.5=CHECKPOINT 20.15=runs/shipped-2

`carotid-train curve` shows what one run measured of itself, one pass on a few necks. Here the checkpoints of runs that
begin where others ended are measured alike, on the cases of a dataset's split: the chain, and the coarsest net by
itself. Detections are kept in --runs: stopped, the same command goes on where it was.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from carotid_training.evaluation.evaluate import Settings
from carotid_training.evaluation.figures import save
from carotid_training.release.export import model_of
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.report.figures import new_figure
from matplotlib.figure import Figure

from ..accuracy.detected import as_detected, columns, found_by, net_of_run, scans
from ..tables import RESULTS, Output, Row, Table, run

# So far from the landmark the next scale's patch hardly holds it.
LOST_MM = 15.0
COARSEST = "coarsest net: mean (mm)"
NUMBER = re.compile(r"[\d.]+")
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


def figure(curves: Sequence[Sequence[Row]]) -> Figure:
    """Mean error of the chain, with its interval, and of the coarsest net against hours of training; a line style for
    each of the tables, whose necks differ."""
    drawn = new_figure(6, 3.8)
    axes = drawn.subplots()
    for rows, (line, face) in zip(curves, cycle([("-", "full"), ("--", "none"), (":", "none")]), strict=False):
        hours = [float(row["hours of training"]) for row in rows]
        # "1.34 (0.86 to 1.89)", as the table has it
        value, low, high = np.array([NUMBER.findall(str(row["mean (mm)"])) for row in rows], dtype=float).T
        of = f", {rows[0]['landmarks']} landmarks"
        style: dict[str, Any] = {"ls": line, "capsize": 2, "fillstyle": face}
        axes.errorbar(
            hours, value, (value - low, high - value), marker="o", color="#1971c2", label=f"all scales{of}", **style
        )
        coarsest = [float(row[COARSEST]) for row in rows]
        axes.errorbar(hours, coarsest, marker="s", color="#f08c00", label=f"coarsest net by itself{of}", **style)
    axes.set(xlabel="hours of training", ylabel="mean error (mm), 95 % interval", xlim=(0, None), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return drawn


def main(
    dataset: Annotated[Path, typer.Argument(help="An annotated dataset.")],
    points: Annotated[list[str], typer.Argument(help="HOURS=RUN, CHECKPOINT or BUNDLE, in the order of training.")],
    split: Annotated[str, typer.Option(help="Whose cases are used.")] = "test",
    passes: int = 10,
    beside: Annotated[list[Path] | None, typer.Option(help="CSV of this table on other necks, drawn, too.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder for the detections.")] = Path("runs/learning-curve"),
    output: Output = RESULTS,
) -> None:
    """Detect with every checkpoint, compare."""
    opened = Dataset.open(dataset)
    others = [list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in beside or ()]
    rows: list[Row] = []
    for point in points:
        when, _, checkpoint = point.partition("=")
        steps = model_of(Path(checkpoint))[2]["steps"]
        outcomes = found_by(Path(checkpoint), opened, split, runs / when, Settings(passes=passes))
        off = coarsest_alone(Path(checkpoint), opened, split)
        alone = {
            COARSEST: off[:, 0].mean(),
            f"best of its modes over {LOST_MM:g} mm": f"{(off.min(axis=1) > LOST_MM).mean():.0%}",
        }
        rows.append({"hours of training": float(when), "steps of the run": steps, **columns(outcomes), **alone})
        print(rows[-1], flush=True)
    cases = len(opened.annotated_cases(split))
    text = (
        f"Mean error on {cases} digital necks that no training saw (synthetic, nothing about patients), {passes} "
        "passes. Hours of one training after the other, without the rendering that went before."
    )
    TABLE.write(output, text, rows)
    save(figure([rows, *others]), output, "learning-curve")


if __name__ == "__main__":
    run(main)
