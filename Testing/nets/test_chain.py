"""The chain of Loc-Nets: gradients end to end, noise, mirrored sides, orientation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.bundle import Architecture, BundleError, LandmarkSpec, default_bundle
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet, strongest_mode
from CarotidLandmarkLib.nets.pairs import beside_counterparts
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume

from .untrained import SIDES, small_net, textured_scan


def positions(net, volume):
    with torch.no_grad():
        return [out.position_lps[0, :, 0] for out in net(Pyramid(volume, net.architecture.scales_mm))]


@pytest.mark.parametrize(
    ("landmarks", "says"),
    [
        ([("left_a", "right_b"), ("right_a", "left_a")], "mirror of left_a is no landmark of the set: right_b"),
        ([("left_a", "right_a"), ("right_a", "right_a")], "mirror of left_a is right_a, whose own mirror is another"),
        ([("basilar_tip", "basilar_tip")] * 2, "same name"),
    ],
    ids=["misspelt mirror", "one-sided mirror", "the same twice"],
)
def test_landmarks_that_do_not_belong_to_each_other_are_refused(landmarks, says):
    with pytest.raises(ValueError, match=says):
        Architecture(tuple(LandmarkSpec(name, name, mirror) for name, mirror in landmarks))


@pytest.mark.parametrize(
    "options",
    [{"scales_mm": (np.inf, 2.0, 1.0, 0.5)}, {"scales_mm": (4.0, 2.0, 1.0, 1e-9)},
     {"scales_mm": (4.0,), "widths": ((8,),), "patch_sizes": ()}, {"hu_window": (-np.inf, np.inf)},
     {"noise_mm": np.nan}, {"mode_window_mm": np.inf}, {"patch_sizes": (1, 1, 1)}, {"patch_sizes": (10**9,) * 3},
     {"widths": ((10**20,),) * 4}, {"convolutions": 10**9}],
    ids=str,
)  # fmt: skip
def test_an_architecture_that_no_machine_can_run_is_refused(options):
    with pytest.raises(ValueError, match=f"No nets can be made of this architecture: {next(iter(options))} must"):
        Architecture(**options)


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ({"nope": 1}, "nets have no nope"),
        ({"convolutions": "2"}, "convolutions is not a whole number"),
        ({"convolutions": 10**9}, "convolutions must be 1 to 16"),
    ],
)
def test_a_bundle_of_nets_that_are_none_of_ours_is_refused_in_a_sentence(architecture, says):
    with pytest.raises(BundleError, match=f"The model bundle carotid-small is none that .*{says}.*; get a bundle"):
        replace(default_bundle().metadata, architecture=architecture).nets()


def test_one_loss_on_the_finest_answer_trains_all_four_nets():
    net = small_net(mode_window_mm=None).train()
    outputs = net(Pyramid(textured_scan(), net.architecture.scales_mm))
    outputs[-1].position_lps.square().sum().backward()
    for scale, locnet in enumerate(net.nets):
        assert locnet.encoder[0][0].weight.grad.abs().sum() > 0, f"scale {scale} gets no gradient"


def test_every_answer_is_in_patient_millimetres_and_follows_the_scan():
    net, volume = small_net(), textured_scan()
    moved = Volume(volume.array, volume.affine_lps.copy())
    moved.affine_lps[:3, 3] += [512.0, -256.0, 1024.0]
    for here, there in zip(positions(net, volume), positions(net, moved), strict=True):
        assert torch.allclose(here + torch.tensor([512.0, -256.0, 1024.0]), there, atol=1e-2)


def test_a_mirrored_scan_gives_mirrored_answers_with_the_sides_exchanged():
    net, volume = small_net(), textured_scan()
    mirrored = Volume(volume.array[:, :, ::-1].copy(), volume.affine_lps)  # its affine is symmetric about x = 0
    for here, there in zip(positions(net, volume), positions(net, mirrored), strict=True):
        assert torch.allclose(here * torch.tensor([-1.0, 1.0, 1.0]), there[[1, 0]], atol=1e-2)


def test_a_mirrored_scan_gives_mirrored_covariances_with_the_sides_exchanged():
    net, volume = small_net(), textured_scan()
    mirrored = Volume(volume.array[:, :, ::-1].copy(), volume.affine_lps)
    with torch.no_grad():
        here, there = (
            net.coarsest(Pyramid(seen, net.architecture.scales_mm)).covariance_mm2[0, :, 0]
            for seen in (volume, mirrored)
        )
    signs = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
    assert here[:, 0, 2].abs().min() > 1  # or there would be nothing to mirror
    assert torch.allclose(here * signs, there[[1, 0]], atol=0.05)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_and_direction_of_the_stored_axes_do_not_matter(order):
    net, volume = small_net(), textured_scan()
    wanted = positions(net, volume)
    flips = [axis for axis in range(3) if (sum(order[:2]) + axis) % 2]
    array = np.flip(volume.array.transpose(order), flips)
    columns = volume.affine_lps[:, [2, 1, 0]][:, list(order)].copy()
    origin = volume.affine_lps[:, 3].copy()
    for axis in flips:
        origin += columns[:, axis] * (array.shape[axis] - 1)
        columns[:, axis] *= -1
    stored = Volume(np.ascontiguousarray(array), np.column_stack([columns[:, ::-1], origin]))
    for here, there in zip(wanted, positions(net, stored), strict=True):
        assert torch.allclose(here, there, atol=0.05)


def test_noise_moves_the_last_crop_only():
    net, volume = small_net(), textured_scan()
    noise = torch.tensor([[[[3.0, 0, 0], [-3.0, 0, 0]], [[0.0, 3, 0], [0.0, -3, 0]]]])
    pyramid = Pyramid(volume, net.architecture.scales_mm)
    with torch.no_grad():
        plain, noisy = net(pyramid), net(pyramid, noise)
    assert torch.equal(plain[2].position_lps, noisy[2].position_lps)
    assert torch.allclose(noisy[3].centre_lps, plain[2].position_lps + noise)
    assert noisy[3].position_lps.shape == (1, 2, 2, 3)


def test_landmarks_are_data():
    three = (LandmarkSpec("hyoid", "H", "hyoid"), *SIDES)
    torch.manual_seed(0)
    net = MultiScaleLocNet(Architecture(three, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24)))
    assert net.channel == [0, 1, 1] and net.flipped == [False, False, True]
    outputs = net(Pyramid(textured_scan(), net.architecture.scales_mm))
    assert outputs[-1].position_lps.shape == (1, 3, 1, 3)
    assert net.presence_logit(outputs).shape == (1, 3)


def test_without_mirroring_each_side_has_its_own_heatmap():
    net = small_net(mirrored=False)
    assert net.channel == [0, 1] and net.flipped == [False, False]


def test_the_strongest_mode_is_the_heaviest_place_and_nothing_far_from_it():
    weights = torch.zeros(1, 1, 1, 40, 40, 40)
    weights[..., 10, 12, 14] = 0.2
    weights[..., 11, 12, 14] = 0.2
    weights[..., 30, 30, 30] = 0.3  # the highest voxel, but alone
    weights[..., 30, 30, 31] = 0.05
    mask = strongest_mode(weights, 4.0, 24.0)
    assert float((weights * mask).sum()) == pytest.approx(0.4)


def test_the_scale_before_the_last_looks_twice_from_every_candidate_and_keeps_its_surest_look():
    net = small_net()
    pyramid = Pyramid(textured_scan(), net.architecture.scales_mm)
    with torch.no_grad():
        outputs, looks = net.search(pyramid)
        starts = torch.cat([outputs[1].position_lps, net.modes(outputs[0], 16.0)[:, :, 1:]], dim=2)
        first = net.finer(pyramid, 2, starts)
    assert [seen.scale_mm for seen in outputs] == [4.0, 2.0, 1.0]
    assert torch.equal(looks.centre_lps, first.position_lps)
    highest = looks.logits.flatten(-3).amax(-1)
    assert torch.equal(looks.peak, beside_counterparts(looks.position_lps, highest, SIDES))
    for landmark in range(2):
        best = int(looks.peak[0, landmark].argmax())
        assert torch.equal(outputs[2].position_lps[0, landmark, 0], looks.position_lps[0, landmark, best])
        assert torch.equal(outputs[2].logits[0, landmark, 0], looks.logits[0, landmark, best])


def test_the_modes_of_a_heatmap_come_strongest_first_and_in_patient_space_on_both_sides():
    net = small_net()
    with torch.no_grad():
        seen = net.coarsest(Pyramid(textured_scan(), net.architecture.scales_mm))
    places = [(8, 8, 8), (8, 20, 12)]
    logits = torch.full_like(seen.logits, -20.0)
    for strength, (k, j, i) in zip((10.0, 9.0), places, strict=True):
        logits[..., k, j, i] = strength
    wanted = []
    for flip in net.flipped:
        k, j, i = (torch.tensor(places) - (torch.tensor(logits.shape[3:]) - 1) / 2).unbind(1)
        wanted.append(seen.centre_lps[0, 0] + 4 * torch.stack([-i if flip else i, j, k], dim=1))
    modes = net.modes(replace(seen, logits=logits, position_lps=torch.stack(wanted)[None, :, :1]), 16.0)
    torch.testing.assert_close(modes, torch.stack(wanted)[None], atol=1e-3, rtol=0)


@pytest.mark.parametrize("window_mm", [16.0, None])
def test_a_search_goes_on_from_what_the_plain_chain_has_seen_without_looking_twice(window_mm, monkeypatch):
    net = small_net(mode_window_mm=window_mm)
    pyramid = Pyramid(textured_scan(), net.architecture.scales_mm)
    with torch.no_grad():
        plain, (outputs, looks) = net(pyramid), net.search(pyramid)
        monkeypatch.delattr(net.__class__, "coarsest")
        again, same = net.search(pyramid, plain)
    for seen, before in zip([*again, same], [*outputs, looks], strict=True):
        assert torch.equal(seen.position_lps, before.position_lps)


def test_a_chain_of_two_scales_searches_with_its_coarsest_alone():
    net = small_net(scales_mm=(4.0, 2.0), widths=((4, 8, 8),) * 2, patch_sizes=(24,))
    pyramid = Pyramid(textured_scan(), net.architecture.scales_mm)
    with torch.no_grad():
        outputs, looks = net.search(pyramid)
        assert torch.equal(outputs[0].position_lps, net.coarsest(pyramid).position_lps)
    assert len(outputs) == 1 and torch.equal(looks.position_lps, outputs[0].position_lps)


def test_the_papers_nets_search_as_a_plain_chain():
    net = small_net(mode_window_mm=None)
    pyramid = Pyramid(textured_scan(), net.architecture.scales_mm)
    with torch.no_grad():
        outputs, looks = net.search(pyramid)
        chain = net(pyramid)
    for seen, plain in zip([*outputs[:2], looks], chain, strict=False):
        assert torch.equal(seen.position_lps, plain.position_lps)
