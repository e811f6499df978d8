"""Scans without a carotid bifurcation to be found, as a dataset in which both are marked missing.

    python -m benchmarks.accuracy.negatives PREPARED --output negatives
    carotid-train evaluate carotid-small negatives

PREPARED: backgrounds of `carotid-train backgrounds`; only the patients that no training sees are used. Of each patient:
the unenhanced neck, the head above the atlas, the chest below the sixth cervical vertebra. Beside them digital necks
without contrast agent, and phantoms: water with inserts, and a pair of arms. Necks in which one bifurcation is
beyond the scan, ligated or grafted are in every synthesized cohort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from carotid_training import seeds
from carotid_training.cohorts.synthesize import ANNOTATOR, LANDMARKS
from carotid_training.necks.styles import Styles
from carotid_training.necks.tissue.background import CERVICAL, Background
from carotid_training.necks.tissue.backgrounds import background_paths, scan_name
from carotid_training.scans.sample import Sample
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.volume import Volume

from ..tables import run

SPLIT = "test"
FEWEST_SLICES = 16  # a shorter scan is refused
PHANTOM_MM = (1.0, 1.0, 2.0)


def regions(background: Background) -> Iterator[tuple[str, Volume]]:
    """The neck as scanned, what lies above the atlas, and what lies below C6, where the scan shows so much."""
    z = background.origin[2] + background.spacing[2] * np.arange(background.hu.shape[0])
    level = {name: place[2] for name, place in zip(CERVICAL, background.levels, strict=True)}
    for kind, mask in (("unenhanced", z > -np.inf), ("head", z > level["C1"]), ("chest", z < level["C6"] - 10)):
        slices = np.flatnonzero(mask)
        if len(slices) < FEWEST_SLICES:
            continue
        affine = np.diag([*background.spacing, 1.0])
        affine[:3, 3] = background.origin
        affine[2, 3] += slices[0] * background.spacing[2]
        yield kind, Volume(np.ascontiguousarray(background.hu[slices]), affine)


def without_contrast(seed: int) -> Volume:
    """A digital neck whose vessels hold unenhanced blood."""
    sample = Sample.draw(seed, Styles(), {"sculpted": 1.0}, (160.0, 220.0), randomised=False)
    plain = replace(sample.scanner, acquisition=replace(sample.scanner.acquisition, contrast_gain=0.0))
    array, affine, _ = plain.acquire(sample.neck, "cpu")
    return Volume(array, affine)


def phantom(kind: str, seed: int) -> Volume:
    """``water`` with bright rods, or a pair of ``arms``: int16 HU of 1 x 1 x 2 mm."""
    random = np.random.default_rng(seed)
    k, j, i = np.indices((100, 240, 280))
    hu = np.full(k.shape, -1000.0)
    if kind == "water":
        hu[np.hypot(j - 120, i - 140) < 100] = 0
        for angle, value in zip(np.arange(8) * np.pi / 4, (-800, -100, 50, 200, 350, 500, 900, 300), strict=True):
            hu[np.hypot(j - 120 - 60 * np.sin(angle), i - 140 - 60 * np.cos(angle)) < 8] = value
    else:
        for x in (70, 210):
            bend = 6 * np.sin(k / 30 + random.uniform(0, 6))
            for radius, value in ((45, -90), (38, 55), (12, 900), (7, -20)):
                hu[np.hypot(j - 120 - bend, i - x) < radius] = value
            hu[np.hypot(j - 120 - bend - 20, i - x) < 3] = 350  # an artery with contrast agent
    hu += random.normal(0, 20, hu.shape)
    return Volume(np.clip(np.round(hu), -1024, 3071).astype(np.int16), np.diag([*PHANTOM_MM, 1.0]))


def negatives(prepared: Path, necks: int, phantoms: int) -> Iterator[tuple[str, str, Volume]]:
    """Case id, patient and scan of every negative."""
    for path in background_paths([prepared], unseen=True):
        for kind, volume in regions(Background.load(path)):
            yield f"{kind}-{scan_name(path)}", scan_name(path), volume
    for number in range(necks):
        name = f"no-contrast-{number:02d}"
        yield name, name, without_contrast(seeds.neck_seed("test", 97, number))
    for kind in ("water", "arms"):
        for number in range(phantoms):
            name = f"{kind}-{number:02d}"
            yield name, name, phantom(kind, number)


def main(
    prepared: Annotated[Path, typer.Argument(help="Prepared backgrounds of open-kbp.")],
    necks: Annotated[int, typer.Option(help="Digital necks without contrast agent.")] = 12,
    phantoms: Annotated[int, typer.Option(help="Of each kind.")] = 4,
    output: Annotated[Path, typer.Option(help="Folder of the dataset: new, or one to go on with.")] = Path("negatives"),
) -> None:
    """Write the scans and that nothing is in them."""
    torch.set_num_threads(1)
    exists = (output / "dataset.json").is_file()
    dataset = Dataset.open(output) if exists else Dataset.create(output, LANDMARKS)
    for name, patient, volume in negatives(prepared, necks, phantoms):
        if name not in dataset.case_ids():
            dataset.add_case(replace(volume, name=name), case_id=name, group=patient, split=SPLIT)
            nothing = dict.fromkeys(LANDMARKS)
            dataset.save_annotation(name, ANNOTATOR, nothing, dict.fromkeys(LANDMARKS, "missing"))
    print(f"{len(dataset.case_ids())} scans in {output.name}")


if __name__ == "__main__":
    run(main)
