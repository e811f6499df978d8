"""Run a script that was written for earlier names of the library's inner modules, unchanged.

python Testing/widget/earlier_names.py SCRIPT
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import CarotidLandmarkLib
from CarotidLandmarkLib import report
from CarotidLandmarkLib.scene import offscreen, review

EARLIER = {"scene_pictures": offscreen, "scene_review": review, "agreement_report": report}

if __name__ == "__main__":
    for name, module in EARLIER.items():
        sys.modules[f"CarotidLandmarkLib.{name}"] = module
        setattr(CarotidLandmarkLib, name, module)
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
