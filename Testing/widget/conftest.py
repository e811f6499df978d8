"""The harness and the made-up scans on the import path; one application for all widget tests."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scene")]

import pytest  # noqa: E402
from CarotidLandmarkLib.scene_pictures import quiet_vtk  # noqa: E402
from harness import launch  # noqa: E402

with quiet_vtk():
    APPLICATION = launch()  # before the test files are read: they import the module's Qt parts


@pytest.fixture(scope="session")
def application():
    with quiet_vtk():
        yield APPLICATION


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
    application.answers, application.asked = [], []
    opened.logic.bundles = [tiny]
    opened.fillModels()
    opened.initializeParameterNode()
    yield opened
    opened.logic.cancel()
