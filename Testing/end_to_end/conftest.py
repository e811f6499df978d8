"""The tiny model, the small scan, and the command line in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from CarotidLandmarkLib.volume import write_volume

from .commands import scan_volume, tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", presence_bias=4.0).path


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "scan.nrrd"
    write_volume(scan_volume(), path)
    return path
