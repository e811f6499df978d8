"""How long `carotid-train finetune` takes with its defaults, part by part.

    carotid-train synthesize --cases 10 --seed 60 --styles sculpted --output ten
    python -m benchmarks.training.finetune_time ten --steps 100

What the model rehearses and reads is made anew, as the first time; nothing is kept, and no model is listed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from carotid_training.release.finetune import finetune
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.work import Step

from ..tables import RESULTS, Model, Output, Row, Table, run

TABLE = Table("finetune-time", "How long does a fine-tuning take?", "Whether the new model is better.")


def main(
    dataset: Annotated[Path, typer.Argument(help="Annotated cases, with their splits.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 600,
    model: Model = None,
    output: Output = RESULTS,
) -> None:
    """Table of the minutes of each part."""
    minutes: list[float] = []

    @contextmanager
    def timed() -> Iterator[Step]:
        begun = time.perf_counter()
        yield lambda words, share: None
        minutes.append((time.perf_counter() - begun) / 60)

    start = open_bundle(model)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(CAROTID_LANDMARK_HOME=f"{folder}/home", CAROTID_CACHE=f"{folder}/cache")
        finetune(dataset, start, Path(folder) / "run", steps, bar=timed)
    splits = [case.split for case in Dataset.open(dataset).cases()]
    tests, validation = splits.count("test"), splits.count("validation")
    parts = [
        f"the first model on {tests} test cases",
        f"{steps} steps on {splits.count('train')} cases",
        f"calibrating on {validation} cases",
        f"the new model on {tests} test cases",
    ]
    rows: list[Row] = [{"part": part, "minutes": taken} for part, taken in zip(parts, minutes, strict=True)]
    rows.append({"part": "all", "minutes": sum(minutes)})
    text = (
        f"Of {start.metadata.name} {start.metadata.version}, on {len(splits)} digital necks, with 50 noise passes. "
        "Steps: each on a case and a digital neck that is made for it; every case is decompressed for the first time."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
