"""Peak memory of a training step on a scan of the paper's size, and of detection on a large scan.

    python -m benchmarks.cost.memory train --config Training/configs/paper.yaml
    python -m benchmarks.cost.memory detect --model BUNDLE

Each measurement is a fresh process: its largest resident set (VmHWM: Linux only), and how much of that came after the
libraries were loaded; on a GPU also the largest memory that torch had allocated there.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from carotid_training.cohorts.synthesize import LANDMARKS
from carotid_training.reproduction.predict import resident_mb
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.volume import Volume, write_volume

from ..tables import NO_GPU, RESULTS, Output, Row, Table, measured_apart, run

PAPER_SIZE, PAPER_SPACING_MM = (448, 448, 448), (0.5, 0.5, 0.5)
LARGE_SIZE, LARGE_SPACING_MM = (512, 512, 700), (0.45, 0.45, 0.7)
TRAINING = Table(
    "memory-training", "How much memory does a training step need?",
    "Batches of several scans, and rendering, which runs in processes of its own.",
)  # fmt: skip
DETECTION = Table(
    "memory-detection", "How much memory does a detection need?", "What Slicer itself needs beside it."
)  # fmt: skip
VESSELS_LPS = ((30.0, -10.0, 5.0), (-30.0, -8.0, -6.0))

app = typer.Typer(add_completion=False)


def phantom(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    """A noisy cylinder of tissue with two bright vessels, int16, size (i, j, k), its middle at the origin."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(size) - 1) / 2
    x, y, z = (np.arange(n) * step + start for n, step, start in zip(size, spacing_mm, affine[:3, 3], strict=True))
    plane = np.where((x / 80) ** 2 + (y[:, None] / 65) ** 2 < 1, 40, -1000)
    for at_x, at_y, _ in VESSELS_LPS:
        plane[(x - at_x) ** 2 + (y[:, None] - at_y) ** 2 < 16] = 350
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 12, (8, *plane.shape))
    array = np.empty((len(z), *plane.shape), np.int16)
    for k in range(len(z)):
        array[k] = plane + noise[k % 8]
    return Volume(array, affine, "phantom")


def measured(what: str, device: str, limit_mb: int, arguments: list[str], folder: Path) -> Row:
    """A row of the table: what a child process of this script says of itself."""
    row: dict[str, str | float | int] = {"what": what, "device": device}
    peaks = {"peak MB": "", "above start MB": "", "GPU peak MB": ""}
    if device == "cuda" and not torch.cuda.is_available():
        return {**row, **peaks, "peak MB": NO_GPU, "allowed MB": limit_mb}
    own = measured_apart("benchmarks.cost.memory", *arguments, CAROTID_CACHE=str(folder / "cache"))
    return {**row, **peaks, **own, "allowed MB": limit_mb}


def report(start_mb: float) -> None:
    """The child's last line."""
    peak = resident_mb("VmHWM")
    row = {"peak MB": round(peak), "above start MB": round(peak - start_mb)}
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        row["GPU peak MB"] = round(torch.cuda.max_memory_allocated() / 1e6)
    print(json.dumps(row))


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="Training configuration.")] = Path("Training/configs/paper.yaml"),
    output: Output = RESULTS,
) -> None:
    """One case of 448 x 448 x 448 voxels of 0.5 mm per step; all of the work in one process."""
    size = " x ".join(map(str, PAPER_SIZE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = Dataset.create(folder / "dataset", LANDMARKS)
        dataset.add_case(phantom(PAPER_SIZE, PAPER_SPACING_MM), case_id="phantom", group="phantom", split="train")
        points = dict(zip(LANDMARKS, VESSELS_LPS, strict=True))
        dataset.save_annotation("phantom", "truth", points, dict.fromkeys(LANDMARKS, "accepted"))
        rows = []
        for device in ("cpu", "cuda"):
            arguments = ["step", str(config), str(dataset.path), device]
            rows.append(measured(f"training, {config.name}", device, 4000, arguments, folder))
    text = (
        f"Two training steps of the whole chain (the second with the optimizer's state in memory) on a scan of {size} "
        "voxels of 0.5 mm, reading and cutting it included."
    )
    TRAINING.write(output, text, rows)


@app.command()
def detect(
    model: Annotated[Path | None, typer.Option(help="Bundle; default: the one that came with the program.")] = None,
    passes: Annotated[int, typer.Option(help="Noise passes.")] = 50,
    output: Output = RESULTS,
) -> None:
    """carotid-landmark detect on a scan of 512 x 512 x 700 voxels, int16, read from the disk."""
    size = " x ".join(map(str, LARGE_SIZE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.nrrd"
        write_volume(phantom(LARGE_SIZE, LARGE_SPACING_MM), scan)
        options = [f"--passes={passes}", *([] if model is None else [f"--model={model}"])]
        rows = []
        for device in ("cpu", "cuda"):
            where = [f"--output={folder / device}", f"--device={device}"]
            rows.append(measured("detection", device, 2000, ["command", str(scan), *where, *options], folder))
    text = (
        f"`carotid-landmark detect` with {passes} passes on a compressed NRRD of {size} voxels, int16, report included."
    )
    DETECTION.write(output, text, rows)


@app.command(hidden=True)
def step(config: Path, dataset: Path, device: str) -> None:
    """The measured process of `train`."""
    from carotid_training.training.fit import prepared

    start = resident_mb("VmHWM")
    cli = prepared(
        [
            f"--config={config}", f"--data.dataset={dataset}", "--data.workers=0", f"--trainer.accelerator={device}",
            "--trainer.devices=1", "--trainer.max_steps=2", "--trainer.limit_val_batches=0",
            "--trainer.num_sanity_val_steps=0", "--trainer.enable_model_summary=false",
        ]
    )  # fmt: skip
    cli.trainer.fit(cli.model, cli.datamodule)
    report(start)


@app.command(hidden=True, context_settings={"ignore_unknown_options": True})
def command(arguments: list[str]) -> None:
    """The measured process of `detect`."""
    import CarotidLandmarkLib.cli as cli
    import CarotidLandmarkLib.detector  # noqa: F401  the libraries are loaded before the start

    start = resident_mb("VmHWM")
    try:
        cli.main(["detect", *arguments])
    except SystemExit as done:
        if done.code:
            raise
    report(start)


if __name__ == "__main__":
    run(app)
