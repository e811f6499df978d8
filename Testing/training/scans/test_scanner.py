"""The scanner: geometry, labels, noise and artefacts, on a crude neck whose truth is two markers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from carotid_training import seeds
from carotid_training.necks.neck import Grid
from carotid_training.scans import acquisition, imaging
from carotid_training.scans.scanner import AIR_HU, Scanner
from hypothesis import given, settings
from hypothesis import strategies as st

from ..stand_in_neck import StandInNeck

QUIET = {
    "noise_hu": 0.0,
    "edge": 0.0,
    "sigma_mm": 0.0,
    "offset_hu": 0.0,
    "contrast_gain": 1.0,
    "tissue_gain": 1.0,
    "step_at": (),
    "step_mm": (),
    "ghost_share": 0.0,
    "padding_hu": None,
    "axes": (0, 1, 2),
    "flips": (),
}


class FlatNeck(StandInNeck):
    """Tissue everywhere: what remains is the scanner's own doing."""

    def _render(self, grid, device):
        return torch.full(grid.shape, 40.0, device=device)


def small_scanner(neck, seed=0, **changes):
    """A scanner of few, large voxels around both markers."""
    drawn = Scanner.draw(seeds.generator(seed, "scan"), neck, (120.0, 120.0))
    changes = {"matrix": 96, "pixel_mm": 1.25, "slice_mm": 2.0, "thickness_mm": 2.0, **changes}
    settings_ = replace(drawn.acquisition, **changes)
    middle = neck.points.mean(dim=0)
    pose = acquisition.rigid(drawn.neck_to_lps[:3, :3], drawn.gantry_to_lps[:3, 3] - drawn.neck_to_lps[:3, :3] @ middle)
    return replace(drawn, acquisition=settings_, slices=round(80 / settings_.slice_mm), neck_to_lps=pose)


