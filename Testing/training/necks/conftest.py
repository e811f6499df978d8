"""Backgrounds to build necks in: of the drawn CT, and of a real one where CAROTID_BACKGROUND_CT names it."""

import os

import pytest
from carotid_training.necks.tissue.background import Background

from .drawn_ct import synthetic_ct


@pytest.fixture(scope="module")
def background() -> Background:
    return Background.prepare(synthetic_ct())


@pytest.fixture(scope="module")
def real_background() -> Background:
    path = os.environ.get("CAROTID_BACKGROUND_CT")
    if not path:
        pytest.skip("set CAROTID_BACKGROUND_CT to an unenhanced CT of head and neck to run this")
    from CarotidLandmarkLib.volume import read_volume

    return Background.prepare(read_volume(path))
