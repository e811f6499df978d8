"""The analysis of a background: spine, airway, tissue classes, in any orientation, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from carotid_training.necks.tissue.background import BONE, FAT, OUTSIDE, SOFT, Background
from CarotidLandmarkLib.volume import Volume, VolumeError

from .drawn_ct import LEVEL_MM, class_at, hu_at, synthetic_ct


def test_spine_canal_foramina_airway_and_metal_of_a_drawn_neck_are_found(background):
    heights = background.levels[1:6, 2]
    assert np.allclose(heights, LEVEL_MM * np.arange(2, -3, -1), atol=2.5)
    assert np.abs(background.levels[1:6, :2]).max() < 2.5
    lower = background.canal[background.canal[:, 2] < 40]
    assert np.abs(lower[:, :2] - [0, 16]).max() < 2.5
    for side, sign in ((0, 1), (1, -1)):
        assert np.abs(background.foramina[side][:, :2] - [sign * 15.5, 9]).max() < 2.0
    assert np.abs(background.airway[:, :2] - [0, -28]).max() < 2.5
    assert background.metal.shape == (1, 4)
    assert np.abs(background.metal[0] - [30, -55, 20, 4]).max() < 2.5


def test_classes_and_clearance_follow_the_drawing(background):
    points = torch.tensor([[0.0, 0, 0], [45, 20, 0], [0, -28, 0], [72, 75, 0], [0, 66.5, 0]])
    bone, muscle, airway, outside, fat = class_at(background, points).tolist()
    assert (bone, muscle, outside, fat) == (BONE, SOFT, OUTSIDE, FAT)
    clearance = torch.nn.functional.grid_sample(
        background.on("cpu", "clearance"), background.normalised(points)[None, None, None], align_corners=False
    ).flatten()
    assert clearance[0] < 0 and clearance[2] < 0 and clearance[3] < 0
    assert clearance[1] > 5
    assert airway not in (SOFT, BONE, OUTSIDE)


def test_any_orientation_of_the_scan_gives_the_same_background(background):
    volume, order = synthetic_ct(), (2, 0, 1)
    array = np.transpose(volume.array, order)[::-1, :, ::-1]
    columns = volume.affine_lps[:3, :3][:, ::-1][:, list(order)][
        :, ::-1
    ].copy()  # columns of i, j, k after the transpose
    shape = np.array(array.shape[::-1])
    origin = volume.affine_lps[:3, 3].copy()
    for axis, flipped in enumerate((True, False, True)):
        if flipped:
            origin += columns[:, axis] * (shape[axis] - 1)
            columns[:, axis] *= -1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, origin
    turned = Background.prepare(Volume(np.ascontiguousarray(array), affine))
    # The middle of C4 is found to half a cell of 1.5 mm; the tooth tells where the rest must be.
    offset = turned.metal[0, :3] - background.metal[0, :3]
    assert np.abs(offset).max() < 1.6
    assert np.abs(turned.levels - background.levels)[1:].max() < 1.6
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 80 - 40
    assert torch.allclose(hu_at(turned, points + torch.from_numpy(offset)), hu_at(background, points), atol=1.5)


def test_what_is_no_head_and_neck_ct_is_refused_with_one_sentence():
    neck_only = synthetic_ct()
    neck_only = Volume(neck_only.array[:60], neck_only.affine_lps)
    noise = np.random.default_rng(0).normal(40, 30, (40, 64, 64)).astype(np.float32)
    for volume in (
        neck_only,
        Volume(np.full((40, 64, 64), -1000, np.int16), np.eye(4)),
        Volume(noise, np.diag([3, 3, 3, 1.0])),
    ):
        with pytest.raises(VolumeError) as caught:
            Background.prepare(volume)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_saved_background_comes_back_whole_and_without_simpleitk(background, tmp_path):
    background.save(tmp_path / "background.npz")
    back = Background.load(tmp_path / "background.npz")
    for name in ("hu", "classes", "clearance", "levels", "foramina", "metal", "origin", "spacing"):
        assert np.array_equal(getattr(back, name), getattr(background, name))
    code = (
        "import sys; from carotid_training.necks.tissue.background import Background;"
        f"Background.load({str(tmp_path / 'background.npz')!r}); assert 'SimpleITK' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / "other.npz").write_bytes(b"no background")
    with pytest.raises(VolumeError, match=r"other\.npz is not a prepared background"):
        Background.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Background.load(tmp_path / "gone.npz")


def test_the_real_ct_is_understood(real_background):
    levels = real_background.levels
    assert np.all((-np.diff(levels[1:, 2]) > 11) & (-np.diff(levels[1:, 2]) < 22))
    inside = levels[1:6][levels[1:6, 2] > real_background.lower]
    bodies = class_at(real_background, torch.from_numpy(inside))
    assert (bodies == BONE).float().mean() > 0.7
    canal = class_at(real_background, torch.from_numpy(real_background.canal))
    assert (canal == SOFT).float().mean() > 0.8
    apart = real_background.foramina[0][:, 0] - real_background.foramina[1][:, 0]
    assert 24 < apart.mean() < 42
