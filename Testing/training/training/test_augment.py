"""Augmentation: the picture and the truth move together, left and right change places in a mirror."""

from dataclasses import fields, replace

import pytest
import torch
from carotid_training.training.augment import Augmentation, draw_affines, draw_window, move_truth, recolour
from carotid_training.training.view import BatchView
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.nets.pyramid import AIR_HU

from ..balls import LEFT, RIGHT, SIZES, batch_of_balls


@pytest.mark.parametrize("seed", range(6))
def test_the_picture_is_where_the_moved_truth_says(seed):
    how = Augmentation(rotation_degrees=20, scale=0.2, shear=0.1, shift_mm=15, mirror_share=0.5)
    batch = batch_of_balls()
    affines, mirrored = draw_affines(how, BatchView(batch).coarse_middles(), torch.Generator().manual_seed(seed))
    moved = move_truth(batch, affines, mirrored, [1, 0])
    view = BatchView(moved, affines)
    bright, dim = (450, 900) if mirrored else (900, 450)  # what was left is right in the mirror
    for scale in SIZES:
        patches = view.patches(scale, moved.landmarks_lps[:, :, None], 7)[0, :, 0, 0] + AIR_HU
        assert patches[0, 3, 3, 3] == pytest.approx(bright, rel=0.1)
        assert patches[1, 3, 3, 3] == pytest.approx(dim, rel=0.1)
    whole, middle = view.whole(4.0)
    index = ((moved.landmarks_lps[0, 0] - middle[0]) / 4 + 27.5).round().long()
    assert whole[0, 0, index[2], index[1], index[0]] + AIR_HU == pytest.approx(bright, rel=0.3)


def test_nothing_but_a_mirror_turns_a_scan_inside_out():
    wildest = Augmentation(rotation_degrees=180, scale=1.0, shear=0.3, mirror_share=0.5)
    affines, mirrored = draw_affines(wildest, torch.zeros(20_000, 3), torch.Generator().manual_seed(0))
    assert torch.equal(torch.linalg.det(affines[:, :3, :3]) < 0, mirrored)
    with pytest.raises(UserError, match=r"The augmentation's shear is 0\.3 at most"):
        Augmentation(shear=0.31)


def test_left_stays_left_of_right_in_a_mirror():
    how = Augmentation(rotation_degrees=5, mirror_share=1.0)
    batch = batch_of_balls()
    affines, mirrored = draw_affines(how, BatchView(batch).coarse_middles(), torch.Generator().manual_seed(1))
    assert bool(mirrored) and float(torch.linalg.det(affines[0, :3, :3])) < 0
    moved = move_truth(batch, affines, mirrored, [1, 0])
    assert moved.landmarks_lps[0, 0, 0] > moved.landmarks_lps[0, 1, 0]


@pytest.mark.parametrize("mirror_share", [0.0, 1.0])
def test_the_side_that_is_absent_changes_in_a_mirror_alone(mirror_share):
    how, batch = Augmentation(mirror_share=mirror_share), batch_of_balls()
    truth = torch.stack([LEFT, torch.full((3,), torch.nan)])[None]
    batch = replace(batch, landmarks_lps=truth, present=torch.tensor([[True, False]]))
    affines, mirrored = draw_affines(how, BatchView(batch).coarse_middles(), torch.Generator().manual_seed(1))
    moved = move_truth(batch, affines, mirrored, [1, 0])
    assert moved.present.tolist() == [[False, True] if mirror_share else [True, False]]
    assert torch.equal(moved.present, ~moved.landmarks_lps.isnan().any(dim=-1))


def test_no_augmentation_leaves_the_view_as_it_is():
    how = Augmentation(**{field.name: 0 for field in fields(Augmentation) if field.name != "coarse_window"})
    batch = batch_of_balls()
    generator = torch.Generator().manual_seed(0)
    affines, _ = draw_affines(how, BatchView(batch).coarse_middles(), generator)
    assert torch.allclose(affines[0], torch.eye(4, dtype=torch.float64))
    assert torch.equal(recolour(how, batch, generator).boxes[0.5], batch.boxes[0.5])


