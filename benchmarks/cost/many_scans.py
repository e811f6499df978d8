"""Seconds and bytes of a scan among many, and what a second worker process saves: the bundled scan, forty times.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.many_scans [--scans 40] [--passes 50] [--workers 1 --workers 2]

Each run is the command `carotid-landmark detect FOLDER --workers N`, from its start to its end, into a new folder. With
OMP_NUM_THREADS=1 each worker computes on one core, so that the ratio says what another process brings; without it one
worker takes all cores of the machine, and two share them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from CarotidLandmarkLib.bundle import open_bundle, resources_directory

from ..tables import RESULTS, Model, Output, Row, Table, run

ALLOWED_RATIO = 0.6
TABLE = Table(
    "many-scans", "How long do many scans take, and what does a second process save?",
    "Other machines: two processes share one memory bus here. One run of each; all scans are the same one.",
)  # fmt: skip


def seconds_of(scans: Path, output: Path, workers: int, passes: int, model: str | None) -> float:
    """Seconds of one command. Raises CalledProcessError."""
    command = [sys.executable, "-m", "CarotidLandmarkLib.cli", "detect", str(scans), "--output", str(output)]
    command += ["--passes", str(passes), "--workers", str(workers), "--device", "cpu"]
    started = time.perf_counter()
    subprocess.run(command + (["--model", model] if model else []), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(
    scans: Annotated[int, typer.Option(min=2, help="How many copies of the bundled scan.")] = 40,
    passes: Annotated[int, typer.Option(min=2, help="Noise passes.")] = 50,
    workers: Annotated[list[int] | None, typer.Option(help="Worker processes; repeatable; default: 1, then 2.")] = None,
    model: Model = None,
    output: Output = RESULTS,
) -> None:
    """Table of the runs, one after another, and the ratio to the first."""
    (sample,) = (resources_directory() / "SampleData").glob("*.nrrd")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "scans")
        folder.mkdir()
        for number in range(scans):
            shutil.copy(sample, folder / f"scan-{number:02d}.nrrd")
        first = None
        for count in workers or [1, 2]:
            results = Path(temporary, f"results-{count}-{len(rows)}")
            seconds = seconds_of(folder, results, count, passes, model)
            first = first or seconds
            written = sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
            rows.append(
                {"workers": count, "seconds": round(seconds, 1), "seconds per scan": round(seconds / scans, 2),
                 "ratio to the first": round(seconds / first, 2), "bytes read per scan": sample.stat().st_size,
                 "bytes written per scan": written // scans}
            )  # fmt: skip
            print(rows[-1], flush=True)
    metadata = open_bundle(model).metadata
    text = (
        f"{metadata.name} {metadata.version}: `carotid-landmark detect` of a folder with {scans} copies of the "
        f"bundled scan, {passes} passes, from start to end: model, workers and summary included. Two workers are to "
        f"take at most {ALLOWED_RATIO} of the time of one, each on one core (OMP_NUM_THREADS=1)."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
