"""How narrow bodies are, and whether the enlarged search is ever taken where a body is too wide to be a child's.

    python -m benchmarks.accuracy.body_width DATASET...

The datasets are those of other tables: the adults of `release.sh` (test, unseen), the children of `shifted_scans.py`.
Every scan is searched enlarged here, however wide and clear it is: what the rule of `nets/search.py` leaves out is then
seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.nets import MultiScaleLocNet, search
from CarotidLandmarkLib.nets.pyramid import Pyramid

from ..tables import RESULTS, Model, Output, Row, Table, run
from .detected import as_detected

TABLE = Table(
    "body-width", "Is the enlarged search ever taken where a body is too wide for a child's?",
    "Children: theirs are adults' digital necks made smaller.",
)  # fmt: skip


def main(
    datasets: Annotated[list[Path], typer.Argument(help="Folders with dataset.json; a row each.")],
    model: Model = None,
    output: Output = RESULTS,
) -> None:
    """Search every scan, compare."""
    bundle = open_bundle(model)
    net, limit = MultiScaleLocNet.of(bundle).eval(), search.WIDEST_CHILD_MM2
    search.WIDEST_CHILD_MM2 = search.CLEAR = np.inf
    rows: list[Row] = []
    for folder in datasets:
        widths, taken = [], []
        for case in Dataset.open(folder).cases():
            pyramid = Pyramid(case.read_volume(), net.architecture.scales_mm)
            widths.append(search.narrowest_mm2(pyramid))
            with as_detected():
                taken.append(float(search.seek(net, pyramid, lambda words, share: None).view.to_patient.det()) < 0.9)
        wide = np.array(widths) > limit
        cm2 = {f"{name} (cm2)": float(np.percentile(widths, share)) / 100
               for name, share in (("narrowest", 0), ("median", 50), ("widest", 100))}  # fmt: skip
        enlarged = {"enlarged is taken": int(np.sum(taken)), "of those too wide": int(np.sum(wide & np.array(taken)))}
        rows.append({"dataset": folder.name, "scans": len(widths), **cm2, "too wide": int(wide.sum()), **enlarged})
        print(rows[-1], flush=True)
    text = (
        f"{bundle.metadata.name} {bundle.metadata.version}. A body's cross-section where it is narrowest, but for a "
        f"twentieth of the slices; too wide: more than {limit / 100:g} cm2, not searched enlarged by the program. The "
        "rule changes which search is taken in the scans of the last column. In the program's precision: bfloat16 "
        "where the processor has it. In another one a search that leads by little is another one."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
