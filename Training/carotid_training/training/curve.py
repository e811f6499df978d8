"""carotid-train curve: the learning curve of a run, from its TensorBoard logs, as a picture and a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from CarotidLandmarkLib.errors import UserError, some_of
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.landmarks import PALETTE as COLOURS
from CarotidLandmarkLib.report.figures import new_figure
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from ..evaluation.figures import NEUTRAL, STYLE, save
from ..pages import csv_table

ERROR, GROSS = "val/error", "val/over_10mm"
SCALE = re.compile(r"val/([\d.]+)mm$")
# Of a finer net by itself, in patches that hold the landmark: in the table, not in the picture.
NEAR = re.compile(r"val/near_([\d.]+)mm$")
# What counts as found: the mean error that a learning curve has to reach.
GOAL_MM = 2.0


@dataclass(frozen=True)
class Point:
    """One validation: its step, the hours trained until then, and what was measured (tag -> value)."""

    step: int
    hours: float
    values: dict[str, float]


def read_curve(run: Path) -> list[Point]:
    """The validations of a run, in order. Hours count while it trained, not while it was interrupted.

    A run that was interrupted and resumed has several logs: each goes on from a step of the one before, whose later
    steps were lost. A log that begins at the start again makes those before it another run, which is left out.
    Raises ValueError where the run has no log, or none with a validation, or where several runs lie in its folder.
    """
    if not _is_text(str(run)):
        raise UserError(f"TensorBoard reads no log below a folder whose name is not text; give {run} another.")
    files = sorted(run.glob("**/events.out.tfevents.*"), key=lambda file: _begun(file.name))
    if not files:
        raise UserError(f"{run.name} holds no TensorBoard log; give the run directory of carotid-train fit.")
    begun = sorted({file.parents[1] for file in files})  # RUN/lightning_logs/version_N/LOG
    if len(begun) > 1:
        names = [folder.parent.name if folder.name == "lightning_logs" else folder.name for folder in begun]
        raise UserError(f"{run} holds several runs ({some_of(names, 3)}); give one of them.")
    points: list[Point] = []
    steps: list[tuple[int, float]] = []  # of all logged steps: step, hours
    for file in files:
        log = EventAccumulator(str(file), size_guidance={SCALARS: 0}).Reload()
        scalars = {tag: log.Scalars(tag) for tag in log.Tags()["scalars"] if tag != "epoch"}
        if not scalars:
            continue
        first = min(events[0].step for events in scalars.values())
        if steps and first <= steps[0][0]:
            points, steps = [], []
        points = [point for point in points if point.step < first]
        steps = [entry for entry in steps if entry[0] < first]
        begin, before = log.FirstEventTimestamp(), steps[-1][1] if steps else 0.0
        hours = {
            event.step: before + (event.wall_time - begin) / 3600 for events in scalars.values() for event in events
        }
        steps += sorted(hours.items())
        values: dict[int, dict[str, float]] = {}
        for tag, events in scalars.items():
            if tag in (ERROR, GROSS) or SCALE.match(tag) or NEAR.match(tag):
                for event in events:
                    values.setdefault(event.step, {})[tag] = event.value
        points += [Point(step, hours[step], measures) for step, measures in sorted(values.items())]
    if not points:
        raise UserError(f"{run.name} has not validated yet; its learning curve is empty.")
    return points


def tags(points: Sequence[Point]) -> list[str]:
    """What the points hold: the whole chain's error, each scale's from coarse to fine, the share of gross errors."""
    held = {tag for point in points for tag in point.values}
    return [tag for tag in (ERROR, *coarse_to_fine(held, SCALE), GROSS) if tag in held]


def coarse_to_fine(held: Iterable[str], kind: re.Pattern[str]) -> list[str]:
    """The tags of a kind (`SCALE`, `NEAR`), the coarsest scale first."""
    scales = {tag: float(scale[1]) for tag in held if (scale := kind.match(tag))}
    return sorted(scales, key=lambda tag: -scales[tag])


def curve_csv(points: Sequence[Point]) -> str:
    """step, hours, and a column per tag, those near the truth at the end; empty where a validation lacks it."""
    columns = [*tags(points), *coarse_to_fine({tag for point in points for tag in point.values}, NEAR)]

    def row(point: Point) -> list[object]:
        values = (f"{point.values[tag]:.6g}" if tag in point.values else "" for tag in columns)
        return [point.step, f"{point.hours:.4f}", *values]

    return csv_table(["step", "hours", *columns], map(row, points))


def curve_figure(points: Sequence[Point], title: str) -> Figure:
    """Validation errors (above) and the share of gross errors (below) against steps (left) and hours (right)."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9, 5.6)
        panels = figure.subplots(2, 2, sharey="row", sharex="col", height_ratios=(2.2, 1))
        for column, (words, key) in enumerate((("Training steps", "step"), ("Hours of training", "hours"))):
            above, below = panels[0][column], panels[1][column]
            _draw(above, points, key, [tag for tag in tags(points) if tag != GROSS])
            above.axhline(GOAL_MM, color=NEUTRAL, lw=0.8, ls=":")
            _draw(below, points, key, [GROSS])
            below.set_xlabel(words)
        panels[0][0].set_ylabel("Mean error, unseen scans (mm)")
        panels[0][0].set_yscale("log")
        axis = panels[0][0].yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        panels[0][1].legend(loc="upper right")
        panels[1][0].set_ylabel("Errors above 10 mm")
        panels[1][0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panels[1][0].set_ylim(bottom=0)
        figure.suptitle(title, fontsize=10)
        return figure


def _draw(axes: Axes, points: Sequence[Point], key: str, wanted: Sequence[str]) -> None:
    for n, tag in enumerate(wanted):
        scale = SCALE.match(tag)
        mine = [point for point in points if tag in point.values]
        axes.plot(
            [getattr(point, key) for point in mine],
            [point.values[tag] for point in mine],
            color=COLOURS[0] if scale is None else _GREYS[min(n - 1, len(_GREYS) - 1)],
            lw=1.1 if scale else 2.0, marker="o", ms=2 if scale else 3.5, zorder=2 if scale else 3,
            label=f"{scale[1]} mm net" if scale else "whole chain",
        )  # fmt: skip


_GREYS = ("#ced4da", "#adb5bd", "#868e96", "#495057")


def main(
    run: Annotated[Path, typer.Argument(help="The run directory.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of curve.svg, .png and .csv; default: the run directory.")
    ] = None,
) -> None:
    """Draw a run's learning curve: validation errors against steps and hours."""
    folder = output or run
    points = read_curve(run)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "curve.csv", curve_csv(points))
    save(curve_figure(points, run.resolve().name), folder, "curve")
    last = points[-1]
    reached = next((point for point in points if point.values.get(ERROR, GOAL_MM) < GOAL_MM), None)
    print(f"step {last.step}, {last.hours:.2f} hours: {last.values.get(ERROR, float('nan')):.2f} mm mean error")
    print(
        f"under {GOAL_MM:g} mm from step {reached.step}, {reached.hours:.2f} hours" if reached
        else f"not under {GOAL_MM:g} mm yet"
    )  # fmt: skip
    print(folder / "curve.svg")


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _begun(name: str) -> tuple[int, ...]:
    """What orders logs: the second in which each was begun and, within one process, its number; its name says both.

    Names end in .SECONDS.HOST.PROCESS.NUMBER; as text, log 10 of a process came before log 9 of the same second.
    """
    seconds, *_, number = name.split(".tfevents.")[1].split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in (seconds, number))
