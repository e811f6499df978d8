"""The bundled sample: one digital neck of the test seeds, cropped and rounded so that it stays small, with its truth.

python -m carotid_training.cohorts.sample_scan --output Resources/SampleData
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from CarotidLandmarkLib.markups import write_markups
from CarotidLandmarkLib.volume import Volume, write_volume

from .. import seeds
from ..necks.styles import Styles
from ..scans.sample import Sample
from .synthesize import LANDMARKS

NAME = "digital-neck"
# Base seed of the sample alone: no cohort of the documentation uses it.
BASE_SEED = 255
LENGTH_MM = (122.0, 135.0)
MARGIN_VOXELS = 12
# Rounding to 8 HU, below the noise, halves the file.
HU_STEP = 8


def main(
    output: Annotated[Path, typer.Option(help="Folder for the scan and its truth.")] = Path("Resources/SampleData"),
    first: Annotated[int, typer.Option(help="First test seed to try.")] = 0,
) -> None:
    """Write the first neck that shows both bifurcations in slices of about 1 mm."""
    styles = Styles()
    for index in range(first, first + 200):
        seed = seeds.neck_seed("test", BASE_SEED, index)
        sample = Sample.draw(seed, styles, {"sculpted": 1.0}, LENGTH_MM, randomised=True)
        plain = not sample.neck.facts.get("wild") and sample.scanner.acquisition.noise_hu < 14
        if bool(sample.truth.present.all()) and plain and 1.0 <= sample.scanner.acquisition.slice_mm <= 1.5:
            break
    else:
        raise typer.BadParameter("No neck fits; try other seeds with --first.")
    array, affine, truth = sample.scanner.acquire(sample.neck)
    volume = cropped(array, affine)
    path = output / f"{NAME}.nrrd"
    output.mkdir(parents=True, exist_ok=True)
    write_volume(volume, path)
    points = dict(zip(LANDMARKS, (tuple(p) for p in truth.landmarks_lps.tolist()), strict=True))
    write_markups(output / f"{NAME}.truth.mrk.json", points)
    print(f"{path}: seed {sample.seed}, {volume.size} voxels, {path.stat().st_size / 1e6:.1f} MB")


def cropped(array: np.ndarray, affine_lps: np.ndarray) -> Volume:
    """The part of a scan [k, j, i] that holds the body, rounded to `HU_STEP`; padding becomes air."""
    body = array > -300
    slices = []
    for axis in range(3):
        filled = np.flatnonzero(body.mean(axis=tuple(a for a in range(3) if a != axis)) > 0.01)
        low, high = max(0, filled[0] - MARGIN_VOXELS), min(array.shape[axis], filled[-1] + 1 + MARGIN_VOXELS)
        slices.append(slice(low, high))
    moved = affine_lps.copy()
    moved[:3, 3] += affine_lps[:3, :3] @ [s.start for s in slices[::-1]]
    rounded = np.round(np.clip(array[tuple(slices)], -1024, 3071) / HU_STEP) * HU_STEP
    rounded[rounded < -900] = -1024  # the noise of the air around the patient
    return Volume(rounded.astype(np.int16), moved, NAME)


if __name__ == "__main__":
    typer.run(main)
