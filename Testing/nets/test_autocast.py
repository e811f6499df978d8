"""bfloat16 is for convolutions alone: under autocast scans are seen, and landmarks placed, as in float32."""

from __future__ import annotations

import pytest
import torch
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.nets.roll import roll_degrees, turn
from CarotidLandmarkLib.nets.search import seek
from CarotidLandmarkLib.volume import Volume

from ..autocast import exact_nets, in_both
from .untrained import small_net, textured_scan

FAR_LPS = torch.tensor([171.3, -212.7, -1130.4], dtype=torch.float64)


@pytest.fixture
def scan() -> Volume:
    """Turned, and as far from the origin as scanners put a neck."""
    volume = textured_scan()
    moved = turn(torch.zeros(3, dtype=torch.float64), 11.0).numpy() @ volume.affine_lps
    moved[:3, 3] += FAR_LPS.numpy()
    return Volume(volume.array, moved)


def test_patches_and_the_whole_scan_show_what_they_show_in_float32(scan):
    pyramid = Pyramid(scan, (4.0, 2.0, 1.0, 0.5))
    centres = torch.tensor(scan.centre_lps).float() + torch.tensor([[[[3.3, -4.1, 2.7]], [[-9.2, 1.4, 0.3]]]])
    looks = [lambda s=s: pyramid.patches(s, centres, 24) for s in pyramid.scales_mm]
    for look in (*looks, lambda: pyramid.whole(4.0)[0]):
        plain, under_autocast = in_both(look)
        assert torch.equal(plain, under_autocast)


def test_the_roll_is_that_of_float32(scan):
    plain, under_autocast = in_both(lambda: roll_degrees(Pyramid(scan, (4.0, 2.0))))
    assert plain == under_autocast


def test_the_chain_and_its_search_end_where_they_do_in_float32(scan, monkeypatch):
    exact_nets(monkeypatch)
    net = small_net().eval()
    pyramid = Pyramid(scan, net.architecture.scales_mm)

    def found() -> torch.Tensor:
        result = seek(net, pyramid, lambda words, share: None)
        last = net.finer(result.view, len(net.nets) - 1, result.outputs[-1].position_lps)
        return torch.stack([out.position_lps for out in (*result.outputs, *net(pyramid), last)])

    plain, under_autocast = in_both(found)
    assert torch.equal(plain, under_autocast)
