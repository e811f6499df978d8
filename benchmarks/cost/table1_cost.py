"""What an answer costs by each method of Table 1, on scans that fill its field: seconds and memory, side by side.

    python -m benchmarks.cost.table1_cost

The nets are those of configs/table1/table1.yaml, untrained: weights change neither. Every method is asked about
the same scans, a few times, in processes of its own; of each scan the quickest time counts, and of those the mean.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from carotid_training.cohorts.synthesize import synthesize
from carotid_training.necks.styles import Styles
from carotid_training.reproduction.module import module_of
from carotid_training.reproduction.predict import Work, predict, read_predictions
from carotid_training.reproduction.protocol import METHODS, Protocol, read_protocol
from CarotidLandmarkLib.dataset import Dataset

from ..tables import RESULTS, Output, Row, Table, run

REFERENCE = "single"
CASES = 20  # of which some are test cases
ROUNDS = 2
TABLE = Table(
    "table1-cost", "What does an answer cost by each method of Table 1?",
    "How right it is: the nets are untrained. The ratios are also the machine's, by its memory bus.",
)  # fmt: skip


def measure(key: str, protocol: Protocol, dataset: Dataset, folder: Path) -> dict[str, float]:
    """Seconds of one pass and of what follows it, the mean over the scans; peak MB over the scans."""
    checkpoint = None
    if METHODS[key].trained:
        checkpoint = folder / f"{key}.ckpt"
        torch.save({"state_dict": module_of(key, protocol).state_dict()}, checkpoint)
    work = Work(key, protocol, checkpoint, dataset.path, "test", "cpu", torch.get_num_threads())
    rounds = []
    for number in range(ROUNDS):
        answers = folder / f"{key}-{number}.csv"
        predict(work, answers)
        rounds.append(read_predictions(answers))
    quickest = [min((asked.seconds for asked in scan), key=lambda seconds: sum(seconds[:2]))
                for scan in zip(*rounds, strict=True)]  # fmt: skip
    resampling, net, search, passes = np.mean(quickest, axis=0).tolist()
    return {
        "one pass s": resampling + net,
        "of it resampling s": resampling,
        "search s": round(search, 3),  # a chain that has none asks the clock twice in a row
        "noise passes s": passes if METHODS[key].passes > 1 else 0.0,
        "peak MB": max(scan.peak_mb for scans in rounds for scan in scans),
    }


def main(
    cohort: Annotated[Path, typer.Option(help="Folder of the necks: new, or made by this earlier.")] = Path(
        "runs/table1-cost"
    ),
    output: Output = RESULTS,
) -> None:
    """Table of seconds and memory per method, and of the single-scale Loc-Net's multiples of them."""
    protocol = replace(read_protocol("table1"), length_mm=(224.0, 224.0))
    styles = Styles()
    dataset = synthesize(
        CASES, protocol.cohort_seed, cohort, styles, dict.fromkeys(styles.patient_like, 1.0), splits=("test",),
        length_mm=protocol.length_mm,
    )  # fmt: skip
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        costs = {key: measure(key, protocol, dataset, Path(folder)) for key in METHODS if key != "constant"}
    against = costs[REFERENCE]
    for key, cost in costs.items():
        multiples = {
            "times faster": against["one pass s"] / cost["one pass s"],
            "with search": against["one pass s"] / (cost["one pass s"] + cost["search s"]),
            "times less memory": against["peak MB"] / cost["peak MB"],
        }
        rows.append({"method": METHODS[key].title, **cost, **multiples})
        print(rows[-1], flush=True)
    text = (
        "Untrained nets of configs/table1/table1.yaml (the last row: the shipped model) on "
        f"{len(dataset.annotated_cases('test'))} digital necks of 224 mm: the mean over them, of each the "
        f"quickest of {ROUNDS} times. One pass: resampling the scan and every net "
        "once. Search: the further looks with which ours makes sure of the place before the "
        "noise passes. Peak: of all that, noise passes included, above the loaded program, the scan included. The last "
        f'three columns: the cost of "{METHODS[REFERENCE].title}" over '
        "that of the row, in one pass, in one pass and the search, in memory."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
