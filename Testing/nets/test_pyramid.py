"""The low-passed view of a scan and the differentiable crop."""

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets.pyramid import AIR_HU, Level, Pyramid, sample_lattice
from CarotidLandmarkLib.volume import Volume
from hypothesis import example, given, settings
from hypothesis import strategies as st

SCALES = (4.0, 2.0, 1.0, 0.5)


def rotation(degrees):
    a, b, c = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


def blob_volume(direction, spacing=(0.9, 0.9, 1.4), size=(70, 64, 52), middle=(12.0, -30.0, 400.0)):
    """A scan of a smooth object that is a function of the LPS point: two blobs and a slope."""
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(spacing)
    affine[:3, 3] = np.array(middle) - affine[:3, :3] @ ((np.array(size) - 1) / 2)
    k, j, i = np.meshgrid(*(np.arange(n) for n in size[::-1]), indexing="ij")
    points = np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume(scene(points, middle).astype(np.float32), affine)


def scene(points, middle):
    p = points - np.array(middle)
    one = 800 * np.exp(-0.5 * np.sum((p - [6, 2, -3]) ** 2, -1) / 8**2)
    two = 500 * np.exp(-0.5 * np.sum((p - [-8, -5, -4]) ** 2, -1) / 6**2)
    return one + two + 2 * p[..., 0]


@settings(max_examples=12, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-25, 25)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    order=st.permutations([0, 1, 2]),
    scale=st.sampled_from([2.0, 1.0, 0.5]),
)
def test_a_patch_does_not_depend_on_how_the_scan_is_stored(degrees, flips, order, scale):
    middle = (12.0, -30.0, 400.0)
    centre = torch.tensor([[[middle]]]) + 1.3
    size = 12
    straight = Pyramid(blob_volume(np.eye(3)), SCALES).patches(scale, centre, size)
    direction = rotation(degrees)[:, order] * np.array(flips)
    turned = Pyramid(blob_volume(direction), SCALES).patches(scale, centre, size)
    assert (straight - turned).abs().max() < 12  # of 1000 HU; the scan's own voxels differ


def test_a_patch_shows_the_scan_where_it_lies():
    middle = (12.0, -30.0, 400.0)
    pyramid = Pyramid(blob_volume(np.eye(3), spacing=(0.5, 0.5, 0.5), size=(120, 120, 120)), SCALES)
    patch = pyramid.patches(1.0, torch.tensor([[[middle]]]) + 2.25, 9)[0, 0, 0, 0] + AIR_HU
    offsets = np.arange(9) - 4.0
    z, y, x = np.meshgrid(offsets, offsets, offsets, indexing="ij")
    wanted = scene(np.stack([x, y, z], -1) + np.array(middle) + 2.25, middle)
    assert np.abs(patch.numpy() - wanted).max() < 6


@settings(max_examples=10, deadline=None)
@given(shift=st.tuples(*[st.floats(-4, 4)] * 3), degrees=st.tuples(*[st.floats(-20, 20)] * 3))
def test_the_gradient_with_respect_to_the_centre_agrees_with_finite_differences(shift, degrees):
    generator = torch.Generator().manual_seed(1)
    k, j, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (28, 32, 36)), indexing="ij")
    values = torch.exp(-0.5 * (((k - 3) / 26) ** 2 + ((j - 5) / 27) ** 2 + ((i - 4) / 28) ** 2))[None, None]
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.as_tensor(rotation(degrees) * 1.1)
    affine[:3, 3] = torch.tensor([-20.0, -18.0, -15.0])
    weights = torch.rand((6, 6, 6), generator=generator, dtype=torch.float64)

    def answer(centre):
        return (sample_lattice(values, affine[None], centre, 1.0, (6, 6, 6)) * weights).sum()

    centre = torch.tensor([[shift]], dtype=torch.float64, requires_grad=True)
    answer(centre).backward()
    for axis in range(3):
        step = torch.zeros_like(centre)
        step[..., axis] = 1e-2
        numeric = (answer(centre.detach() + step) - answer(centre.detach() - step)) / 2e-2
        assert float(centre.grad[0, 0, axis]) == pytest.approx(float(numeric), rel=0.03, abs=0.03)


def test_outside_the_scan_is_air():
    pyramid = Pyramid(blob_volume(np.eye(3)), SCALES)
    for scale in SCALES[1:]:
        assert pyramid.patches(scale, torch.tensor([[[[3000.0, 0.0, 0.0]]]]), 8).abs().max() == 0


