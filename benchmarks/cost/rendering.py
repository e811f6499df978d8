"""What a digital neck costs: seconds of one core for a training sample, seconds of all cores for a whole scan.

    python -m benchmarks.cost.rendering --background SOME-UNENHANCED-CT

A sample is rendered for one look of the chain (the scan at 4 mm, and its patches at 2, 1 and 0.5 mm, off the
landmark by chance), or as training keeps it: with boxes large enough for the chain to go astray in, and for many steps
to look at differently. A whole scan has 448 x 448 x 448 voxels of 0.5 mm, noise and streaks included.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
import typer
from carotid_training.batches.stream import NeckStream, box_sizes_of
from carotid_training.necks.styles import Styles
from carotid_training.reproduction.predict import now
from carotid_training.scans.sample import Sample
from carotid_training.seeds import neck_seed
from CarotidLandmarkLib.bundle import Architecture

from ..tables import NO_GPU, RESULTS, Background, Output, Row, Table, devices, run

SCAN_VOXELS, SCAN_MM = 448, 0.5
USES = 12  # data.reuse of configs/small.yaml
OURS = Architecture()
PATCHES = dict(zip(OURS.scales_mm[1:], OURS.patch_sizes, strict=True))
# Column -> boxes of a sample beside the coarse view.
SAMPLES: dict[str, dict[float, int]] = {
    "scan at 4 mm (s)": {},
    "for one look (s)": PATCHES,
    "as kept (s)": box_sizes_of(OURS),
}
TABLE = Table(
    "rendering", "How long does a digital neck take?",
    "What a training waits for: it renders beside the steps (throughput).",
)  # fmt: skip


def per_sample(stream: NeckStream, samples: int, device: str) -> float:
    """Mean seconds of a sample: of the processor on the CPU (one thread), of the clock on a GPU."""
    stream.batch(0)  # opens the background
    clock = time.process_time if device == "cpu" else partial(now, device)
    begin = clock()
    for number in range(1, samples + 1):
        stream.batch(number)
    return (clock() - begin) / samples


def whole_scan(styles: Styles, style: str, device: str) -> float:
    """Seconds of the clock for one scan."""
    sample = Sample.draw(
        neck_seed("test", 0, 0), styles, {style: 1.0}, (224.0, 224.0), randomised=style not in styles.patient_like
    )
    settings = replace(
        sample.scanner.acquisition, matrix=SCAN_VOXELS, pixel_mm=SCAN_MM, slice_mm=SCAN_MM, thickness_mm=SCAN_MM
    )
    scanner = replace(sample.scanner, acquisition=settings, slices=SCAN_VOXELS)
    begin = now(device)
    scanner.acquire(sample.neck, device)
    return now(device) - begin


def main(
    background: Background = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each style.")] = 24,
    output: Output = RESULTS,
) -> None:
    """Table of seconds, per style and device."""
    styles, threads = Styles(background or ()), torch.get_num_threads()
    rows: list[Row] = []
    for device in devices(rows, {"style": NO_GPU}):
        for style in styles.available:
            row: dict[str, str | float | int] = {"style": style, "device": device}
            torch.set_num_threads(1 if device == "cpu" else threads)
            for column, boxes in SAMPLES.items():
                stream = NeckStream(1, 0, "train", styles, {style: 1.0}, boxes, device)
                row[column] = per_sample(stream, samples, device)
            row[f"as kept, per use of {USES} (s)"] = float(row["as kept (s)"]) / USES
            torch.set_num_threads(threads)
            row[f"scan of {SCAN_VOXELS}³ voxels (s)"] = whole_scan(styles, style, device)
            rows.append(row)
            print(row, flush=True)
    patches, pool = (
        ", ".join(f"{size}³ voxels at {scale:g} mm" for scale, size in sizes.items())
        for sizes in (PATCHES, box_sizes_of(OURS))
    )
    text = (
        f"Mean of {samples} samples: seconds of the processor with one thread (on a GPU, of the clock). For one look: "
        f"the scan at 4 mm, and patches of {patches} at both landmarks, off the "
        f"middle by chance. As kept: boxes of {pool}, in which a training looks {USES} times, differently each time. "
        "Scan: one, by the clock, with all threads."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
