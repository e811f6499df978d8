"""Puts the helper modules beside these tests on the import path, and keeps VTK from telling that there is no screen."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from CarotidLandmarkLib.scene.offscreen import quiet_vtk


@pytest.fixture(autouse=True)
def _quiet():
    with quiet_vtk():
        yield