@pytest.mark.parametrize("scale", SCALES)
def test_detail_finer_than_the_patch_does_not_alias(scale):
    """A grating of a period of 1.2 patch voxels must vanish; skipping voxels would turn it into a coarse pattern."""
    spacing = scale / 6
    n = 240 if scale < 4 else 120
    x = np.arange(n) * spacing
    row = (500 * np.sin(2 * np.pi * x / (1.2 * scale))).astype(np.float32)
    array = np.broadcast_to(row, (40, 40, n)).copy()
    level = Level.of_scan(torch.from_numpy(array), torch.diag(torch.tensor([spacing, spacing, spacing, 1.0])).double())
    reduced = level.reduced(scale)
    centre = torch.tensor([[x.mean(), 20 * spacing, 20 * spacing]], dtype=torch.float32)
    patch = reduced.patches(centre, scale, (1, 1, 9))
    assert patch.abs().max() < 0.1 * 500


def test_reduction_neither_shifts_nor_scales_what_it_sees():
    """A slope stays the same slope, to its ends but for the outermost millimetres."""
    i = torch.arange(101.0).expand(30, 30, 101).contiguous()
    reduced = Level.of_scan(i, torch.diag(torch.tensor([0.5, 0.5, 0.5, 1.0])).double()).reduced(2.0)
    x = reduced.affine_lps[0, 3] + reduced.affine_lps[0, 0] * torch.arange(reduced.values.shape[2])
    assert (reduced.values[5, 5] - 2 * x)[3:-3].abs().max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(0.3, 3)] * 2, st.floats(0.02, 4)), st.integers(1, 70))
@example((0.4, 0.5, 0.4), 53)
@example((0.7, 0.7, 0.04), 61)  # 25 slices become one, more than a slab has
def test_slabs_and_strips_add_up_to_the_scan_reduced_in_one_piece(spacing, slices):
    pyramid = Pyramid(blob_volume(rotation((10, -20, 15)), spacing, size=(35, 27, slices)), SCALES)
    scan = torch.as_tensor(pyramid.volume.array).sub(AIR_HU).clamp(min=0)
    wanted = Level.of_scan(scan, pyramid.affine_lps).reduced(2.0)
    level = pyramid.levels[2.0]
    assert torch.allclose(level.values, wanted.values, atol=0.01) and level.sigma_mm == pytest.approx(wanted.sigma_mm)
    assert torch.allclose(level.affine_lps, wanted.affine_lps)


def test_the_whole_scan_is_on_the_coarse_lattice_whatever_its_orientation():
    volume = blob_volume(rotation((10, -20, 15))[:, [2, 0, 1]])
    values, centre = Pyramid(volume, SCALES).whole(4.0)
    size = np.array(values.shape[:1:-1])
    corners = np.array([[i, j, k] for i in (-0.5, 69.5) for j in (-0.5, 63.5) for k in (-0.5, 51.5)])
    beyond = size * 2.0 - np.abs(volume.to_lps(corners) - centre.numpy()).max(axis=0)
    assert np.all(beyond >= -1e-3) and np.all(beyond < 2.0)
    rounded, same = Pyramid(volume, SCALES).whole(4.0, multiple=8)
    assert rounded.shape[:1:-1] == tuple(8 * -(-size // 8)) and torch.equal(centre, same)


def test_a_scan_seen_through_a_transform_is_the_moved_scan():
    volume = blob_volume(np.eye(3))
    pyramid = Pyramid(volume, SCALES)
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = torch.as_tensor(rotation((5, 10, -30))) * torch.tensor([-1.0, 1.0, 1.0])
    point = torch.tensor([14.0, -28.0, 398.0], dtype=torch.float64)
    moved = transform[:3, :3] @ point
    for scale in (2.0, 0.5):
        here = pyramid.patches(scale, point.float()[None, None, None], 3)[0, 0, 0, 0, 1, 1, 1]
        there = pyramid.seen_through(transform).patches(scale, moved.float()[None, None, None], 3)[0, 0, 0, 0, 1, 1, 1]
        assert float(here) == pytest.approx(float(there), abs=0.5)


def test_statistics_read_hu_in_a_sphere():
    array = np.full((60, 60, 60), -1000, np.int16)
    array[28:33, 28:33, 28:33] = 300
    values = Pyramid(Volume(array, np.eye(4)), SCALES).statistics(torch.tensor([30.0, 30.0, 30.0]), 1.5)
    assert float(values.max()) == pytest.approx(300, abs=30)
    far = Pyramid(Volume(array, np.eye(4)), SCALES).statistics(torch.tensor([10.0, 10.0, 10.0]), 3.0)
    assert float(far.max()) == pytest.approx(-1000, abs=1)


def test_looking_at_a_scan_does_not_change_it():
    volume = blob_volume(np.eye(3))
    before = volume.array.copy()
    pyramid = Pyramid(volume, SCALES)
    pyramid.patches(0.5, torch.tensor([[[[12.0, -30.0, 400.0]]]]), 8)
    assert np.array_equal(volume.array, before)
