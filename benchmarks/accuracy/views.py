"""What it brings to search a scan turned upright or smoothed, and in other views where its landmarks are not clear.

    python -m benchmarks.accuracy.views DATASET...

Of each landmark how far off the search ends: in the scan as it is; turned upright, where the patient lies rolled, and
smoothed, where it is noisy; and in the view that the program takes (`nets/search.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.landmarks import Point
from CarotidLandmarkLib.nets import MultiScaleLocNet, SearchResult, seek
from CarotidLandmarkLib.nets.search import CLEAR, CONTRAST, ENLARGEMENT

from ..tables import RESULTS, Model, Output, Row, Table, run
from .detected import as_detected, scans

GROSS_MM = 10.0
TABLE = Table(
    "views", "Do other views of a scan lead the search to better places?",
    "The last scale, which moves a point by a few millimetres. The contrast was chosen on the others, the smoothing on "
    "noise-judging.",
)  # fmt: skip


def kind(result: SearchResult) -> str:
    """plain, brighter or enlarged; plain is upright."""
    if result.view.contrast > 1:
        return "brighter"
    return "plain" if float(result.view.to_patient.det()) > 0.9 else "enlarged"


def off_mm(result: SearchResult, points: list[Point | None]) -> list[float]:
    """How far from the truth a search ended, for each landmark that is there."""
    places = result.in_patient(result.outputs[-1].position_lps)[0, :, 0].float().numpy()
    return [float(np.linalg.norm(place - point)) for place, point in zip(places, points, strict=True) if point]


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
        taken, clear, rolled, noisy = [], 0, 0, 0
        errors: list[tuple[float, float, float]] = []
        for pyramid, points in scans(Dataset.open(folder), None, net.architecture):
            with as_detected():
                result = seek(net, pyramid, lambda words, share: None)
                upright = next(each for each in (result, *result.others) if kind(each) == "plain")
                changed = result.rolled or result.noise_hu
                as_it_is = SearchResult(pyramid, *net.search(pyramid)) if changed else upright
            taken.append(kind(result))
            clear, rolled = clear + (upright.clearness >= CLEAR), rolled + (result.rolled != 0)
            noisy += result.noise_hu != 0
            errors.extend(zip(*(off_mm(each, points) for each in (as_it_is, upright, result)), strict=True))
        columns = np.array(errors)
        gross, mean = (columns > GROSS_MM).sum(axis=0).tolist(), columns.mean(axis=0).tolist()
        median = np.median(columns, axis=0).tolist()
        rows.append({
            "dataset": folder.name, "scans": len(taken), "clear": clear, "rolled": rolled, "noisy": noisy,
            "brighter taken": taken.count("brighter"), "enlarged taken": taken.count("enlarged"),
            "landmarks": len(errors), f"over {GROSS_MM:g} mm: as it is": gross[0], "upright": gross[1],
            "as taken": gross[2], "mean (mm): as it is": mean[0], "upright, mean": mean[1], "as taken, mean": mean[2],
            "median (mm): as it is": median[0], "as taken, median": median[2],
        })  # fmt: skip
        print(rows[-1], flush=True)
    text = (
        f"{bundle.metadata.name} {bundle.metadata.version}, digital necks, places of the scale before the last. Clear: "
        f"mean peaks of {CLEAR:g} in the upright scan, smoothed if noisy, and then no other view. Brighter: contrast "
        f"times {CONTRAST:g} above soft tissue. Enlarged: {ENLARGEMENT:g} times, where it may be a child's."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
