"""What the styles of necks teach about necks that training never saw: every style left out, and fewer of them; and what
the real tissue of many patients teaches that one patient's does not.

    python -m benchmarks.training.breadth Training/configs/small.yaml --background UNENHANCED-CTS \
        --unseen-patients OPEN-KBP

Short trainings from nothing, alike but for their styles and patients. Each is measured as the program detects (whole
scans, search, noise passes) on patient-like necks of every style, seen and unseen, in the tissue of patients that no
training sees, and on those of another generator. Trainings, cohorts and detections are kept in --runs: stopped, the
same command goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from carotid_training.cohorts.synthesize import plan, synthesize
from carotid_training.evaluation.evaluate import Settings
from carotid_training.evaluation.figures import save
from carotid_training.evaluation.metrics import mean_error, swapped_cases
from carotid_training.necks.styles import STYLES, Styles
from carotid_training.training.runs import read_run
from CarotidLandmarkLib.report.figures import new_figure
from matplotlib.figure import Figure

from ..accuracy.detected import columns, found_by
from ..accuracy.plain_necks import plain_cohort
from ..accuracy.shifted_scans import LENGTH_MM, PLAIN, UNSEEN_TISSUE, unseen_tissue_cohort
from ..tables import RESULTS, Background, Output, Row, Table, counted, run
from .short_training import short_training

COLOURS = {"sculpted": "#e8590c", "painted": "#2f9e44", UNSEEN_TISSUE: "#1971c2", PLAIN: "#212529"}
TABLE = Table(
    "breadth", "What does each style of neck teach about the others?",
    "How well the shipped model does: these are short trainings. Nothing about patients.",
)  # fmt: skip


@dataclass(frozen=True)
class Breadth:
    """What one of the trainings sees: styles of necks, and the patients of whose tissue some are made."""

    styles: tuple[str, ...]
    patients: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Of its folder: the styles, and how many patients."""
        return "-".join([*self.styles, *([str(len(self.patients))] if self.patients else [])])

    def sees(self, kind: str, everyone: Sequence[Path]) -> bool:
        """Whether it is trained on necks of a kind, made of everyone's tissue where that is real."""
        return kind in self.styles and (not STYLES[kind].of_tissue or set(self.patients) == set(everyone))


def trainings(available: list[str], patient_like: list[str], patients: Sequence[Path]) -> list[Breadth]:
    """Every set of styles with all patients; and, where there are several, all styles with the first patient alone."""
    everyone = tuple(patients)
    chosen = [
        Breadth(styles, everyone if any(STYLES[style].of_tissue for style in styles) else ())
        for styles in style_sets(available, patient_like)
    ]
    if len(everyone) > 1:
        chosen.insert(1, Breadth(tuple(available), everyone[:1]))
    return chosen


def style_sets(available: list[str], patient_like: list[str]) -> list[tuple[str, ...]]:
    """All styles; all but one, for each; and pairs and single ones of those that can be rendered and measured."""
    without = [tuple(style for style in available if style != left) for left in available]
    drawn = tuple(style for style in patient_like if style != "painted")
    sets = [tuple(available), *without, drawn, *((style,) for style in drawn)]
    return list(dict.fromkeys(chosen for chosen in sets if chosen))


def figure(means: dict[tuple[int, str], list[float]]) -> Figure:
    """Mean error on necks of each unseen kind against the number of styles in training, a line through the averages."""
    drawn = new_figure(5, 3.4)
    axes = drawn.subplots()
    for style in dict.fromkeys(style for _, style in means):
        mine = sorted((count, values) for (count, name), values in means.items() if name == style)
        colour = COLOURS[style]
        for count, values in mine:
            axes.plot([count] * len(values), values, "o", color=colour, alpha=0.5)
        counts = [count for count, _ in mine]
        axes.plot(counts, [np.mean(values) for _, values in mine], color=colour, label=style)
    axes.set(xlabel="styles in training", ylabel="mean error on unseen necks (mm)", ylim=(0, None))
    axes.set_xticks(sorted({count for count, _ in means}))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="unseen", frameon=False)
    return drawn


def main(
    config: Annotated[Path, typer.Argument(help="Training configuration.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of every training.")] = 800,
    background: Background = None,
    unseen_patients: Annotated[
        Path | None, typer.Option(help="Folder of open-kbp's patients: necks of those that no training sees, too.")
    ] = None,
    cases: Annotated[int, typer.Option(help="Of each style's cohort, whose test split is used: one in five.")] = 59,
    seed: int = 90,
    passes: int = 10,
    processes: int = 2,
    runs: Annotated[Path, typer.Option(help="Folder for trainings, cohorts, detections.")] = Path("runs/breadth"),
    output: Output = RESULTS,
) -> None:
    """Train with and without, detect, compare."""
    styles = Styles(background or ())
    cohorts = {
        style: synthesize(
            cases, seed, runs / f"necks-{style}", styles, {style: 1.0}, processes, splits=("test",),
            length_mm=LENGTH_MM, on_case=counted(style),
        )
        for style in styles.patient_like
    }  # fmt: skip
    if unseen_patients:
        cohorts[UNSEEN_TISSUE] = unseen_tissue_cohort(
            cases, runs / f"necks-{UNSEEN_TISSUE}", seed, unseen_patients, processes, counted(UNSEEN_TISSUE)
        )
    count = len(plan(cases, seed, ("test",)))
    cohorts[PLAIN] = plain_cohort(count, runs / "necks-plain", seed, counted(PLAIN))
    rows: list[Row] = []
    means: dict[tuple[int, str], list[float]] = {}
    everyone = tuple(styles.paths)
    for training in trainings(styles.available, styles.patient_like, everyone):
        run = runs / f"{training.name}-{steps}"
        weights = json.dumps(dict.fromkeys(training.styles, 1.0))
        options = (f"--data.styles={weights}", "--data.validation_necks=2")  # measured below, as the program detects
        short_training(config, options, steps, training.patients, run)
        mirrors = {landmark.name: landmark.mirror for landmark in read_run(run)[0].landmarks}
        for style, cohort in cohorts.items():
            outcomes = found_by(run, cohort, "test", run / "detections" / style, Settings(passes=passes))
            seen = training.sees(style, everyone)
            rows.append(
                {
                    "trained on": ", ".join(training.styles), "patients": len(training.patients),
                    "measured on": style, "unseen": "no" if seen else "yes",
                    **columns(outcomes), "swapped": swapped_cases(outcomes, mirrors),
                }
            )  # fmt: skip
            if not seen and training.patients in ((), everyone):
                means.setdefault((len(training.styles), style), []).append(mean_error(outcomes).value)
        print(*rows[-len(cohorts) :], sep="\n", flush=True)
        text = (
            f"{config.name} for {steps} steps from nothing with some styles of necks (patients: of whose real tissue), "
            f"measured on {count} digital necks of each kind (seed {seed}; synthetic, nothing "
            f"about patients), {passes} passes. Short trainings: they show what a style teaches about the others, not "
            "how well the shipped model does. unseen-tissue: painted into patients of open-kbp that no training sees. "
            "another generator: plain_necks.py, unseen by all.\n\n"
            "![Mean error on unseen necks](breadth.png)"
        )
        TABLE.write(output, text, rows)
        save(figure(means), output, "breadth")


if __name__ == "__main__":
    run(main)