@pytest.mark.parametrize("seed", [3, 8], ids=["darker", "brighter"])
def test_recolouring_is_the_same_at_every_scale_and_leaves_air_alone(seed):
    batch = batch_of_balls()
    batch.coarse[0, 0, :5] = AIR_HU
    changed = recolour(Augmentation(noise_hu=0.0), batch, torch.Generator().manual_seed(seed))
    assert (changed.coarse[0, 0, :5] == AIR_HU).all()
    middles = [changed.boxes[scale][0, 0, 0][(n // 2,) * 3].item() for scale, n in SIZES.items()]
    befores = [batch.boxes[scale][0, 0, 0][(n // 2,) * 3].item() for scale, n in SIZES.items()]
    slopes = [(after + 50) / (before + 50) for after, before in zip(middles, befores, strict=True)]
    assert max(slopes) - min(slopes) < 0.05 and abs(slopes[0] - 1) > 0.005


def test_noise_is_as_small_at_a_coarse_scale_as_the_mean_of_its_fine_voxels():
    how, batch = Augmentation(gain=0.0, offset_hu=0.0), batch_of_balls()
    boxes = {scale: torch.zeros_like(box) for scale, box in batch.boxes.items()}
    flat = replace(batch, coarse=torch.zeros_like(batch.coarse), boxes=boxes)
    noisy = recolour(how, flat, torch.Generator().manual_seed(1))
    sd = {scale: float(values.float().std()) for scale, values in {4.0: noisy.coarse, **noisy.boxes}.items()}
    for scale in sd:
        fine_voxels = (scale / 0.5) ** 3
        assert sd[scale] == pytest.approx(sd[0.5] / fine_voxels**0.5, rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_a_window_of_the_coarse_view_holds_every_landmark(seed):
    how = Augmentation(coarse_window=(24, 32, 40))
    truth = torch.stack([LEFT, RIGHT])[None] + torch.tensor([0.0, 0.0, 60.0])
    middles, shape = draw_window(how, torch.zeros(1, 3), truth, (56, 56, 56), torch.Generator().manual_seed(seed))
    assert shape[0] in (16, 24) and shape[1:] == (32, 40)
    reach = torch.tensor(shape[::-1]) * 2.0 - 12
    assert ((truth - middles[:, None]).abs() <= reach).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_window_grows_with_landmarks_that_are_farther_apart_than_it_is_long(seed):
    """From the arch to the skull base; the highest alone were seen, and the lowest were taught as present."""
    how = Augmentation(coarse_window=(24, 32, 40))
    truth = torch.tensor([[[0.0, 0.0, -80.0], [10.0, 0.0, 80.0], [0.0, 5.0, 0.0]]])
    middles, shape = draw_window(how, torch.zeros(1, 3), truth, (56, 56, 56), torch.Generator().manual_seed(seed))
    assert shape == (48, 32, 40)
    reach = torch.tensor(shape[::-1]) * 2.0 - 12
    assert ((truth - middles[:, None]).abs() <= reach).all()


def test_without_landmarks_a_window_lies_anywhere_inside_the_view():
    how = Augmentation(coarse_window=(24, 32, 40))
    truth = torch.full((1, 2, 3), torch.nan)
    drawn = [
        draw_window(how, torch.zeros(1, 3), truth, (56, 56, 56), torch.Generator().manual_seed(seed))
        for seed in range(60)
    ]
    for length, room in ((24, 64.0), (16, 80.0)):
        reach = torch.stack([middles for middles, shape in drawn if shape[0] == length]).abs().amax(dim=(0, 1))
        room_lps = torch.tensor([32.0, 48.0, room])
        assert (reach <= room_lps).all() and (reach > 0.85 * room_lps).all()
