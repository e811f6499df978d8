"""Unseen necks for validation: rendered where the chain looks, which may be anywhere."""

import pytest
import torch
from carotid_training.batches.unseen import UnseenNecks
from carotid_training.necks.styles import Styles
from carotid_training.training.module import ChainModule
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec

SIDES = (
    LandmarkSpec("left_carotid_bifurcation", "L", "right_carotid_bifurcation"),
    LandmarkSpec("right_carotid_bifurcation", "R", "left_carotid_bifurcation"),
)


@pytest.fixture(scope="module")
def scan():
    return UnseenNecks(2, 0, Styles(), ["sculpted"])[1]


def test_a_patch_shows_what_the_whole_scan_shows_there(scan):
    whole, middle = scan.whole(4.0)
    k, j, i = (n // 2 for n in whole.shape[2:])
    # Both lattices have even sizes and the same middle, so their voxels coincide.
    patch = scan.patches(4.0, middle[:, None, None].expand(1, 2, 1, 3), 24)[0, 0, 0, 0]
    crop = whole[0, 0, k - 12 : k + 12, j - 12 : j + 12, i - 12 : i + 12]
    assert torch.corrcoef(torch.stack([patch.flatten(), crop.flatten()]))[0, 1] > 0.98


def test_a_training_measures_itself_on_patients_like_those_of_a_cohort():
    class Every(Styles):
        available = property(lambda self: ["sculpted", "recoloured"])

    assert UnseenNecks(1, 0, Every(), ["recoloured", "sculpted"]).names == ["sculpted"]
    necks = UnseenNecks(6, 0, Styles(), ["sculpted"])
    assert not any(necks[n].view.sample.neck.facts["wild"] for n in range(6))


def test_the_chain_looks_where_it_points_and_is_not_led_back_to_the_truth(scan):
    chain = ChainModule(Architecture(SIDES, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24)), seed=3)
    with torch.no_grad():
        outputs, presence = chain.predict(scan)
    assert presence.shape == (1, 2)
    coarse, middle, searched, last = outputs
    assert torch.equal(middle.centre_lps, coarse.position_lps) and torch.equal(last.centre_lps, searched.position_lps)
    with torch.no_grad():
        alone, _ = chain.net.search(scan)
    assert torch.equal(searched.position_lps, alone[-1].position_lps)
    error = (outputs[-1].position_lps[:, :, 0] - scan.landmarks_lps).norm(dim=-1)
    assert error.max() > 20  # an untrained net


def test_every_finer_net_is_measured_where_its_patch_holds_the_landmark(scan):
    chain = ChainModule(Architecture(SIDES, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24)), seed=3)
    with torch.no_grad():
        near, again = chain.near_truth(scan), chain.near_truth(scan)
    assert [output.scale_mm for output in near] == [2.0, 1.0, 0.5]
    for output, same in zip(near, again, strict=True):
        off = (output.centre_lps - scan.landmarks_lps[:, :, None]).abs() / output.scale_mm
        assert 1 < off.max() < 24 / 4  # off the middle, and well inside
        assert torch.equal(output.position_lps, same.position_lps)  # every validation sees the same patches
