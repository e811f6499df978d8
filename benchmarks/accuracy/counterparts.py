"""What it brings to choose among the looks of the search by how they fit the landmark's counterpart.

    python -m benchmarks.accuracy.counterparts DATASET...

The places at which the scale before the last ended, in the scan as it is: the one with the highest peak of its own, the
one that the program takes (`nets/pairs.py`), and the nearest to the truth, which no choice can better.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.nets import MultiScaleLocNet

from ..tables import RESULTS, Model, Output, Row, Table, run
from .detected import as_detected, scans

GROSS_MM = 10.0
TABLE = Table(
    "counterparts", "Does a place that fits its counterpart make the better choice?",
    "The enlarged search, and the last scale, which moves a point by a few millimetres.",
)  # fmt: skip


def errors_mm(net: MultiScaleLocNet, dataset: Dataset) -> np.ndarray:
    """Of every landmark in the scans: of the look of the highest own peak, of the one taken, of the nearest: [n, 3]."""
    rows = []
    for pyramid, points in scans(dataset, None, net.architecture):
        with as_detected():
            _, looks = net.search(pyramid)
        own, beside = looks.logits.flatten(-3).amax(-1)[0], looks.peak[0]
        for n, point in enumerate(points):
            if point is not None:
                off = np.linalg.norm(looks.position_lps[0, n].float().numpy() - point, axis=1)
                rows.append((off[int(own[n].argmax())], off[int(beside[n].argmax())], off.min()))
    return np.array(rows)


def main(
    datasets: Annotated[list[Path], typer.Argument(help="Annotated datasets; a row each.")],
    model: Model = None,
    output: Output = RESULTS,
) -> None:
    """Search every scan, compare."""
    bundle = open_bundle(model)
    net = MultiScaleLocNet.of(bundle).eval()
    rows: list[Row] = []
    for folder in datasets:
        errors = errors_mm(net, Dataset.open(folder))
        own, beside, nearest = (errors > GROSS_MM).sum(axis=0).tolist()
        rows.append({
            "dataset": folder.name,
            "landmarks": len(errors),
            f"over {GROSS_MM:g} mm: by its own peak": own,
            f"over {GROSS_MM:g} mm: beside its counterpart": beside,
            f"over {GROSS_MM:g} mm: nearest look": nearest,
            "mean (mm): by its own peak": float(errors[:, 0].mean()),
            "beside its counterpart": float(errors[:, 1].mean()),
        })  # fmt: skip
        print(rows[-1], flush=True)
    text = f"{bundle.metadata.name} {bundle.metadata.version}, places of the scale before the last, digital necks."
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
