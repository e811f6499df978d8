"""All 48 orders and directions in which the axes of one scan can be stored: the nets see the same patient."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume, read_volume, write_volume

from ..core.test_detector import scan


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same voxels in the same places, with the array's axes in another order (of i, j, k) and direction."""
    array = np.transpose(volume.array, [2 - axis for axis in reversed(order)])
    affine = volume.affine_lps.copy()
    affine[:3, :3] = volume.affine_lps[:3, :3][:, list(order)]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, 2 - axis)
    return Volume(np.ascontiguousarray(array), affine, volume.name)


def seen(volume: Volume) -> list[torch.Tensor]:
    """What the nets look at: the coarse view, where it lies, and patches at the finer scales, HU above air."""
    pyramid = Pyramid(volume, (4.0, 2.0, 1.0, 0.5), torch.device("cpu"))
    centres = torch.tensor(volume.centre_lps, dtype=torch.float32) + torch.tensor([7.3, -11.1, 15.7])
    patches = [pyramid.patches(scale, centres[None, None, None], 24) for scale in (2.0, 1.0, 0.5)]
    return [*pyramid.whole(4.0), *patches]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_and_direction_of_the_axes_on_disk_shows_the_nets_the_same(order, tmp_path):
    expected = seen(scan())
    for flips in product((False, True), repeat=3):
        file = tmp_path / "scan.nrrd"
        write_volume(stored(scan(), order, flips), file)
        for view, wanted in zip(seen(read_volume(file)), expected, strict=True):
            assert view.shape == wanted.shape
            assert (view - wanted).abs().max() < 0.01, f"axes {order}, flipped {flips}"
