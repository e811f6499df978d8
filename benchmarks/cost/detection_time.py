"""Seconds of one detection, by part, with the bundle loaded: a scan of 512 x 512 x 500 voxels, both sides, 50 passes.

    python -m benchmarks.cost.detection_time [--model BUNDLE ...]

The first detection of a model, which also gets memory from the system, is a row of its own; the other is the median of
those after it. Several models take turns, so that their ratio is that of one run. Reading the scan is not part of it.
"""

from __future__ import annotations

from statistics import median
from typing import Annotated

import typer
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.detector import Detector

from ..tables import NO_GPU, RESULTS, Output, Row, Table, devices, run
from .memory import phantom

SIZE, SPACING_MM = (512, 512, 500), (0.45, 0.45, 0.6)
PARTS = ("pyramid", "coarse", "passes", "total")
ALLOWED_S: dict[str, float | str] = {"cpu": 10.0, "cuda": ""}
TABLE = Table(
    "detection-time", "How long does a detection take?",
    "How right the answer is: the phantom has no bifurcation. Reading the scan.",
)  # fmt: skip


def rows_of(model: str, device: str, timings: list[dict[str, float]]) -> list[Row]:
    """The first detection, and the median of the others."""
    later = {part: median(timing[part] for timing in timings[1:]) for part in PARTS}
    return [
        {"model": model, "device": device, "detection": which, **{f"{part} (s)": seconds[part] for part in PARTS},
         "allowed (s)": ALLOWED_S[device]}
        for which, seconds in (("first", timings[0]), (f"median of {len(timings) - 1} more", later))
    ]  # fmt: skip


def main(
    model: Annotated[
        list[str] | None, typer.Option(help="A bundle's folder or name; repeatable; default: the shipped one.")
    ] = None,
    passes: Annotated[int, typer.Option(help="Noise passes.")] = 50,
    repeats: Annotated[int, typer.Option(min=2, help="Detections on each device.")] = 4,
    output: Output = RESULTS,
) -> None:
    """Table of seconds per part."""
    bundles, scan = [open_bundle(name) for name in model] if model else [open_bundle(None)], phantom(SIZE, SPACING_MM)
    rows: list[Row] = []
    for device in devices(rows, {"detection": NO_GPU}):
        detectors = [Detector(bundle, device) for bundle in bundles]
        settings = DetectionSettings(passes=passes)
        turns = [[detector.detect(scan, settings).timing_s for detector in detectors] for _ in range(repeats)]
        for bundle, timings in zip(bundles, zip(*turns, strict=True), strict=True):
            rows += rows_of(f"{bundle.metadata.name} {bundle.metadata.version}", device, list(timings))
    size = " x ".join(map(str, SIZE))
    text = (
        f"A phantom of {size} voxels, int16, with {passes} passes on both sides; bundle loaded, scan in memory; models "
        "in turn. coarse: all scales before the passes."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
