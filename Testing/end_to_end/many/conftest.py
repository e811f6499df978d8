"""A model that finds nothing: what many scans share is not in the pictures of a point, which would cost most of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..commands import tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "blind", presence_bias=-4.0).path
