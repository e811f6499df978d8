"""Under autocast a training's truth and crops stay where they are: bfloat16 knows 1130 mm to within 4 mm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from carotid_training.training.augment import Augmentation, draw_affines, move_truth
from carotid_training.training.view import BatchView

from ...autocast import exact_nets, in_both
from ..ball_training import module
from ..balls import batch_of_balls

FAR_LPS = torch.tensor([171.3, -212.7, -1130.4])


@pytest.fixture
def batch():
    """Balls as far from the origin as scanners put a neck."""
    near = batch_of_balls(coarse=(24, 24, 32))
    return replace(
        near,
        coarse_origin_lps=near.coarse_origin_lps + FAR_LPS,
        box_origins_lps={scale: origin + FAR_LPS for scale, origin in near.box_origins_lps.items()},
        landmarks_lps=near.landmarks_lps + FAR_LPS,
    )


def affine_of(batch):
    return draw_affines(Augmentation(), BatchView(batch).coarse_middles(), torch.Generator().manual_seed(0))


def test_the_truth_moves_as_in_float32(batch):
    plain, under_autocast = in_both(lambda: move_truth(batch, *affine_of(batch), [1, 0]).landmarks_lps)
    assert torch.equal(plain, under_autocast)


def test_crops_of_a_moved_batch_lie_and_look_as_in_float32(batch):
    view = BatchView(batch, affine_of(batch)[0])
    for look in (
        lambda: view.whole(4.0)[0],
        view.whole_middles,
        *(lambda s=s: view.box_middles(s) for s in batch.boxes),
        *(lambda s=s: view.patches(s, view.box_middles(s) + 2.3, 24) for s in batch.boxes),
    ):
        plain, under_autocast = in_both(look)
        assert torch.equal(plain, under_autocast)


def test_all_losses_are_those_of_float32_but_for_what_the_nets_round(batch, monkeypatch):
    exact_nets(monkeypatch)
    trained = module(heatmap_weight=1.0)
    trained.augmentation = Augmentation()
    monkeypatch.setattr(type(trained), "progress", 0.5)
    plain, under_autocast = in_both(lambda: trained.losses(batch, torch.Generator().manual_seed(1)))
    for name in plain:
        assert torch.equal(plain[name], under_autocast[name]) or name == "presence", name
