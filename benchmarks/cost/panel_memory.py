"""Open the cases of a dataset one after another in the module's panel, and see whether the process grows.

    python -m benchmarks.cost.panel_memory --cases 300

Runs the panel on the harness of Testing/widget. Each case is a scan of its own file, opened as the key N does; the
resident set is read after each. Memory is flat when the second half of the cases adds less than one scan (as float32).
Prints a line every 25 cases and one JSON line; exit status 1 when memory grows. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "widget"), str(ROOT / "Testing" / "scene")]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from CarotidLandmarkLib.dataset import Dataset  # noqa: E402
from CarotidLandmarkLib.scene.offscreen import quiet_vtk  # noqa: E402
from harness import launch  # noqa: E402
from scene_cases import LEFT, RIGHT, make_detection, neck_volume  # noqa: E402

EVERY = 25
SPACING_MM = 0.9  # 133 voxels each way


def main(cases: int) -> int:
    with quiet_vtk(), tempfile.TemporaryDirectory() as folder:
        application = launch()
        widget = application.open_module(ROOT / "CarotidLandmark" / "CarotidLandmark.py")
        volume = neck_volume(SPACING_MM)
        dataset = Dataset.create(Path(folder) / "necks", (LEFT, RIGHT))
        for number in range(cases):
            case_id = dataset.add_case(volume, f"case-{number:04d}")
            dataset.save_prediction(case_id, make_detection())
        widget.ui.annotatorLineEdit.setText("reader-1")
        widget.dataset.open_folder(str(dataset.path))
        process, sizes, opened = psutil.Process(), [], set()
        for number in range(1, cases + 1):
            application.processEvents()
            opened.add(widget.ui.inputSelector.currentNode().GetName())
            gc.collect()
            sizes.append(process.memory_info().rss / 1e6)
            if number % EVERY == 0 or number == 1:
                print(f"{number:4d} cases opened: {sizes[-1]:7.1f} MB", flush=True)
            widget.ui.nextCaseButton.click()
        if len(opened) != cases:
            raise SystemExit(f"Only {len(opened)} of {cases} cases were opened: {widget.ui.statusLabel.text}")
    scan_mb = volume.array.size * 4 / 1e6
    half = len(sizes) // 2
    growth = float(np.median(sizes[-10:]) - np.median(sizes[half - 5 : half + 5]))
    whole = float(np.median(sizes[-10:]) - np.median(sizes[:10]))
    flat = growth < scan_mb
    document = {"cases": cases, "scan_mb": scan_mb, "growth_mb": whole, "growth_of_second_half_mb": growth}
    print(json.dumps({name: round(value, 1) for name, value in document.items()} | {"flat": flat}), flush=True)
    return 0 if flat else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300)
    code = main(parser.parse_args().cases)
    sys.stdout.flush()
    os._exit(code)  # without the teardown of Qt and VTK
