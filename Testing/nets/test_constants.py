"""Constants that were measured: a change of one is a decision, not a slip."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from CarotidLandmarkLib.nets import search


class Peaks:
    """A net that searches and whose peaks in the enlarged scan lead by so much."""

    architecture = SimpleNamespace(searches=True)

    def __init__(self, lead: float) -> None:
        self.lead = lead

    def search(self, view: SimpleNamespace) -> tuple[list[SimpleNamespace], None]:
        return [SimpleNamespace(peak=torch.tensor([[5.0, 7.0]]) + (self.lead if view.large else 0.0))], None


def view(voxels_at_the_coarsest_scale: float, neck_mm2: float = 5000.0) -> SimpleNamespace:
    """What `seek` asks of a pyramid."""
    column = torch.full((3, 1, 1), 1064.0)  # three slices of one voxel of soft tissue, HU above air
    side = neck_mm2**0.5
    level = SimpleNamespace(values=column, affine_lps=torch.diag(torch.tensor([side, side, 4.0, 1.0])))
    return SimpleNamespace(
        large=False,
        volume=None,
        size_ijk=torch.tensor([voxels_at_the_coarsest_scale, 1.0, 1.0]),
        affine_lps=torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0])),
        scales_mm=(4.0,),
        levels={4.0: level},
        size=1.0,
        enlarged=lambda size: SimpleNamespace(large=True, size=size),
        brightened=lambda contrast: SimpleNamespace(large=False, size=1.0),
    )


@pytest.fixture(autouse=True)
def everyone_lies_upright_in_a_quiet_scan(monkeypatch):
    monkeypatch.setattr(search, "roll_to_undo", lambda pyramid: 0.0)
    monkeypatch.setattr(search, "noise_hu", lambda volume: 20.0)


@pytest.mark.parametrize(("noise", "finest_mm"), [(44.0, None), (46.0, 1.8)])
def test_a_scan_of_more_than_45_hu_of_noise_is_blurred_by_0_8_mm(monkeypatch, noise, finest_mm):
    monkeypatch.setattr(search, "noise_hu", lambda volume: noise)
    scan, asked = view(1000.0, 9000.0), []
    scan.smoothed = lambda finest_mm: asked.append(finest_mm) or scan
    search.seek(Peaks(0.0), scan, lambda words, share: None)
    assert asked == ([] if finest_mm is None else [finest_mm])


@pytest.mark.parametrize(("lead", "size"), [(-0.05, 1.0), (0.0, 1.0), (0.05, 1.5)])
def test_the_enlarged_scan_needs_the_higher_peaks(lead, size):
    assert search.seek(Peaks(lead), view(1000.0), lambda words, share: None).view.size == size


@pytest.mark.parametrize(("voxels", "size"), [(590_000.0, 1.5), (595_000.0, 1.0)])
def test_a_scan_is_enlarged_up_to_two_million_voxels_afterwards(voxels, size):
    assert search.seek(Peaks(9.0), view(voxels), lambda words, share: None).view.size == size


@pytest.mark.parametrize(("neck_mm2", "size"), [(7900.0, 1.5), (8100.0, 1.0)])
def test_a_body_of_more_than_eighty_square_centimetres_is_no_childs(neck_mm2, size):
    assert search.seek(Peaks(9.0), view(1000.0, neck_mm2), lambda words, share: None).view.size == size
