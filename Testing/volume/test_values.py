"""Values that are no HU are refused with what seems wrong; HU of every kind pass."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.bundle import resources_directory
from CarotidLandmarkLib.volume import VolumeError, from_array, read_volume
from hypothesis import given, settings
from hypothesis import strategies as st

AFFINE = np.diag([1.14, 1.14, 2.0, 1.0])


@pytest.fixture(scope="module")
def neck() -> np.ndarray:
    """The bundled scan at half its resolution, HU."""
    (path,) = (resources_directory() / "SampleData").glob("*.nrrd")
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[::2, ::2, ::2]


@pytest.fixture(scope="module")
def outside(neck) -> np.ndarray:
    """What lies outside a round field of view."""
    _, j, i = np.indices(neck.shape)
    return np.hypot(j / neck.shape[1] - 0.5, i / neck.shape[2] - 0.5) > 0.5


def in_air(hu: np.ndarray) -> np.ndarray:
    """A body of a hundredth of the voxels, as in a planning CT that is cropped to the neck."""
    neck = np.where(hu > -900, hu, -1000)[:, 20:-20, 10:-10]
    return np.pad(neck, ((0, 0), (600, 600), (600, 600)), constant_values=-1000)


def fill_air(hu: np.ndarray, value: int) -> np.ndarray:
    return np.where(hu > -990, hu, value)


WRONG = {
    "ten times HU": (lambda hu, outside: hu * 10.0, "below -1200: too low, or scaled"),
    "five times HU": (lambda hu, outside: hu * 5.0, "below -1200: too low, or scaled"),
    "one and a half times HU": (lambda hu, outside: hu * 1.5, "below -1200: too low, or scaled"),
    "ten times HU, cut": (lambda hu, outside: np.maximum(hu * 10.0, -1024), "shifted, scaled or inverted"),
    "500 too high": (lambda hu, outside: hu + 500, "shifted, scaled or inverted"),
    "500 too low": (lambda hu, outside: hu - 500, "below -1200"),
    "the rescale applied twice": (lambda hu, outside: hu - 1024, "below -1200"),
    "a window of soft tissue in much air": (lambda hu, outside: np.clip(in_air(hu), -160, 240), "hardly spread"),
    "a window of vessels in much air": (lambda hu, outside: np.clip(in_air(hu), -200, 600), "cut to a grey window"),
    "ten times HU in much air": (lambda hu, outside: np.maximum(in_air(hu) * 10.0, -1024), "scaled or inverted"),
    "a tenth of HU": (lambda hu, outside: hu / 10.0, "hardly spread"),
    "stored values": (lambda hu, outside: hu + 1024, "which can not be Hounsfield units"),
    "stored values with padding of -2000": (
        lambda hu, outside: np.where(outside, -2000, hu + 1024), "without their rescale",
    ),
    "stored values with padding of -1": (lambda hu, outside: np.where(outside, -1, hu + 1024), "which can not be"),
    "1000 too high": (lambda hu, outside: hu + 1000, "which can not be"),
    "inverted": (lambda hu, outside: -hu, "scaled or inverted"),
    "inverted stored values": (lambda hu, outside: 4095 - (hu + 1024) - 1024, "scaled or inverted"),
    "an 8-bit picture": (lambda hu, outside: np.clip((hu + 160) * 255 / 400, 0, 255).astype(int), "which can not be"),
    "a window of soft tissue": (lambda hu, outside: np.clip(hu, -160, 240), "hardly spread"),
    "a window of vessels": (lambda hu, outside: np.clip(hu, -200, 600), "cut to a grey window"),
    "bone cut away": (lambda hu, outside: np.clip(hu, -1024, 240), "cut to a grey window"),
    "a window stretched over the range of HU": (
        lambda hu, outside: np.clip((hu + 160) * 2048 / 400 - 1024, -1024, 1024), "cut to a grey window",
    ),
    "1000 too low": (lambda hu, outside: hu - 1000, "below -1200: too low, or scaled"),
    "0 to 1": (lambda hu, outside: np.clip((hu + 1024) / 4096, 0, 1), "which can not be"),
    "z-scores": (lambda hu, outside: (hu - hu.mean()) / hu.std(), "which can not be"),
}  # fmt: skip


@pytest.mark.parametrize("way", WRONG)
def test_values_that_are_no_hu_are_refused(neck, outside, way):
    change, words = WRONG[way]
    with pytest.raises(VolumeError, match=words) as refusal:
        from_array(change(neck.astype(float), outside), AFFINE, "a.nrrd")
    assert str(refusal.value).startswith("a.nrrd has ")
    assert "give the scan before any normalisation or conversion to grey levels." in str(refusal.value)


RIGHT = {
    "as scanned": lambda hu, outside: hu,
    "noisy": lambda hu, outside: hu + np.random.default_rng(0).normal(0, 40, hu.shape),
    "padding of -2000": lambda hu, outside: np.where(outside, -2000, hu),
    "padding of -32768": lambda hu, outside: np.where(outside, -32768, hu),
    "cut at 3071": lambda hu, outside: np.where(hu > 1500, 3071, hu),
    "a piece inside the body": lambda hu, outside: hu[10:50, 50:140, 40:110],
    "without contrast agent": lambda hu, outside: np.where((hu > 90) & (hu < 500), 40, hu),
    "much air around": lambda hu, outside: np.pad(hu, ((0, 0), (120, 120), (120, 120)), constant_values=-1000),
    "a body of a hundredth of the voxels": lambda hu, outside: in_air(hu),
    "a body of a hundredth of the voxels in padding": lambda hu, outside: np.where(
        in_air(hu) > -990, in_air(hu), -2000
    ),
    "a head of brain and skull": lambda hu, outside: np.where(
        (hu > -200) & (np.indices(hu.shape)[1] % 8 == 0), 1100, hu
    ),
}


@pytest.mark.parametrize("way", RIGHT)
def test_hu_pass(neck, outside, way):
    from_array(RIGHT[way](neck, outside), AFFINE, "a.nrrd")


@pytest.mark.skipif("CAROTID_PATIENTS" not in os.environ, reason="set CAROTID_PATIENTS to the folder of open-kbp's CTs")
def test_planning_cts_of_real_patients_pass():
    scans = sorted(Path(os.environ["CAROTID_PATIENTS"]).glob("*.nii.gz"))
    assert scans and all(read_volume(scan).array.min() >= -1024 for scan in scans)


@settings(max_examples=25, deadline=None)
@given(st.floats(3.5, 60), st.booleans())
def test_any_larger_scale_is_refused(neck, factor, inverted):
    with pytest.raises(VolumeError):
        from_array(neck[::2, ::2, ::2].astype(float) * (-factor if inverted else factor), AFFINE * [2, 2, 2, 1])