def bright_centre(array, affine, point, radius=12.0):
    """The centre of brightness (LPS mm) around a point of a stored scan, and the mean HU within 2.5 mm of the point."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij"), axis=-1)[..., ::-1]
    positions = index @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(positions - point, axis=-1)
    weight = np.clip(array.astype(float) - 200, 0, None) * (distance < radius)
    centre = (positions * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()
    return centre, array[distance < 2.5].mean()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_truth_is_where_the_marker_is_in_the_stored_scan(seed):
    neck = StandInNeck(seed)
    scanner = small_scanner(neck, seed, noise_hu=5.0, step_at=(), step_mm=(), ghost_share=0.0)
    array, affine, truth = scanner.acquire(neck)
    assert truth.present.all()
    for point in truth.landmarks_lps.numpy():
        centre, hu = bright_centre(array, affine, point)
        assert np.linalg.norm(centre - point) < 0.5
        assert hu > 200


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_every_storage_orientation_keeps_each_voxel_where_it_is(axes):
    array = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    affine = acquisition.rigid(acquisition.rotation([20, -10, 5]), torch.tensor([7.0, -8.0, 9.0])).numpy()
    affine[:3, :3] *= [0.5, 0.6, 2.0]
    for flips in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in range(4)):
        stored, placed = acquisition.reorient(array, affine, axes, flips)
        back = np.linalg.inv(affine) @ placed
        for k, j, i in itertools.product(*(range(n) for n in stored.shape)):
            x, y, z = np.rint(back @ [i, j, k, 1]).astype(int)[:3]
            assert stored[k, j, i] == array[z, y, x]


def test_a_box_for_training_has_the_voxels_of_the_whole_scan():
    neck = StandInNeck(1)
    scanner = small_scanner(
        neck, 1, slice_mm=1.5, thickness_mm=1.5, pixel_mm=1.0, edge=0.5, step_at=(), step_mm=(), padding_hu=None
    )
    scanner = replace(scanner, gantry_to_lps=acquisition.rigid(torch.eye(3), scanner.gantry_to_lps[:3, 3]))
    stored = replace(scanner, acquisition=replace(scanner.acquisition, axes=(0, 1, 2), flips=()))
    array = stored.acquire(neck)[0]
    lattice = scanner.lattice.affine
    # Every third slice of the scan falls on a slice of the grid.
    corner = lattice[:3, 3] + lattice[:3, :3] @ torch.tensor([8.0, 8.0, 10.0], dtype=torch.float64)
    grid = Grid(acquisition.rigid(torch.eye(3), corner), (31, 80, 80))
    box = scanner.view(neck, [grid])[0].numpy()
    part = array[10:31:2, 8:88, 8:88]
    assert np.abs(box[::3] - part).max() < 1.5  # rounding of the stored values, and of float32 positions
    assert part.std() > 40


def test_the_same_scanner_gives_the_same_voxels():
    neck = StandInNeck(2)
    first, second = (small_scanner(neck, 2).acquire(neck) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 20))
def test_a_mirrored_neck_has_its_left_on_the_left(seed):
    neck = StandInNeck(seed)
    scanner = Scanner.draw(seeds.generator(seed, "scan"), neck)
    points = scanner.truth(neck).points_lps
    assert points[0, 0] > points[1, 0]
    own_left = acquisition.transform(scanner.neck_to_lps, neck.points)[0]
    moved = (points[1 if scanner.mirrored else 0] - own_left).norm()
    assert moved < 10  # patient motion moves it a little; the other side is 50 mm away


def test_a_landmark_outside_the_scan_is_absent():
    neck = StandInNeck(3)
    for region in ("chest", "head", "empty"):
        truth = Scanner.draw(seeds.generator(3, "scan"), neck, (120.0, 150.0), region).truth(neck)
        assert not truth.present.any()
        assert truth.absent_because == ("outside", "outside")
        assert truth.landmarks_lps.isnan().all()


def test_surgery_on_one_side_follows_the_mirror():
    neck = StandInNeck(4, present=(False, True))
    seen = set()
    for seed in range(12):
        scanner = small_scanner(neck, seed)
        truth = scanner.truth(neck)
        missing = 1 if scanner.mirrored else 0
        assert truth.absent_because[missing] == "surgery"
        assert truth.present[1 - missing]
        seen.add(missing)
    assert seen == {0, 1}


def test_a_neck_without_contrast_has_no_visible_bifurcation():
    neck = StandInNeck(5, facts={"arterial_hu": 45.0})
    assert small_scanner(neck).truth(neck).absent_because == ("unenhanced", "unenhanced")


def test_no_point_near_the_scan_s_end_is_called_present():
    for seed in range(60):
        neck = StandInNeck(seed)
        scanner = Scanner.draw(seeds.generator(seed, "scan"), neck, (120.0, 140.0))
        truth = scanner.truth(neck)
        gantry = acquisition.transform(torch.linalg.inv(scanner.gantry_to_lps), truth.points_lps)
        half = scanner.slices * scanner.acquisition.slice_mm / 2
        assert (truth.present == (gantry[:, 2].abs() <= half - 3)).all()


def test_white_noise_is_normal_independent_and_a_function_of_the_index():
    noise = imaging.white_noise(7, (0, 0, 0), (40, 40, 40))
    assert abs(float(noise.mean())) < 0.015
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    for dim in range(3):
        a, b = noise.narrow(dim, 0, 39), noise.narrow(dim, 1, 39)
        assert abs(float((a * b).mean())) < 0.02
    part = imaging.white_noise(7, (10, -5, 3), (5, 9, 6))
    assert torch.equal(part[:, 5:], noise[10:15, 0:4, 3:9])
    assert abs(float((imaging.white_noise(8, (0, 0, 0), (40, 40, 40)) * noise).mean())) < 0.015


def correlation(scanner, neck, axis):
    array = scanner.acquire(neck)[0].astype(float)
    array -= array.mean()
    n = array.shape[axis]
    return (array.take(range(1, n), axis) * array.take(range(n - 1), axis)).mean() / (array**2).mean()


def test_a_soft_kernel_makes_coarser_grain_than_a_sharp_one():
    neck = FlatNeck(6)
    common = {**QUIET, "pixel_mm": 0.5, "noise_hu": 20.0, "ramp": 0.5, "patchiness": 0.0, "starvation": 0.0}
    soft = correlation(small_scanner(neck, 6, **{**common, "sigma_mm": 0.7}), neck, 2)
    sharp = correlation(small_scanner(neck, 6, **{**common, "sigma_mm": 0.25, "edge": 0.8}), neck, 2)
    assert soft > 0.6
    assert sharp < soft - 0.2


def test_overlapping_slices_share_their_noise():
    neck = FlatNeck(6)
    common = {**QUIET, "noise_hu": 20.0, "patchiness": 0.0, "starvation": 0.0}
    contiguous = correlation(small_scanner(neck, 6, **common), neck, 0)
    overlapping = correlation(small_scanner(neck, 6, **{**common, "thickness_mm": 4.0}), neck, 0)
    assert abs(contiguous) < 0.02
    assert overlapping > 0.5


def test_noise_has_the_dose_s_sd_and_grows_at_the_shoulders():
    neck = FlatNeck(6)
    scanner = small_scanner(neck, 6, **{**QUIET, "noise_hu": 15.0, "shoulder_noise": 2.0, "shoulder_mm": -25.0})
    scanner = replace(scanner, acquisition=replace(scanner.acquisition, patchiness=0.0, starvation=0.0))
    array = scanner.acquire(neck)[0].astype(float)
    middle = slice(24, 72)
    assert array[-3:, middle, middle].std() == pytest.approx(15, rel=0.15)
    assert array[:3, middle, middle].std() > 1.6 * array[-3:, middle, middle].std()


def test_a_thick_slice_averages_what_thin_slices_show():
    neck = StandInNeck(7)
    thin = small_scanner(neck, 7, **{**QUIET, "slice_mm": 1.0, "thickness_mm": 1.0})
    thick = replace(thin, acquisition=replace(thin.acquisition, slice_mm=3.0, thickness_mm=3.0), slices=26)
    thin = replace(thin, slices=78)
    a, b = thin.acquire(neck)[0].astype(float), thick.acquire(neck)[0].astype(float)
    assert np.abs(a.reshape(26, 3, 96, 96).mean(axis=1) - b).max() < 2


def test_a_stents_strut_streaks_less_than_a_filling():
    def loudest(radius):
        neck = FlatNeck(8, metal=torch.tensor([[0.0, 0.0, 0.0, radius]]))
        (streak,) = small_scanner(neck, 8, metal_hu=200.0).acquisition.streaks(neck, torch.eye(4).double(), 8)
        return streak.amplitude_hu

    assert loudest(2.5) == loudest(4.0) == 200
    assert loudest(1.0) == pytest.approx(80)


def test_streaks_stay_in_the_axial_planes_of_the_metal():
    metal = torch.tensor([[0.0, -30.0, 2.0, 3.0], [20.0, -25.0, 2.0, 3.0]])
    plain, filled = FlatNeck(8), FlatNeck(8, metal=metal)
    scanner = small_scanner(plain, 8, **{**QUIET, "metal_hu": 200.0})
    upright = acquisition.rigid(torch.eye(3), torch.zeros(3))
    scanner = replace(scanner, gantry_to_lps=upright, neck_to_lps=upright)
    change = np.abs(scanner.acquire(filled)[0].astype(float) - scanner.acquire(plain)[0])
    z = scanner.lattice.affine[2, 3].item() + 2.0 * np.arange(len(change))
    assert change[np.abs(z - 2) < 2].max() > 80
    assert change[np.abs(z - 2) > 20].max() == 0


def test_motion_moves_the_truth_with_the_image():
    neck = StandInNeck(9)
    scanner = small_scanner(neck, 9, **{**QUIET, "step_at": (-0.9,), "step_mm": ((3.0, -4.0),)})
    array, affine, truth = scanner.acquire(neck)
    still = replace(scanner, acquisition=replace(scanner.acquisition, step_at=(), step_mm=())).truth(neck)
    assert (truth.points_lps - still.points_lps).norm(dim=1).tolist() == pytest.approx([5, 5])
    for point in truth.landmarks_lps.numpy():
        assert np.linalg.norm(bright_centre(array, affine, point)[0] - point) < 0.5


def test_outside_the_circle_is_padding_and_values_are_clipped():
    neck = StandInNeck(10)
    array = small_scanner(neck, 10, **{**QUIET, "padding_hu": -2000.0}).acquire(neck)[0]
    assert (array[:, 0, 0] == -2000).all()
    hot = FlatNeck(10)
    assert small_scanner(hot, 10, **{**QUIET, "offset_hu": 9000.0}).acquire(hot)[0].max() == 3071


def test_a_view_beyond_the_scan_is_air():
    neck = FlatNeck(11)
    scanner = small_scanner(neck, 11, **QUIET)
    box = scanner.view(neck, [Grid.aligned(scanner.lattice.centre_lps, 4.0, (60, 60, 60))])[0]
    assert (box[[0, -1]] == AIR_HU).all()
    assert float(box[30, 30, 30]) == pytest.approx(40, abs=1)


def test_protocols_are_as_varied_as_the_public_table():
    generator = seeds.generator(0, "test")
    drawn = [acquisition.Acquisition.draw(generator) for _ in range(1500)]
    pixels = np.array([p.pixel_mm for p in drawn])
    slices = np.array([p.slice_mm for p in drawn])
    assert pixels.min() >= 0.38 and pixels.max() <= 0.80
    assert np.median(pixels) == pytest.approx(0.49, abs=0.02)
    assert np.median(slices) == pytest.approx(1.25, abs=0.13)
    assert (slices > 2).mean() == pytest.approx(1 / 3, abs=0.04)
    assert len({(p.axes, p.flips) for p in drawn}) == 48
