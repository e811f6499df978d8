"""Forks found in segmented vessels, beside the truth: masks of the lumens of digital necks.

    python -m benchmarks.accuracy.segmentation

Each neck is segmented as a perfect program would, on the voxels of its scan within 60 mm of the carotids, in two ways:
every artery as one label, and common, internal and external carotids as labels of their own. Stenosed, occluded and
kinked arteries are among them. No scan is used to find a fork, but for the middle of the body (a view of 4 mm).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
import typer
from carotid_training.cohorts.synthesize import LANDMARKS
from carotid_training.necks.neck import Grid
from carotid_training.necks.styles import Styles
from carotid_training.necks.vessels.paths import Tube
from carotid_training.scans import acquisition
from carotid_training.scans.sample import Sample
from carotid_training.scans.scanner import EDGE_MM, Scanner
from carotid_training.seeds import GENERATOR, neck_seed
from CarotidLandmarkLib.geometry import Geometry
from CarotidLandmarkLib.vessels import Role, Segmentation, SegmentationError, carotid_forks
from CarotidLandmarkLib.volume import Volume

from ..tables import RESULTS, Output, Row, Table, run

AROUND_MM = 60.0  # to either side of the middle of the forks, and before and behind it
FULL = 1000.0  # the value that a voxel inside a lumen is painted with
LENGTH_MM = (120.0, 180.0)
VIEW_MM = 4.0
WAYS = ("one label", "labels by name")
FOUND_MM = 5.0  # farther from the truth is another fork

Masks = Mapping[Role, np.ndarray]
TABLE = Table(
    "segmentation", "How near to the truth are forks of segmented vessels?",
    "Real segmentations, with their leaks and holes: the label maps are drawn from necks of formulas.",
)  # fmt: skip


def window(sample: Sample) -> Grid:
    """The voxels of the scan around the carotids, over its whole length."""
    grid = sample.scanner.lattice
    middle = torch.from_numpy(truth(sample)[0].mean(axis=0))
    centre = (torch.linalg.inv(grid.affine) @ torch.cat([middle, torch.ones(1, dtype=torch.float64)]))[:3]
    reach = AROUND_MM / grid.spacing_mm
    size = torch.tensor(grid.shape[::-1])
    low = (centre - reach).long().clamp(min=0)
    high = torch.minimum((centre + reach).long() + 1, size)
    low[2], high[2] = 0, size[2]
    k, j, i = (high - low).flip(0).tolist()
    return grid.part(low.flip(0).tolist(), (1, 1, 1), (k, j, i))


def masks(sample: Sample, grid: Grid, way: str) -> Masks:
    """The lumens on a grid, [k, j, i] bool by what they are. A voxel is one by its larger part."""
    lumens = [tube for tube in sample.neck.tree.tubes if tube.role == "lumen"]  # type: ignore[attr-defined]
    if way == "one label":
        return {Role("", "lumen"): _mask(sample, grid, lumens)}
    sides = {"left": "right", "right": "left"} if sample.scanner.mirrored else {"left": "left", "right": "right"}
    named: dict[Role, list[Tube]] = {}
    for tube in lumens:
        side, _, rest = tube.name.partition("_")
        vessel = rest.removesuffix("_carotid")
        if side in sides and rest.endswith("_carotid") and vessel in ("common", "internal", "external"):
            named.setdefault(Role(sides[side], vessel), []).append(tube)
    return {role: _mask(sample, grid, tubes) for role, tubes in named.items()}


def _mask(sample: Sample, grid: Grid, tubes: list[Tube]) -> np.ndarray:
    to_neck = torch.linalg.inv(sample.scanner.neck_to_lps) @ grid.affine
    bright = tuple(replace(tube, hu=FULL, hu_end=FULL) for tube in tubes)
    tree = replace(sample.neck.tree, tubes=bright)  # type: ignore[attr-defined]
    (painted,) = tree.paint([torch.zeros(grid.shape)], [Grid(to_neck, grid.shape)])
    return painted.numpy() >= FULL / 2


def truth(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Left and right fork, LPS mm [2, 3], and which of them a mask can show [2]: there, and inside the scan."""
    scanner, neck = sample.scanner, sample.neck
    up = torch.linalg.inv(scanner.neck_to_lps)[:3, :3] @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    points, there = acquisition.transform(scanner.neck_to_lps, neck.bifurcations(up).double()), neck.present
    if scanner.mirrored:
        points, there = points.flip(0), there.flip(0)
    near = scanner.nearest_inside(points, EDGE_MM)
    return points.numpy(), (there & ((near - points).norm(dim=1) < 1e-6)).numpy()


