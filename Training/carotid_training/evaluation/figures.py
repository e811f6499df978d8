"""The figures of an evaluation: charts, and pictures of the worst cases. Each function takes Outcomes and gives a
matplotlib Figure; nothing here opens a window.

What a set of cases can not show (a ROC without absent landmarks) is a figure that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from CarotidLandmarkLib.files import atomic_path
from CarotidLandmarkLib.landmarks import PALETTE as COLOURS
from CarotidLandmarkLib.report.figures import new_figure
from CarotidLandmarkLib.report.planes import PLANES, Plane, draw_scale_bar, sample_plane, show_image
from CarotidLandmarkLib.uncertainty import highest_level
from CarotidLandmarkLib.volume import Volume
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from . import metrics
from .outcomes import Outcome, located
from .summary import TOWARDS, Model

if TYPE_CHECKING:
    from matplotlib.collections import PolyCollection
    from matplotlib.typing import RcKeyType

SMALLEST_MM = 0.05  # where a logarithmic axis of errors begins
TICKS_MM = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
NEUTRAL = "#495057"
SMALLEST_FIELD_MM, PIXELS = 60.0, 200  # of a slice through a point
TRUE_COLOUR, FOUND_COLOUR = "#69db7c", "#ff8787"
OUTLINE = [Stroke(linewidth=2.2, foreground="black"), Normal()]  # legible on bone
STYLE: dict[RcKeyType, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e9ecef",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def cumulative_error(outcomes: Sequence[Outcome], model: Model) -> Figure:
    """Share of the landmarks in the scan that were found within a distance, one step curve each."""
    figure, axes = _axes("Error at most (mm)", "Landmarks found")
    drawn = [entry for entry in _errors(outcomes, model) if np.isfinite(entry[2]).any()]
    if not drawn:
        return _says(figure, "No landmark was found.")
    largest = max(10.0, *(np.nanmax(errors) for _, _, errors in drawn))
    for label, colour, errors in drawn:
        finite = np.clip(np.sort(errors[np.isfinite(errors)]), SMALLEST_MM, None)
        share = np.arange(1, len(finite) + 1) / len(errors)
        axes.step(
            np.concatenate([[SMALLEST_MM], finite, [largest * 1.2]]),
            np.concatenate([[0], share, share[-1:]]),
            where="post", color=colour, lw=1.8, label=f"{label} (n = {len(errors)})",
        )  # fmt: skip
    for limit in metrics.TOLERANCES_MM:
        axes.axvline(limit, color="#adb5bd", lw=0.8, ls=":")
    _millimetres(axes)
    axes.set(xlim=(0.1, largest * 1.2), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower right")
    return figure


def error_violin(outcomes: Sequence[Outcome], model: Model) -> Figure:
    """Distribution of the errors of the found landmarks, every one a dot; the line is the median."""
    figure, axes = _axes("", "Error (mm)")
    drawn = [(label, colour, errors[np.isfinite(errors)]) for label, colour, errors in _errors(outcomes, model)]
    if not any(len(errors) for _, _, errors in drawn):
        return _says(figure, "No landmark was found.")
    for place, (_, colour, errors) in enumerate(drawn):
        violin(axes, place, errors, colour)
        if len(errors):
            median = np.median(errors)
            beside = (place + 0.25, np.log10(max(median, SMALLEST_MM)))
            axes.annotate(f"{median:.2f} mm", beside, (4, 0), textcoords="offset points", va="center")
    axes.set_xticks(range(len(drawn)), [f"{label}\nn = {len(errors)}" for label, _, errors in drawn])
    axes.set_xlim(-0.5, len(drawn) - 0.3)  # the last median is written beside its line
    violin_ticks(axes)
    return figure


def violin(axes: Axes, place: int, errors: np.ndarray, colour: str) -> None:
    """Errors [n] in mm, finite, at a place on the x axis, log10 on the y axis: every one a dot, the median a line."""
    if not len(errors):
        return
    logs = np.log10(np.clip(errors, SMALLEST_MM, None))
    if len(errors) > 2 and np.ptp(logs) > 0:  # a density needs a spread
        shapes = axes.violinplot(logs, [place], widths=0.8, showextrema=False)["bodies"]
        (body,) = cast("list[PolyCollection]", shapes)  # matplotlib's own annotation says one collection
        body.set(facecolor=colour, alpha=0.35)
    sideways = np.random.default_rng(place).uniform(-0.06, 0.06, len(logs))
    axes.plot(place + sideways, logs, ".", color=colour, ms=4, alpha=0.8)
    axes.hlines(np.median(logs), place - 0.25, place + 0.25, color="black", lw=1.5)


def violin_ticks(axes: Axes) -> None:
    """Millimetres on the y axis of violins, and no lines across the x axis."""
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in np.log10(TICKS_MM) if low <= tick <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda log, _: f"{10**log:.3g}"))
    axes.grid(axis="x", visible=False)


def reliability(outcomes: Sequence[Outcome], model: Model) -> Figure:
    """Observed against nominal coverage of the model's and of the paper's regions, with the binomial band."""
    figure, axes = _axes("Nominal coverage", "Observed coverage", size=(4.6, 4.4))
    pairs = located(outcomes)
    if not pairs:
        return _says(figure, "No landmark was found: there is no region.")
    levels = np.arange(1, 20) / 20
    low, high = metrics.binomial_band(len(pairs), levels)
    axes.fill_between(levels, low, high, color="#dee2e6", label=f"95 % of experiments (n = {len(pairs)})")
    axes.plot([0, 1], [0, 1], color="#868e96", lw=0.8)
    highest = highest_level(model.calibration, model.names)
    known = levels[levels <= highest + 1e-9]
    ours = [metrics.regions(pairs, model.calibration, float(level)).covered.mean() for level in known]
    paper = [metrics.regions(pairs, {}, float(level)).paper_covered.mean() for level in levels]
    axes.plot(known, ours, "o-", color=COLOURS[0], ms=3.5, label=model.regions)
    axes.plot(levels, paper, "s--", color=NEUTRAL, ms=3, lw=1, label="paper's, from the passes' sd")
    _shares(axes)
    axes.legend(loc="upper left", fontsize=8)
    return figure


def volume_against_error(outcomes: Sequence[Outcome], model: Model) -> Figure:
    """Confidence volume against error, one dot per landmark: the model's at the left, the paper's at the right."""
    figure = new_figure(8.2, 3.8)
    pairs = located(outcomes)
    if not pairs:
        return _says(figure, "No landmark was found.")
    percent = f"{model.volume_level * 100:g}"
    regions = metrics.regions(pairs, model.calibration, model.volume_level)
    errors = np.array([pair.error_mm for pair in pairs])
    kinds = ((model.regions.capitalize(), regions.volume_mm3), ("Paper's", regions.paper_volume_mm3))
    for axes, (title, volumes) in zip(figure.subplots(1, 2, sharex=True), kinds, strict=True):
        for label, colour, mine in _masks(pairs, model):
            x = np.clip(errors[mine], SMALLEST_MM, None)
            axes.scatter(x, volumes[mine], s=16, color=colour, alpha=0.75, lw=0, label=label)
        axes.set(xlabel="Error (mm)", ylabel=f"{title} {percent} % confidence volume (mm³)", xscale="log", yscale="log")
        _millimetres(axes)
        r, p = metrics.correlations(volumes, errors), metrics.correlation_p_values(volumes, errors)
        words = [f"{sign} = {r[key]:.2f}, p = {p[key]:.2g}" for key, sign in (("pearson", "r"), ("spearman", "ρ"))]
        defined = not np.isnan(r["pearson"])
        axes.set_title("\n".join(words) if defined else "too few landmarks for a correlation", fontsize=9, loc="left")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def presence_roc(outcomes: Sequence[Outcome], model: Model) -> Figure:
    """ROC of the presence probability over all landmarks; the ring is the detector's threshold."""
    figure, axes = _axes("Absent landmarks called present", "Present landmarks called present", size=(4.6, 4.4))
    scores = np.array([outcome.result.presence for outcome in outcomes])
    present = np.array([outcome.truth_lps is not None for outcome in outcomes], dtype=bool)
    if present.all() or not present.any():
        return _says(figure, f"Every landmark is {'present' if present.all() else 'absent'}: there is no ROC.")
    area = metrics.roc_area(scores, present)
    counts = f"{present.sum()} present, {(~present).sum()} absent"
    axes.plot([0, 1], [0, 1], color="#ced4da", lw=0.8)
    axes.plot(*metrics.roc_curve(scores, present), color=COLOURS[0], lw=1.8, label=f"area {area:.3f} ({counts})")
    detected = np.array([outcome.result.status == "detected" for outcome in outcomes], dtype=bool)
    point = detected[~present].mean(), detected[present].mean()
    axes.plot(*point, "o", mfc="none", color=NEUTRAL, ms=8, ls="", label="as detected")
    _shares(axes)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def offsets(outcomes: Sequence[Outcome], model: Model) -> Figure:
    """Bland-Altman plot per LPS axis: difference of found and true against their mean, from the scan's middle."""
    figure = new_figure(10.5, 3.6)
    pairs = located(outcomes)
    if not pairs:
        return _says(figure, "No landmark was found.")
    difference = metrics.offsets_mm(pairs)
    centre = np.array([pair.centre_lps for pair in pairs])
    middle = np.array([pair.truth_lps for pair in pairs]) + difference / 2 - centre
    reach = max(1.0, np.abs(difference).max()) * 1.25
    for n, (axes, towards) in enumerate(zip(figure.subplots(1, 3, sharey=True), TOWARDS, strict=True)):
        for label, colour, mine in _masks(pairs, model):
            axes.scatter(middle[mine, n], difference[mine, n], s=14, color=colour, alpha=0.75, lw=0, label=label)
        mean, sd = difference[:, n].mean(), difference[:, n].std(ddof=1) if len(pairs) > 1 else 0.0
        for line, style in ((mean, "-"), (mean - 1.96 * sd, "--"), (mean + 1.96 * sd, "--")):
            axes.axhline(line, color=NEUTRAL, lw=1, ls=style)
        axes.set_title(
            f"{mean:+.2f} mm, limits {mean - 1.96 * sd:.2f} to {mean + 1.96 * sd:.2f}", fontsize=9, loc="left"
        )
        axes.set_yscale("symlog", linthresh=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks([sign * tick for tick in (0, 1, 2, 5, 10, 20, 50, 100) for sign in (1, -1) if tick < reach])
        axes.minorticks_off()
        axes.set(xlabel=f"towards {towards}, from the scan's middle (mm)", ylim=(-reach, reach))
    figure.axes[0].set_ylabel("found minus annotated (mm)")
    figure.axes[0].legend(loc="lower left", fontsize=8)
    return figure


def worst_cases(pairs: Sequence[Outcome], model: Model, read: Callable[[str], Volume]) -> Figure:
    """Axial, coronal and sagittal slice for each of ``pairs`` (outcomes with a truth and a point), two cases per row.

    ``read`` gives the scan of a case id; one scan is held at a time. A line on each slice says how far the annotated
    point lies off it. Raises what ``read`` raises.
    """
    rows = max(1, (len(pairs) + 1) // 2)
    figure = new_figure(13.2, 2.45 * rows, facecolor="black")
    panels = figure.subplots(rows, 6, squeeze=False).reshape(-1, 3)
    for axes in panels.flat:
        axes.set_axis_off()
    if not pairs:
        figure.text(0.5, 0.5, "No landmark was found.", ha="center", va="center", color="white")
    for number, (pair, row) in enumerate(zip(pairs, panels, strict=False), 1):
        volume = read(pair.case_id)
        answer, true = np.array(pair.result.position_lps_mm), np.array(pair.truth_lps)
        offset = np.abs(true - answer)
        field = max(SMALLEST_FIELD_MM, 2.4 * float(offset.max()))
        for axes, plane in zip(row, PLANES, strict=True):
            show_slice(axes, volume, answer, plane, field)
            show_places(axes, plane, true, answer)
            draw_scale_bar(axes, 10, 6)
            off = offset[3 - plane.across - plane.along]
            axes.text(
                0.98, 0.1, f"+ {off:.1f} mm off the slice", ha="right", va="bottom", transform=axes.transAxes,
                color="white", fontsize=7, path_effects=OUTLINE,
            )  # fmt: skip
        row[0].set_title(
            f"{number}. {pair.case_id}, {model.labels[pair.landmark]}: {pair.error_mm:.1f} mm, {pair.verdict}",
            color="white", fontsize=9, loc="left",
        )  # fmt: skip
    return figure


def show_slice(axes: Axes, volume: Volume, middle: np.ndarray, plane: Plane, field_mm: float) -> None:
    """A square slice of ``field_mm`` around ``middle`` [3]; all in LPS millimetres."""
    show_image(axes, sample_plane(volume, middle, plane, field_mm, field_mm / PIXELS), plane, 7)


def show_places(axes: Axes, plane: Plane, true: np.ndarray, answer: np.ndarray) -> None:
    """+ true, × found in a slice, LPS mm [3] each."""
    for marker, place, colour, size in (("+", true, TRUE_COLOUR, 10), ("x", answer, FOUND_COLOUR, 7)):
        x, y = place[plane.across], place[plane.along]
        axes.plot(x, y, marker, color=colour, ms=size, mew=1.5, path_effects=OUTLINE)


def write_figures(folder: Path, outcomes: Sequence[Outcome], model: Model) -> None:
    """Draw every chart into ``folder`` as SVG and PNG. Raises OSError."""
    for chart in (cumulative_error, error_violin, offsets, reliability, volume_against_error, presence_roc):
        with matplotlib.rc_context(STYLE):
            save(chart(outcomes, model), folder, chart.__name__)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as SVG and PNG, each whole or not at all; the same figure gives the same bytes. Raises OSError."""
    for suffix, metadata in (("svg", {"Date": None}), ("png", None)):
        with atomic_path(folder / f"{name}.{suffix}") as path, matplotlib.rc_context({"svg.hashsalt": "carotid"}):
            figure.savefig(path, format=suffix, dpi=150, metadata=metadata, facecolor=figure.get_facecolor())


def _axes(across: str, along: str, size: tuple[float, float] = (5.6, 3.8)) -> tuple[Figure, Axes]:
    figure = new_figure(*size)
    axes = figure.subplots()
    axes.set(xlabel=across, ylabel=along)
    return figure, axes


def _says(figure: Figure, sentence: str) -> Figure:
    figure.clear()
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=NEUTRAL)
    return figure


def _shares(axes: Axes) -> None:
    """A square of shares along both axes."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))


def _millimetres(axes: Axes) -> None:
    """A logarithmic axis of errors, with plain numbers."""
    axes.set_xscale("log")
    axis = axes.xaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _masks(outcomes: Sequence[Outcome], model: Model) -> list[tuple[str, str, np.ndarray]]:
    """Each landmark's label, colour and which of ``outcomes`` are its own, [n] bool."""
    return [
        (model.labels[name], COLOURS[n % len(COLOURS)], np.array([each.landmark == name for each in outcomes]))
        for n, name in enumerate(model.names)
    ]


def _errors(outcomes: Sequence[Outcome], model: Model) -> list[tuple[str, str, np.ndarray]]:
    """Each landmark's label, colour and errors, as `metrics.errors_mm`."""
    return [
        (label, colour, metrics.errors_mm([outcome for outcome, own in zip(outcomes, mine, strict=True) if own]))
        for label, colour, mine in _masks(outcomes, model)
    ]
