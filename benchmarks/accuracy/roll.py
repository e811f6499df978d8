"""How well the roll of a patient is measured: real scans, rolled in the file's geometry by known angles.

    python -m benchmarks.accuracy.roll CT...

CT: a scan of a neck, or a folder of them; no landmark is needed. A patient who lies straight has no roll as scanned,
and then as much as the scan is turned by. The table and what holds the head are turned with the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from carotid_training.necks.tissue.backgrounds import scans
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.nets.roll import LEAST_GAIN, LEAST_ROLL_DEGREES, roll_degrees, roll_to_undo, turn
from CarotidLandmarkLib.volume import Volume, read_volume

from ..tables import RESULTS, Output, Row, Table, run

SCALES_MM = (4.0, 2.0, 1.0, 0.5)
HALF = "half the neck"
ANGLES = (0.0, 15.0, -15.0, 30.0, -30.0, 45.0, -45.0, 60.0, -60.0)
TABLE = Table(
    "roll", "Is it seen how far a patient is rolled?",
    "Patients who really lay rolled: the head turns on the shoulders, and the table stays.",
)  # fmt: skip


def volumes(given: Sequence[Path]) -> Iterator[Volume]:
    """The scans of files and folders."""
    for path in given:
        yield from map(read_volume, scans(path) if path.is_dir() else [path])


def half(volume: Volume) -> Volume:
    """Its left or right half: the side of the higher indices along the axis nearest to the patient's x."""
    axis = 2 - int(np.abs(volume.affine_lps[0, :3]).argmax())
    window = [slice(None)] * 3
    window[axis] = slice(volume.array.shape[axis] // 2, None)
    affine = volume.affine_lps.copy()
    affine[:3, 3] += affine[:3, 2 - axis] * window[axis].start
    return Volume(np.ascontiguousarray(volume.array[tuple(window)]), affine)


def measured(pyramid: Pyramid, degrees: float) -> tuple[float, bool]:
    """The roll that is found where the scan is turned by ``degrees``, and whether the program would undo one."""
    turned = pyramid.seen_through(turn(torch.as_tensor(pyramid.volume.centre_lps), degrees))
    return roll_degrees(turned)[0], roll_to_undo(turned) != 0


def main(
    cts: Annotated[list[Path], typer.Argument(help="Scans of necks, or folders of them.")], output: Output = RESULTS
) -> None:
    """Turn, measure, compare."""
    measures: dict[str, list[tuple[float, bool]]] = {
        name: [] for name in [*(f"{degrees:+g}" for degrees in ANGLES), HALF]
    }
    for volume in volumes(cts):
        pyramid = Pyramid(volume, SCALES_MM)
        for degrees in ANGLES:
            measures[f"{degrees:+g}"].append(measured(pyramid, degrees))
        measures[HALF].append(measured(Pyramid(half(volume), SCALES_MM), 0.0))
    rows: list[Row] = []
    for name, each in measures.items():
        angles, undone = np.array([angle for angle, _ in each]), sum(undone for _, undone in each)
        off = np.abs(angles - (float(name) if name[-1].isdigit() else 0.0))
        rows.append({
            "turned by (degrees)": name, "scans": len(each), "median found": float(np.median(angles)),
            "median off": float(np.median(off)), "most off": float(off.max()), "undone by the search": undone,
        })  # fmt: skip
    text = (
        "Real scans of the neck, turned about the long axis by changing their geometry. Undone: a roll of "
        f"{LEAST_ROLL_DEGREES:g} degrees or more, where that adds {LEAST_GAIN:g} to the likeness of the sides. half "
        "the neck: as scanned, but for one half of each slice."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
