"""Pictures of the module for the documentation, made with the scan and the model that come with it.

    python Testing/widget/screenshots.py [FOLDER]

FOLDER is docs/images unless given. Writes panel-rest.png, panel-running.png, panel-results.png, panel-review.png,
panel-dataset.png, window.png and view-3d.png.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scene")]

import numpy as np  # noqa: E402
import slicer  # noqa: E402
from CarotidLandmarkLib import scene  # noqa: E402
from CarotidLandmarkLib.bundle import resources_directory  # noqa: E402
from CarotidLandmarkLib.dataset import Dataset  # noqa: E402
from CarotidLandmarkLib.scene import pictures as scene_pictures  # noqa: E402
from CarotidLandmarkLib.scene.offscreen import quiet_vtk  # noqa: E402
from CarotidLandmarkLib.volume import Volume, read_volume  # noqa: E402
from harness import Application, launch  # noqa: E402
from panel_steps import drag, pixel_of  # noqa: E402
from PySide6.QtCore import QPoint  # noqa: E402

ROOT = HERE.parents[1]


def take_all(folder: Path, volume: Volume, application: Application, widget: Any) -> list[Path]:
    """Take every picture of a detection on ``volume`` and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    volume_node = scene.add_volume(slicer.mrmlScene, volume)
    widget.stepCase(1)
    taken = [_panel(widget, application, folder / "panel-rest.png")]
    widget.ui.detectButton.click()
    application.wait_until(lambda: "pass " in widget.ui.statusLabel.text, 300)
    taken.append(_panel(widget, application, folder / "panel-running.png"))
    application.wait_until(lambda: not widget.logic.running, 600)
    nodes = scene.find_detection(volume_node)
    if nodes is None:
        raise RuntimeError(widget.ui.statusLabel.text)
    taken.append(_panel(widget, application, folder / "panel-results.png"))
    widget.ui.vesselsButton.click()
    views = application.layoutManager()
    for view in views.slices.values():
        view.node.SetFieldOfView(110.0, 110.0, view.node.GetFieldOfView()[2])
    views.three_d.look_at(np.mean(scene_pictures.placed_points(nodes), axis=0), 120.0)
    taken.append(_grab(application.mainWindow(), application, folder / "window.png"))
    taken.append(scene_pictures.picture_3d(nodes, application.stage, folder / "view-3d.png"))
    _review(nodes, application, widget)
    taken.append(_panel(widget, application, folder / "panel-review.png"))
    taken.append(picture_dataset(folder / "panel-dataset.png", volume, nodes.detection, application, widget))
    return taken


def _review(nodes: scene.DetectionNodes, application: Application, widget: Any) -> None:
    """Drag the first point a little, accept the second, leave a comment."""
    widget.ui.annotatorLineEdit.setText("reader-1")
    red = application.layoutManager().widgets["Red"]
    place = scene_pictures.placed_points(nodes)[0]
    red.view.look_at(place, 110.0)
    red.view.pixels()
    start = pixel_of(red, place)
    drag(application, red, start, start + QPoint(6, 4))
    widget.table.select(1)
    widget.ui.acceptButton.click()
    widget.ui.commentLineEdit.setText("calcified plaque on both sides")
    widget.review.write_remarks()
    widget.refresh()


def picture_dataset(path: Path, volume: Volume, detection: Any, application: Application, widget: Any) -> Path:
    """The panel in the middle of a dataset of five cases, one saved, the next one corrected and not saved yet."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset.create(Path(folder) / "necks-2026", [landmark.name for landmark in detection.landmarks])
        for number in range(1, 6):
            dataset.save_prediction(dataset.add_case(volume, f"case-{number}"), detection)
        widget.ui.annotatorLineEdit.setText("reader-1")
        widget.dataset.open_folder(str(dataset.path))
        widget.ui.askButton.click()
        widget.ui.saveNextButton.click()
        _review(scene.find_detection(widget.ui.inputSelector.currentNode()), application, widget)
        picture = _panel(widget, application, path)
        slicer.mrmlScene.Clear(0)
    return picture


def _panel(widget: Any, application: Application, path: Path) -> Path:
    return _grab(widget.parent, application, path)


def _grab(what: Any, application: Application, path: Path) -> Path:
    for _ in range(20):  # layouts and delayed refreshes settle
        application.processEvents()
        time.sleep(0.01)
    if not what.grab().save(str(path)):
        raise OSError(f"{path.name} could not be written.")
    return path


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    with quiet_vtk():
        application = launch()
        widget = application.open_module(ROOT / "CarotidLandmark" / "CarotidLandmark.py")
        sample = min((resources_directory() / "SampleData").glob("*.nrrd"))
        for path in take_all(folder, read_volume(sample), application, widget):
            print(path)
        widget.cleanup()


if __name__ == "__main__":
    main()
