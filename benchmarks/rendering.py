"""What a digital neck costs: seconds of one core for a training sample, seconds of all cores for a whole scan.

    python benchmarks/rendering.py --background SOME-UNENHANCED-CT

A sample is rendered for one look of the chain (the scan at 4 mm, and its patches at 2, 1 and 0.5 mm, off the
landmark by chance), or as training keeps it: with boxes large enough for the chain to go astray in, and for many steps
to look at differently. A whole scan has 448 x 448 x 448 voxels of 0.5 mm, noise and streaks included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from carotid_training.batches.stream import NeckStream, box_sizes_of
from carotid_training.necks.styles import Styles
from carotid_training.scans.sample import Sample
from carotid_training.seeds import neck_seed
from CarotidLandmarkLib.memory import keep_freed_memory
from CarotidLandmarkLib.nets.chain import Architecture
from tables import NO_GPU, RESULTS, Output, Row, devices, write_table

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


NOT_SHOWN = "What a training waits for: it renders beside the steps (throughput)."


def seconds(work: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    """How long ``work`` takes by ``clock``, everything that it has begun on a GPU included."""
    begin = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - begin


def per_sample(stream: NeckStream, samples: int, device: str) -> float:
    """Mean seconds of a sample: of the processor on the CPU (one thread), of the clock on a GPU."""
    stream.batch(0)  # opens the background
    clock = time.process_time if device == "cpu" else time.perf_counter
    return sum(seconds(lambda n=n: stream.batch(n), device, clock) for n in range(1, samples + 1)) / samples


def whole_scan(styles: Styles, style: str, device: str) -> float:
    """Seconds of the clock for one scan."""
    sample = Sample.draw(
        neck_seed("test", 0, 0), styles, {style: 1.0}, (224.0, 224.0), randomised=style not in styles.patient_like
    )
    settings = replace(
        sample.scanner.acquisition, matrix=SCAN_VOXELS, pixel_mm=SCAN_MM, slice_mm=SCAN_MM, thickness_mm=SCAN_MM
    )
    scanner = replace(sample.scanner, acquisition=settings, slices=SCAN_VOXELS)
    return seconds(lambda: scanner.acquire(sample.neck, device), device, time.perf_counter)


def main(
    background: Annotated[list[Path] | None, typer.Option(help="Unenhanced CT for the styles of real tissue.")] = None,
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
    patches, kept = (
        ", ".join(f"{size}³ voxels at {scale:g} mm" for scale, size in sizes.items())
        for sizes in (PATCHES, box_sizes_of(OURS))
    )
    text = (
        f"Mean of {samples} samples: seconds of the processor with one thread (on a GPU, of the clock). For one look: "
        f"the scan at 4 mm, and patches of {patches} at both landmarks, off the "
        f"middle by chance. As kept: boxes of {kept}, in which a training looks {USES} times, differently each time. "
        "Scan: one, by the clock, with all threads."
    )
    print(write_table(output, "rendering", "How long does a digital neck take?", text, NOT_SHOWN, rows).read_text())


if __name__ == "__main__":
    keep_freed_memory()  # as the commands do
    typer.run(main)
