"""The harness and the made-up scans on the import path; one application for all widget tests."""

import sys
import types
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scene")]

import pytest  # noqa: E402
from CarotidLandmarkLib.scene.offscreen import quiet_vtk  # noqa: E402
from harness import launch  # noqa: E402

with quiet_vtk():
    APPLICATION = launch()  # before the test files are read: they import the module's Qt parts


@pytest.fixture(scope="session")
def application():
    with quiet_vtk():
        yield APPLICATION


@pytest.fixture(autouse=True)
def tracebacks(monkeypatch):
    """What fails in a slot or an observer is only printed, by PythonQt as by PySide6: here it fails the test."""
    errors = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append(f"{kind.__name__}: {error}"))
    yield errors
    assert errors == []


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Drafts that could not go beside their case are in the user's own folder: each test has one."""
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))


MODULE = HERE.parents[1] / "CarotidLandmark" / "CarotidLandmark.py"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """An untrained model bundle."""
    from tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def opened(application, tiny):
    widget = application.open_module(MODULE)
    yield widget
    widget.cleanup()


@pytest.fixture
def widget(application, opened, tiny):
    """The module's widget on an empty scene, with the untrained model chosen."""
    import slicer

    slicer.mrmlScene.Clear(0)
    application.processEvents()
    opened.logic.getParameterNode().annotator = ""  # who sits here outlasts a scene
    application.answers, application.asked = [], []
    opened.logic.bundles = [tiny]
    opened.fillModels()
    opened.initializeParameterNode()
    yield opened
    opened.logic.cancel()


@pytest.fixture
def dataset(tmp_path):
    """Three predicted cases: the region of ``unsure`` is wide, the verdict on ``alarmed`` is not ok."""
    from CarotidLandmarkLib.dataset import Dataset
    from CarotidLandmarkLib.detection import Quality
    from scene_cases import LEFT, RIGHT, make_detection, neck_volume

    dataset = Dataset.create(tmp_path / "necks", (LEFT, RIGHT))
    for number, (case_id, scale, quality) in enumerate(
        (("sure", 1, "ok"), ("unsure", 2, "ok"), ("alarmed", 1, "review"))
    ):
        volume = neck_volume(5.0)
        volume.array[0, 0, 0] += number  # three scans, not one three times
        dataset.add_case(volume, case_id)
        dataset.save_prediction(case_id, make_detection(scale=scale, quality=Quality(quality)))
    return dataset


@pytest.fixture
def choose(widget, monkeypatch):
    """Press Open or create and choose a folder."""
    import qt

    def choose(folder):
        chosen = types.SimpleNamespace(getExistingDirectory=lambda *_: str(folder))
        monkeypatch.setattr(qt, "QFileDialog", chosen)
        widget.ui.openDatasetButton.click()

    return choose


@pytest.fixture
def opened_dataset(widget, dataset, choose):
    """The dataset, opened by anna: its most uncertain case is shown."""
    from panel_steps import type_name

    type_name(widget, "anna")
    choose(dataset.path)
    return dataset
