"""Is it seen how noisy a scan is?

    python -m benchmarks.accuracy.noise SCAN-OR-FOLDER... --cohort DATASET

What the search takes for a scan's noise (`nets/noise.py`): in real scans of the neck, a row for all of them, and in
cohorts of digital necks, beside what was drawn.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.nets.noise import noise_hu
from CarotidLandmarkLib.nets.search import NOISY_HU

from ..tables import RESULTS, Output, Row, Table, run
from .roll import volumes

TABLE = Table(
    "noise", "Is it seen how noisy a scan is?",
    "Noise of CT angiographies: the real scans at hand are of about 4 mm, which averages it, and 0 where there are too "
    "few squares. What was drawn is the noise of the scanner, before slices are thickened.",
)  # fmt: skip


def row(scans: str, measured: list[float], drawn: list[float]) -> Row:
    """A line of the table."""
    off = float(np.median(np.abs(np.subtract(measured, drawn)))) if drawn else ""
    return {
        "scans": scans, "of": len(measured), "least (HU)": min(measured), "median": float(np.median(measured)),
        "most": max(measured), "off what was drawn, median": off,
        f"over {NOISY_HU:g} HU": sum(each > NOISY_HU for each in measured),
    }  # fmt: skip


def main(
    cts: Annotated[list[Path], typer.Argument(help="Scans of necks, or folders of them.")],
    cohort: Annotated[list[Path] | None, typer.Option(help="Cohort of `carotid-train synthesize`; repeatable.")] = None,
    output: Output = RESULTS,
) -> None:
    """Measure, compare."""
    rows: list[Row] = [row("real", [noise_hu(volume) for volume in volumes(cts)], [])]
    for folder in cohort or []:
        dataset = Dataset.open(folder)
        with (folder / "cohort.csv").open(encoding="utf-8") as lines:
            drawn = {line["case"]: float(line["noise_hu"]) for line in csv.DictReader(lines)}
        measured = {name: noise_hu(dataset.case(name).read_volume()) for name in drawn}
        rows.append(row(folder.name, list(measured.values()), list(drawn.values())))
    TABLE.write(output, "Standard deviation of the noise in soft tissue, HU.", rows)


if __name__ == "__main__":
    run(main)
