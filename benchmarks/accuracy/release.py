"""A model beside the one before it on the same scans, all kinds together and one by one: what `release.sh` ends with.

    python -m benchmarks.accuracy.release NEW OLD

NEW and OLD: folders that ``carotid-train evaluate MODEL DATASET DATASET... --output FOLDER`` has written.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from carotid_training.evaluation.datasets import GROSS_MM
from carotid_training.evaluation.metrics import Estimate
from carotid_training.evaluation.summary import ALL, RIGHT_SCAN_MM
from carotid_training.pages import markdown_table
from CarotidLandmarkLib.uncertainty import RELIABLE_MM

from ..tables import RESULTS, Output, Row, Table, run

HEADLINE = "# Evaluation of "
TABLE = Table(
    "release", "What does a new model bring?",
    "Patients; the spread between trainings. An empty cell is a number that these scans do not define.",
)  # fmt: skip


class Evaluation:
    """What `carotid-train evaluate` has written of a model on several datasets. Raises OSError, KeyError."""

    def __init__(self, folder: Path):
        self.model = (folder / "summary.md").read_text(encoding="utf-8").splitlines()[0].removeprefix(HEADLINE)
        self.datasets = {row["dataset"]: row for row in _rows(folder / "datasets.csv")}
        self.landmarks = _rows(folder / "landmarks.csv")
        self.measures = {row["measure"]: row for row in _rows(folder / "summary.csv") if row["landmark"] == ALL}

    def words(self, measure: str, digits: int) -> str:
        """A number of all datasets together with its interval; "" where it is not defined."""
        row = self.measures.get(measure, {})
        cells = (row.get(key) or "nan" for key in ("value", "low_95", "high_95"))
        estimate = Estimate(*map(float, cells))
        return "" if math.isnan(estimate.value) else estimate.words(digits)

    def of(self, measure: str) -> str:
        """A count of all datasets together, and of how many."""
        row = self.measures[measure]
        return f"{float(row['value']):.0f} of {row['n']}"

    def wrong_ok(self) -> str:
        """How many points of `ok` scans are not right, and how far they are off."""
        errors = [float(row["error_mm"] or "nan") for row in self.landmarks if row["verdict"] == "ok"]
        wrong = sorted(error for error in errors if error > RELIABLE_MM)
        return str(len(wrong)) + (f" ({', '.join(f'{error:.1f}' for error in wrong)} mm)" if wrong else "")

    def volume_of_sphere(self) -> str:
        """The mean region's share of a sphere's volume that holds as many."""
        volume, sphere = (float(self.measures[f"{key}_90_mm3"]["value"]) for key in ("volume", "sphere_volume"))
        return f"{volume / sphere:.0%}"


TOGETHER: dict[str, Callable[[Evaluation], str]] = {
    "missed, of the landmarks in the scans": lambda of: of.of("missed"),
    "found, of those that are not": lambda of: of.of("falsely_found"),
    "mean error (mm)": lambda of: of.words("error_mean_mm", 2),
    "median (mm)": lambda of: of.words("error_median_mm", 2),
    "95th percentile (mm)": lambda of: of.words("error_p95_mm", 1),
    "within 10 mm, a share": lambda of: of.words("success_10mm", 3),
    "left and right swapped": lambda of: of.of("swapped_cases"),
    "presence, area under the ROC": lambda of: of.words("presence_roc_area", 3),
    "verdict `ok`": lambda of: of.of("verdict_ok_cases"),
    "`ok`, of right scans": lambda of: of.of("verdict_ok_of_right_scans"),
    "`ok`, of those that lack a landmark": lambda of: of.of("verdict_ok_of_scans_that_lack_a_landmark"),
    f"points of `ok` scans over {RELIABLE_MM:g} mm": Evaluation.wrong_ok,
    "90 % regions hold, a share": lambda of: of.words("coverage_90", 2),
    "their mean volume, of a sphere that holds as many": Evaluation.volume_of_sphere,
    "volume against error, Pearson r": lambda of: of.words("pearson_calibrated_volume", 2),
    "probability of a right answer, calibration error": lambda of: of.words("reliability_calibration_error", 3),
}


def row_of(model: str, numbers: Mapping[str, str]) -> Row:
    """A dataset's numbers as the table has them."""
    mean = Estimate(*(float(numbers[key] or "nan") for key in ("mean_mm", "mean_low_95_mm", "mean_high_95_mm")))

    def number(key: str) -> float | str:
        return float(numbers[key]) if numbers[key] else ""

    def share(key: str) -> str:
        return f"{float(numbers[key]):.1%}" if numbers[key] else ""

    return {
        "necks": numbers["dataset"], "model": model,
        **{key: int(numbers[key]) for key in ("scans", "landmarks", "missed")},
        "mean (mm)": "" if math.isnan(mean.value) else mean.words(), "median": number("median_mm"),
        "95th percentile": number("p95_mm"), f"over {GROSS_MM:g} mm": share(f"over_{GROSS_MM:g}mm"),
        "regions hold": share("coverage"), "ok": int(numbers["ok"]),
        "of right scans": f"{numbers['ok_of_right_scans']} of {numbers['right_scans']}",
        "largest error of ok (mm)": number("ok_error_largest_mm"),
    }  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main(
    new: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Evaluation of the new model.")],
    old: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Of the one before, on the same datasets.")],
    output: Output = RESULTS,
) -> None:
    """Compare."""
    both = [Evaluation(new), Evaluation(old)]
    if both[0].datasets.keys() != both[1].datasets.keys():
        raise typer.BadParameter("The two were evaluated on different datasets.")
    scans = sum(int(numbers["scans"]) for numbers in both[0].datasets.values())
    together = [[words, *(of(evaluation) for evaluation in both)] for words, of in TOGETHER.items()]
    text = (
        f"{both[0].model} beside {both[1].model} on the same {scans} digital scans (synthetic, nothing about "
        "patients). Errors of the landmarks that were found; brackets: 95 % intervals; regions of 90 %; right: every "
        f"landmark was found within {RIGHT_SCAN_MM:g} mm.\n\n"
        + markdown_table([f"all {scans} scans", *(evaluation.model for evaluation in both)], together)
        + "\nDataset by dataset:"
    )
    rows = [row_of(one.model, one.datasets[name]) for name in both[0].datasets for one in both]
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
