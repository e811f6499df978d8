"""How noisy a scan is, whatever its voxels, and that more noise than the nets know is smoothed."""

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets import search as seeking
from CarotidLandmarkLib.nets.noise import noise_hu
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st

from .untrained import small_net

SCALES = (4.0, 2.0, 1.0, 0.5)


def body(sd, spacing=(0.5, 0.5, 1.0), shape=(40, 160, 160), seed=0, tissue=50.0):
    """A cylinder of muscle with bone and contrast in it, in air; white noise everywhere."""
    _, j, i = np.indices(shape)
    away = np.hypot(j - shape[1] / 2, i - shape[2] / 2) / (shape[1] / 2)
    hu = np.where(away < 0.9, tissue, -1000.0)
    hu[:, 40:60, 40:60], hu[:, 100:108, 100:108] = 900.0, 300.0
    hu += np.random.default_rng(seed).normal(0, sd, shape)
    return Volume(hu.round().clip(-1024, 3071).astype(np.int16), np.diag([*spacing, 1.0]))


@settings(max_examples=20, deadline=None)
@given(sd=st.floats(8, 100), in_plane=st.floats(0.3, 1.0), thickness=st.floats(0.4, 5.0), seed=st.integers(0, 99))
def test_the_noise_of_soft_tissue_is_measured_whatever_the_voxels(sd, in_plane, thickness, seed):
    measured = noise_hu(body(sd, (in_plane, in_plane, thickness), seed=seed))
    assert 0.75 * sd < measured < 1.1 * sd


@pytest.mark.parametrize(
    "volume",
    [body(0.0), body(30.0, tissue=-1000.0), body(30.0, shape=(4, 5, 5)), body(30.0, shape=(1, 1, 400))],
    ids=["none", "no tissue", "too small", "a line"],
)
def test_a_scan_that_does_not_tell_is_taken_for_quiet(volume):
    assert noise_hu(volume) == 0.0


@pytest.mark.parametrize(("sd", "smoothed"), [(30.0, False), (80.0, True)])
def test_a_scan_with_more_noise_than_training_has_is_searched_smoothed(sd, smoothed):
    pyramid = Pyramid(body(sd, (0.6, 0.6, 2.0)), SCALES)
    with torch.no_grad():
        result = seeking.seek(small_net(), pyramid, lambda words, share: None)
    views = (result, *result.others)
    assert {each.view.finest_mm for each in views} == {seeking.SMOOTH_MM if smoothed else 0.0}
    assert {each.noise_hu > seeking.NOISY_HU for each in views} == {smoothed} and (result.noise_hu > 0) is smoothed


def test_a_smoothed_patch_has_less_noise_and_the_same_mean_at_the_same_place():
    pyramid = Pyramid(body(80.0, (0.5, 0.5, 0.5), shape=(80, 160, 160)), SCALES)
    centres = torch.tensor([[[[40.0, 40.0, 20.0]]]])
    for scale, share in ((1.0, 0.6), (0.5, 0.25)):
        sharp, soft = (view.patches(scale, centres, 16) for view in (pyramid, pyramid.smoothed(seeking.SMOOTH_MM)))
        assert float(soft.std()) < share * float(sharp.std())
        assert float(soft.mean()) == pytest.approx(float(sharp.mean()), abs=6)
    assert torch.equal(pyramid.whole(4.0)[0], pyramid.smoothed(seeking.SMOOTH_MM).whole(4.0)[0])
