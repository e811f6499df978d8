"""Necks of the sculpted style: the same neck on every grid, anatomy where it belongs, a third domain-randomised."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from carotid_training.necks.dice import Dice
from carotid_training.necks.neck import Grid
from carotid_training.necks.sculpted import neck as sculpted
from carotid_training.necks.sculpted.blocks import blocks
from carotid_training.necks.sculpted.fields import Lattice, Waves
from hypothesis import given, settings
from hypothesis import strategies as st

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
PLAUSIBLE, RANDOMISED = 2, 3
neck_of = functools.cache(sculpted.SculptedNeck)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _picture(seed: int, grid: Grid) -> torch.Tensor:
    return neck_of(seed).render([grid])[0]


def _hu_at(seed: int, points, radius_mm: float = 0.0) -> torch.Tensor:
    """HU at points [n, 3], each the middle of a small cube of 1 mm voxels, averaged over it."""
    size = 1 + 2 * round(radius_mm)
    grids = [Grid.aligned(torch.as_tensor(p), 1.0, (size, size, size)) for p in points]
    return torch.stack([picture.mean() for picture in neck_of(seed).render(grids)])


@pytest.mark.parametrize("seed", [PLAUSIBLE, RANDOMISED])
def test_a_seed_gives_the_same_voxels_whenever_it_is_drawn(seed):
    grid = Grid.aligned([0, 0, -20], 5.0, (40, 30, 30))
    torch.manual_seed(99)
    again = sculpted.SculptedNeck(seed)
    assert torch.equal(_picture(seed, grid), again.render([grid])[0])
    assert torch.equal(neck_of(seed).bifurcations(UP), again.bifurcations(UP))


def test_two_seeds_give_different_necks():
    grid = Grid.aligned([0, 0, -20], 5.0, (40, 30, 30))
    assert (_picture(PLAUSIBLE, grid) - _picture(5, grid)).abs().mean() > 20


@pytest.mark.parametrize("seed", [PLAUSIBLE, RANDOMISED])
def test_a_coarse_grid_shows_the_mean_of_a_fine_one(seed):
    centre = neck_of(seed).bifurcations(UP)[0]
    coarse, fine = neck_of(seed).render(
        [Grid.aligned(centre, 2.0, (24, 24, 24)), Grid.aligned(centre, 1.0, (48, 48, 48))]
    )
    mean = F.avg_pool3d(fine[None, None], 2)[0, 0]
    agreement = torch.corrcoef(torch.stack([coarse.flatten(), mean.flatten()]))[0, 1]
    assert agreement > 0.96
    assert (coarse - mean).mean().abs() < 12


@pytest.mark.parametrize("seed", [PLAUSIBLE, RANDOMISED])
def test_interpolated_fields_show_what_every_voxel_would_have_shown(seed, monkeypatch):
    grid = Grid.aligned(neck_of(seed).bifurcations(UP)[1], 0.5, (40, 40, 40))
    shared = _picture(seed, grid)
    monkeypatch.setattr("carotid_training.necks.sculpted.blocks.FINEST_MM", 0.5)
    each = _picture(seed, grid)
    assert (shared - each).abs().median() < 3
    assert torch.corrcoef(torch.stack([shared.flatten(), each.flatten()]))[0, 1] > 0.97


def test_a_grid_with_permuted_axes_shows_the_same_neck():
    plain = Grid.aligned([20, 0, 0], 2.0, (20, 22, 24))
    turned = Grid(plain.affine[:, [2, 0, 1, 3]].clone(), (22, 24, 20))  # i up, j to the left, k to the back
    assert torch.allclose(_picture(PLAUSIBLE, plain), _picture(PLAUSIBLE, turned).permute(2, 0, 1), atol=0.5)


def test_a_long_voxel_shows_the_mean_along_it():
    centre = neck_of(PLAUSIBLE).bifurcations(UP)[0]
    long, short = neck_of(PLAUSIBLE).render(
        [Grid.aligned(centre, (1.0, 1.0, 3.0), (10, 40, 40)), Grid.aligned(centre, 1.0, (30, 40, 40))]
    )
    mean = F.avg_pool3d(short[None, None], (3, 1, 1))[0, 0]
    assert (long - mean).abs().mean() < 12


def test_blocks_leave_no_seams(monkeypatch):
    grid = Grid.aligned([0, 0, 0], 2.0, (40, 60, 60))
    whole = _picture(PLAUSIBLE, grid)
    monkeypatch.setattr(sculpted, "CPU_BLOCK", 5000)
    assert (whole - _picture(PLAUSIBLE, grid)).abs().max() < 1.0


@pytest.mark.parametrize("seed", [0, 1, PLAUSIBLE, 4, 5, 6])
def test_the_trachea_is_air_and_the_vertebral_bodies_are_bone(seed):
    layout = neck_of(seed).tree.layout
    trachea = layout.airway[(layout.airway[:, 2] < -62 * layout.size) & (layout.airway[:, 2] > -90 * layout.size)]
    assert _hu_at(seed, trachea, 2).max() < -800
    assert _hu_at(seed, layout.spine[3:10], 4).min() > 100


@pytest.mark.parametrize("seed", [8, 10, 12])
def test_the_pharynx_is_no_wider_than_a_throat(seed):
    layout = neck_of(seed).tree.layout
    middle = layout.airway[abs(layout.airway[:, 2] - 4 * layout.size).argmin()]  # at the epiglottis, below any mouth
    air_mm2 = (_picture(seed, Grid.aligned(middle, 1.0, (1, 50, 50))) < -400).sum()
    assert 50 < air_mm2 < 450


@pytest.mark.parametrize("seed", [1, PLAUSIBLE, 5, RANDOMISED])
def test_there_is_air_around_the_neck_and_tissue_around_the_carotids(seed):
    around = [[x, y, z] for x, y in ((150, -100), (-150, -100), (0, -190)) for z in (-20, 20, 60)]
    assert _hu_at(seed, around).max() < -950
    points = torch.cat([torch.as_tensor(c.common.points[::8]) for c in neck_of(seed).tree.carotids])
    points = points[points[:, 2] > -60]
    if not neck_of(seed).facts["randomised"]:
        assert _hu_at(seed, points, 6).min() > -200


def test_the_common_carotids_hold_contrast():
    tree = neck_of(PLAUSIBLE).tree
    below = [c.common.points[-12] for c in tree.carotids]
    assert (_hu_at(PLAUSIBLE, below) - tree.facts["arterial_hu"]).abs().max() < 0.2 * tree.facts["arterial_hu"]


def test_reported_metal_is_bright():
    seed = next(s for s in range(5, 30) if len(neck_of(s).things.metal))
    metal = neck_of(seed).things.metal
    assert all((row == neck_of(seed).metal).all(1).any() for row in metal)
    assert _hu_at(seed, metal[:, :3]).min() > 3000


def test_about_a_third_is_randomised_and_the_truth_stays_the_vessel_trees():
    necks = [neck_of(seed) for seed in range(12)]
    assert 2 <= sum(bool(neck.facts["randomised"]) for neck in necks) <= 6
    for neck in necks[:4]:
        assert torch.equal(neck.bifurcations(UP), neck.tree.bifurcations(UP))
        assert neck.lower_mm <= -230 and neck.upper_mm >= 170 and neck.style == "sculpted"


def test_randomised_necks_have_soft_tissue_that_no_patient_has():
    def tissue(seed: int) -> float:
        centre = neck_of(seed).bifurcations(UP)[0]
        return float(_picture(seed, Grid.aligned(centre, 2.0, (20, 20, 20))).median())

    plausible = [tissue(seed) for seed in (1, 2, 5)]
    wild = [tissue(seed) for seed in (3, 11, 13)]
    assert all(-130 < hu < 130 for hu in plausible)
    assert max(wild) - min(wild) > 1.2 * (max(plausible) - min(plausible))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), turn=st.floats(-3, 3), spacing=st.floats(0.4, 4))
def test_plane_waves_on_a_grid_equal_plane_waves_at_its_points(seed, turn, spacing):
    waves = Waves.draw(Dice(torch.Generator().manual_seed(seed)), 6, 5.0, 40.0)
    grid = Grid.aligned([10, -20, 30], spacing, (3, 4, 5))
    rotation = torch.eye(4, dtype=torch.float64)
    rotation[:2, :2] = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    grid = Grid(rotation @ grid.affine, grid.shape)
    at = waves.at(*grid.points().reshape(-1, 3).unbind(1))
    assert torch.allclose(waves.on(grid, 0.0, torch.device("cpu")), at, atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-1.9, 1.9)] * 3), st.tuples(*[st.floats(-5, 5)] * 3))
def test_a_lattice_reproduces_linear_fields_and_goes_on_with_its_border(point, slope):
    u, v, w = Lattice.nodes((-2, -2, -2), (2, 2, 2), (0.5, 0.8, 1.0))
    lattice = Lattice((slope[0] * u + slope[1] * v + slope[2] * w)[None], (-2, -2, -2), (0.5, 0.8, 1.0))
    values = lattice.at(*torch.tensor([point, (9.0, -2.0, 9.0)]).T)[0]
    assert math.isclose(values[0], sum(a * b for a, b in zip(point, slope, strict=True)), abs_tol=1e-3)
    assert math.isclose(values[1], 2 * slope[0] - 2 * slope[1] + 2 * slope[2], abs_tol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(0.3, 3.5)] * 3), st.tuples(*[st.integers(1, 11)] * 3))
def test_blocks_cover_a_grid_once_and_keep_linear_fields(spacing, shape):
    grid = Grid.aligned([3, 5, -7], spacing, shape)
    slope = torch.tensor([1.0, -2.0, 0.5])
    values = torch.zeros(shape)
    for block in blocks(grid, 40):
        fields = (block.coarse.points() @ slope).reshape(1, -1)
        values[block.place] += block.pool(block.refine(fields)[0])
    assert torch.allclose(values, grid.points() @ slope, atol=1e-2)
