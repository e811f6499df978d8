"""How a model does on scans beyond what its training drew: the same necks in a usual scanner and under each shift,
necks in the tissue of patients that no training sees, and necks of another generator.

    python -m benchmarks.accuracy.shifted_scans --background UNENHANCED-CTS --unseen-patients OPEN-KBP

The necks are patient-like and of a seed of their own; scans are 120 to 180 mm long. Cohorts and detections are kept in
--runs: stopped, the same command goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from carotid_training.cohorts.synthesize import plan, synthesize
from carotid_training.evaluation.evaluate import Settings, detect_cases
from carotid_training.evaluation.metrics import swapped_cases
from carotid_training.necks.styles import Styles
from carotid_training.release.card import model_card
from carotid_training.scans.shifts import SHIFTS
from CarotidLandmarkLib.bundle import Bundle, open_bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detector import Detector

from ..tables import RESULTS, Background, Model, Output, Row, Table, counted, run, shown
from .detected import columns
from .plain_necks import plain_cohort

USUAL, UNSEEN_TISSUE, PLAIN = "usual", "unseen-tissue", "another generator"
LENGTH_MM = (120.0, 180.0)
TABLE = Table("shifts", "How does the model do beyond what training draws?", "Other shifts than these, and patients.")


def unseen_tissue_cohort(
    cases: int, output: Path, seed: int, patients: Path, processes: int, say: Callable[[int, int], None]
) -> Dataset:
    """Test necks painted into the patients of a folder that no training sees. Raises ValueError, VolumeError."""
    styles = Styles([patients], unseen=True)
    return synthesize(
        cases, seed, output, styles, {"painted": 1.0}, processes, splits=("test",), length_mm=LENGTH_MM, on_case=say
    )


def main(
    background: Background = None,
    unseen_patients: Annotated[
        Path | None, typer.Option(help="Folder of open-kbp's patients: those that no training sees are a row.")
    ] = None,
    model: Model = None,
    cases: Annotated[int, typer.Option(help="Of a cohort, whose test split is used: one in five.")] = 59,
    seed: int = 90,
    passes: int = 10,
    processes: int = 2,
    runs: Annotated[Path, typer.Option(help="Folder for cohorts and detections.")] = Path("runs/shifts"),
    output: Output = RESULTS,
    card: Annotated[bool, typer.Option("--card", help="Write the table into the model's card, too.")] = False,
) -> None:
    """Render, detect, compare."""
    styles = Styles(background or ())
    bundle = open_bundle(model)
    detector = Detector(bundle)
    mirrors = {landmark.name: landmark.mirror for landmark in bundle.metadata.landmarks}
    rows: list[Row] = []
    for name in (USUAL, *SHIFTS, *([UNSEEN_TISSUE] if unseen_patients else []), PLAIN):
        say = counted(name)
        if name == PLAIN:
            dataset = plain_cohort(len(plan(cases, seed, ("test",))), runs / "plain", seed, say)
        elif name == UNSEEN_TISSUE and unseen_patients:
            dataset = unseen_tissue_cohort(cases, runs / name, seed, unseen_patients, processes, say)
        else:
            dataset = synthesize(
                cases, seed, runs / name, styles, dict.fromkeys(styles.patient_like, 1.0), processes, splits=("test",),
                length_mm=LENGTH_MM, shift=None if name == USUAL else name, on_case=say,
            )  # fmt: skip
        detections = runs / f"{name}-{bundle.metadata.weights_sha256[:12]}"
        tests = dataset.annotated_cases("test")
        outcomes = detect_cases(detector, tests, detections, Settings(passes=passes), lambda words, share: None)
        ok, swapped = np.mean([each.verdict == "ok" for each in outcomes]), swapped_cases(outcomes, mirrors)
        rows.append({"scans": name, **columns(outcomes), "swapped": swapped, "verdict ok": f"{ok:.0%}"})
    text = (
        f"{bundle.metadata.name} {bundle.metadata.version} on {len(tests)} digital necks (seed {seed}, styles "
        f"{', '.join(styles.patient_like)}; synthetic, nothing about patients), {passes} passes. usual: as in "
        "training. thick-slices: 5 mm (training: at most 3). noise: 80 HU (at most 45). weak-contrast: enhancement "
        "times 0.4 (at least 0.58). child: 0.6 of the size (at least 0.67). rolled: by 45 degrees onto the left side "
        "(rarely over 30). unseen-tissue: as usual, painted into patients of open-kbp that no training sees. another "
        "generator: as many crude necks, whose anatomy, vessels, scanner and truth share "
        "nothing with training's (plain_necks.py)."
    )
    TABLE.write(output, text, rows)
    if card:
        accuracy = {**bundle.metadata.accuracy, "shifts": {"text": text, "rows": [shown(row) for row in rows]}}
        metadata = replace(bundle.metadata, accuracy=accuracy)
        Bundle.save(bundle.path, metadata, bundle.state, model_card(metadata, date.today()))


if __name__ == "__main__":
    run(main)