def body(scanner: Scanner, sample: Sample) -> Volume:
    """The scan in voxels of 4 mm."""
    low, high = scanner.extent_lps()
    shape = [int(n) for n in ((high - low) / VIEW_MM).ceil().flip(0)]
    grid = Grid.aligned((low + high) / 2, VIEW_MM, (shape[0], shape[1], shape[2]))
    (view,) = scanner.view(sample.neck, [grid])
    return Volume(view.numpy(), grid.affine.numpy(), "scan")


def samples(count: int, seed: int) -> Iterator[Sample]:
    """So many patient-like necks in scans that show the carotids."""
    styles, number, drawn = Styles(), 0, 0
    while drawn < count:
        sample = Sample.draw(neck_seed("test", seed, number), styles, {"sculpted": 1.0}, LENGTH_MM, randomised=False)
        number += 1
        if sample.scanner.region == "carotids":
            drawn += 1
            yield sample


def measure(sample: Sample, scan: Volume, way: str) -> Iterator[tuple[bool, float, bool]]:
    """For each fork of a neck: within one voxel of the truth, mm from it (inf where none was found), doubts."""
    grid = window(sample)
    k, j, i = grid.shape
    geometry = Geometry(grid.affine.numpy(), (i, j, k))
    points, there = truth(sample)
    segmentation = Segmentation("mask", geometry, ())
    try:
        places, notes = carotid_forks(masks(sample, grid, way), segmentation, LANDMARKS, scan)
    except SegmentationError:
        places, notes = {}, ()
    for name, point, shown in zip(LANDMARKS, points, there, strict=True):
        if not shown:
            continue
        doubts = any(note.startswith(name.split("_")[0]) for note in notes)
        place = places.get(name)
        if place is None:
            yield False, float("inf"), doubts
            continue
        voxels = np.rint(geometry.to_voxels([place, point]))
        yield bool(np.abs(voxels[0] - voxels[1]).max() <= 1), float(np.linalg.norm(place - point)), doubts


def main(
    necks: Annotated[int, typer.Option(min=1, help="How many digital necks.")] = 60,
    seed: Annotated[int, typer.Option(help="0 to 255; other seeds are other necks.")] = 77,
    output: Output = RESULTS,
) -> None:
    """Segment, find, compare."""
    torch.set_num_threads(1)  # drawing is many small operations: threads only wait for each other
    results: dict[str, list[tuple[bool, float, bool]]] = {way: [] for way in WAYS}
    for number, sample in enumerate(samples(necks, seed), start=1):
        scan = body(sample.scanner, sample)
        for way in WAYS:
            results[way] += measure(sample, scan, way)
        counts = ", ".join(f"{sum(fork[0] for fork in forks)} of {len(forks)}" for forks in results.values())
        last = [f"{fork[1]:.1f} mm" for forks in results.values() for fork in forks[-2:] if not fork[0]]
        print(f"{number} of {necks} necks: within one voxel {counts} {last or ''}", file=sys.stderr, flush=True)
    rows: list[Row] = []
    for way, forks in results.items():
        near = np.array([within for within, _, _ in forks])
        distance = np.array([mm for _, mm, _ in forks])
        doubts = np.array([doubt for _, _, doubt in forks])
        rows.append({
            "segmented as": way, "forks": len(forks), "within one voxel (share)": float(near.mean()),
            "median (mm)": float(np.median(distance)), "95th percentile (mm)": float(np.quantile(distance, 0.95)),
            "none, or another fork": int((distance > FOUND_MM).sum()), "with a doubt": int(doubts.sum()),
            "of those within one voxel": int((near & doubts).sum()),
        })  # fmt: skip
    text = (
        f"Generator {GENERATOR}, {necks} patient-like sculpted necks of the test split, seed {seed}. Within one voxel: "
        "the voxel that holds the truth, or one of its 26 neighbours. A doubt is a note such as `the lumen has a gap`."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
