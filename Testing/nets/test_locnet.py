"""Loc-Net: heatmaps, centre of mass, pooling."""

import pytest
import torch
from CarotidLandmarkLib.nets.locnet import (
    AntiAliasedPool,
    LocNet,
    StandardisedConv3d,
    _Doubling,
    _halved,
    centre_of_mass,
    doubled,
    heatmap_covariance,
    heatmap_weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def gaussian(shape, centre, sd, spacing=1.0):
    axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * spacing for n in shape]
    z, y, x = (torch.exp(-0.5 * ((a - c) / sd) ** 2) for a, c in zip(axes, centre[::-1], strict=True))
    values = z[:, None, None] * y[:, None] * x
    return values / values.sum()


@settings(max_examples=30, deadline=None)
@given(centre=st.tuples(*[st.floats(-6, 6)] * 3), spacing=st.sampled_from([0.5, 1.0, 4.0]))
def test_the_centre_of_mass_is_exact_below_a_voxel(centre, spacing):
    centre = [c * spacing for c in centre]
    weights = gaussian((30, 34, 38), centre, 1.5 * spacing, spacing)
    assert torch.allclose(centre_of_mass(weights, spacing), torch.tensor(centre, dtype=torch.float64), atol=1e-3)


def test_the_heatmaps_covariance_is_that_of_its_density():
    weights = gaussian((40, 40, 40), (1.0, -2.0, 3.0), 2.0)
    assert torch.allclose(heatmap_covariance(weights, 1.0), 4 * torch.eye(3, dtype=torch.float64), atol=0.02)
    two = 0.5 * gaussian((40, 40, 40), (6.0, 0.0, 0.0), 1.0) + 0.5 * gaussian((40, 40, 40), (-6.0, 4.0, 0.0), 1.0)
    wanted = torch.eye(3, dtype=torch.float64) + torch.tensor([[36.0, -12, 0], [-12, 4, 0], [0, 0, 0]])
    assert torch.allclose(heatmap_covariance(two, 1.0), wanted, atol=0.05)


@pytest.mark.parametrize("heatmap", ["softmax", "relu"])
def test_an_empty_heatmap_is_impossible_and_keeps_a_gradient(heatmap):
    logits = torch.full((1, 8, 8, 8), -3.0)
    logits[0, 2, 3, 4] = -2.0
    logits.requires_grad_()
    weights = heatmap_weights(logits, heatmap)
    assert torch.isfinite(weights).all()
    assert float(weights.detach().sum()) == pytest.approx(1.0, abs=1e-5)
    centre_of_mass(weights, 1.0).square().sum().backward()
    assert logits.grad.abs().sum() > 0


def test_huge_logits_do_not_overflow():
    logits = torch.zeros(1, 6, 6, 6)
    logits[0, 1, 2, 3] = 1e4
    weights = heatmap_weights(logits, "softmax")
    assert float(weights[0, 1, 2, 3]) == pytest.approx(1.0)


def test_pooling_keeps_the_centre_and_removes_what_would_alias():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32, 32)
    pooled = AntiAliasedPool()(ramp)[0, 0, 8, 8]
    assert torch.allclose(pooled[2:-2], (torch.arange(16.0) * 2 + 0.5)[2:-2])
    stripes = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 1, 32, 32, 32)
    assert AntiAliasedPool()(stripes)[0, 0, 8, 8, 2:-2].abs().max() < 1e-6


def test_a_channel_that_is_off_everywhere_can_come_back():
    torch.manual_seed(0)
    net = LocNet((4, 8), 1)
    convolution = net.encoder[1][0]
    torch.nn.init.constant_(convolution.bias, -50.0)
    net(torch.rand(1, 1, 8, 8, 8))[0].square().sum().backward()
    assert (convolution.weight.grad.flatten(1).norm(dim=1) > 0).all()


@settings(max_examples=10, deadline=None)
@given(shape=st.tuples(*[st.sampled_from([2, 4, 6])] * 3), channels=st.integers(1, 3))
def test_the_pools_gradient_is_that_of_its_values(shape, channels):
    x = torch.randn(2, channels, *shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(AntiAliasedPool(), x)


def test_a_standardised_convolution_ignores_scale_and_mean_of_its_weights():
    torch.manual_seed(0)
    conv = StandardisedConv3d(4, 6)
    x = torch.randn(1, 4, 6, 6, 6)
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    assert torch.allclose(before, conv(x), atol=1e-3)


def shift_error(pooling):
    """Mean deviation, in voxels, of an untrained net's answer when its input moves by a part of a voxel."""
    torch.manual_seed(0)
    net = LocNet((8, 16, 16, 16), 1, pooling).eval()
    deviations = []
    with torch.no_grad():
        still = net(torch.zeros(1, 1, 32, 32, 32))[0]
    for move in ((0.5, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, 1.7, 2.2)):
        places = [torch.tensor([2.0, -1.0, 3.0]), torch.tensor([2.0, -1.0, 3.0]) + torch.tensor(move)]
        answers = []
        for place in places:
            blob = gaussian((32, 32, 32), place.tolist(), 2.5).float()
            with torch.no_grad():
                inner = (net(blob[None, None] / blob.max())[0] - still)[0, 0].square()
            answers.append(centre_of_mass(inner / inner.sum(), 1.0))
        deviations.append((answers[1] - answers[0] - torch.tensor(move)).norm())
    return float(torch.stack(deviations).mean())


def test_anti_aliased_pooling_is_more_shift_equivariant_than_max_pooling():
    assert shift_error("blur") < 0.5 * shift_error("max")


@pytest.mark.parametrize("shape", [(16, 24, 40), (1, 9, 31), (13, 2, 5)])
def test_the_net_takes_any_extent(shape):
    net = LocNet((4, 8, 8, 8), 2)
    logits, features = net(torch.zeros(1, 1, *shape))
    assert logits.shape == (1, 2, *shape) and features.shape == (1, 4, *shape)


@pytest.mark.parametrize("pooling", ["blur", "max"])
def test_an_odd_extent_changes_nothing_far_from_its_end(pooling):
    torch.manual_seed(0)
    net, x = LocNet((4, 8, 8), 1, pooling), torch.rand(1, 1, 8, 10, 72)
    whole, odd = (net(part)[0][..., :30] for part in (x, x[..., :69]))
    assert torch.allclose(whole, odd, atol=1e-5)
    assert not torch.allclose(net(x)[0][..., :69], net(x[..., :69])[0], atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2, 2, 4, 6), (1, 1, 2, 2, 2)])
def test_what_a_gpu_adds_up_is_the_pooling_and_the_up_sampling_of_a_cpu(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(_halved(x, zeros_around=True), AntiAliasedPool()(x))
    torch.testing.assert_close(_Doubling.apply(x), doubled(x))
    assert torch.autograd.gradcheck(_Doubling.apply, x)
    assert torch.autograd.gradcheck(AntiAliasedPool(), x)
