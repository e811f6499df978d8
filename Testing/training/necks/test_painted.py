"""Necks made of real tissue: the analysis of the background, its deformation, and the vessels in it.

Everything is tried on a synthetic background that is built here; what only a real CT can show runs where the
environment variable CAROTID_BACKGROUND_CT names one.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from carotid_training.necks.neck import Grid
from carotid_training.necks.tissue import painted, placement, recoloured
from carotid_training.necks.tissue.background import BONE, FAT, OUTSIDE, SOFT, Background
from carotid_training.necks.tissue.deformation import Deformation, DeformedTissue, Lattice
from carotid_training.necks.vessels.tree import VesselTree
from CarotidLandmarkLib.volume import Volume, VolumeError
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
LEVEL_MM = 15.5  # of the synthetic spine
SPACING = np.array([1.25, 1.25, 2.0])
ORIGIN = np.array([-80.0, -95.0, -58.0])  # of voxel 0; C4's middle is at (0, 0, 0)
NO_FIELD = Lattice(torch.zeros(1, 1, 2, 2, 2))


def synthetic_ct(top_mm: float = 105.0) -> Volume:
    """A schematic neck: fat, muscle, spine with canal, discs and foramina, airway, skull with brain, a metal tooth."""
    size = ((np.array([80.0, 90.0, top_mm]) - ORIGIN) / SPACING).astype(int)
    x, y, z = (ORIGIN[a] + SPACING[a] * np.arange(size[a]) for a in range(3))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    hu = np.full(z.shape, -1000.0)
    wide = 62 + 12 * np.clip(z / 50, 0, 1)
    depth = np.hypot(x / wide, (y + 3) / (wide + 10))
    hu[depth < 1] = -100
    hu[depth < 0.93] = 55
    planes = np.sin(x / 7) * np.sin(y / 8) > 0.8
    hu[(depth < 0.93) & planes & (np.abs(x) > 20)] = -90
    neck = z < 52
    rung = (z + LEVEL_MM / 2) % LEVEL_MM - LEVEL_MM / 2  # 0 in the middle of every body
    body = (np.hypot(x, y) < 9.5) & (np.abs(rung) < 5.5)
    hu[(np.hypot(x, y) < 9.5) & neck] = 80
    hu[body & neck] = 450
    ring = np.hypot(x, y - 16)
    hu[(ring < 13) & (ring > 8) & (y > 10) & neck & (np.abs(rung) < 6.5)] = 700
    for side in (1, -1):
        hole = np.hypot(x - side * 15.5, y - 9)
        hu[(hole < 5.5) & neck & (z < 40) & (np.abs(rung) < 6)] = 600
        hu[(hole < 2.5) & neck] = 30
    hu[(ring < 7.5) & (z < 60)] = 30
    hu[(np.hypot(x, y + 28) < 8) & (z < 45)] = -1000
    skull = np.hypot(x / 66, (y + 3) / 76)
    hu[(z > 52) & (skull < 1)] = 900
    hu[(z > 57) & (skull < 0.92)] = 35
    hu[(z >= 52) & (z < 58) & (np.hypot(x, y - 16) < 19)] = 30
    hu[(np.hypot(np.hypot(x - 30, y + 55), z - 20) < 4)] = 3000
    noise = np.random.default_rng(0).normal(0, 8, hu.shape)
    hu = ndimage.gaussian_filter(hu, 0.5) + noise
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN + np.array([300.0, -70.0, 900.0])  # patient coordinates start anywhere
    return Volume(np.clip(hu, -1024, 3071).astype(np.int16), affine)


@pytest.fixture(scope="module")
def background() -> Background:
    return Background.prepare(synthetic_ct())


@pytest.fixture(scope="module")
def real_background() -> Background:
    path = os.environ.get("CAROTID_BACKGROUND_CT")
    if not path:
        pytest.skip("set CAROTID_BACKGROUND_CT to an unenhanced CT of head and neck to run this")
    from CarotidLandmarkLib.volume import read_volume

    return Background.prepare(read_volume(path))


def test_spine_canal_foramina_airway_and_metal_of_a_drawn_neck_are_found(background):
    heights = background.levels[1:6, 2]
    assert np.allclose(heights, LEVEL_MM * np.arange(2, -3, -1), atol=2.5)
    assert np.abs(background.levels[1:6, :2]).max() < 2.5
    lower = background.canal[background.canal[:, 2] < 40]
    assert np.abs(lower[:, :2] - [0, 16]).max() < 2.5
    for side, sign in ((0, 1), (1, -1)):
        assert np.abs(background.foramina[side][:, :2] - [sign * 15.5, 9]).max() < 2.0
    assert np.abs(background.airway[:, :2] - [0, -28]).max() < 2.5
    assert background.metal.shape == (1, 4)
    assert np.abs(background.metal[0] - [30, -55, 20, 4]).max() < 2.5


def class_at(background, points):
    """Tissue class (int64) of the nearest voxel at points [..., 3]; OUTSIDE beside the scan."""
    flat = background.normalised(points).reshape(1, -1, 1, 1, 3)
    found = torch.nn.functional.grid_sample(background.on("cpu", "classes"), flat, mode="nearest", align_corners=False)
    return found.reshape(points.shape[:-1]).long()


def test_classes_and_clearance_follow_the_drawing(background):
    points = torch.tensor([[0.0, 0, 0], [45, 20, 0], [0, -28, 0], [72, 75, 0], [0, 66.5, 0]])
    bone, muscle, airway, outside, fat = class_at(background, points).tolist()
    assert (bone, muscle, outside, fat) == (BONE, SOFT, OUTSIDE, FAT)
    clearance = torch.nn.functional.grid_sample(
        background.on("cpu", "clearance"), background.normalised(points)[None, None, None], align_corners=False
    ).flatten()
    assert clearance[0] < 0 and clearance[2] < 0 and clearance[3] < 0
    assert clearance[1] > 5
    assert airway not in (SOFT, BONE, OUTSIDE)


def test_any_orientation_of_the_scan_gives_the_same_background(background):
    volume, order = synthetic_ct(), (2, 0, 1)
    array = np.transpose(volume.array, order)[::-1, :, ::-1]
    columns = volume.affine_lps[:3, :3][:, ::-1][:, list(order)][
        :, ::-1
    ].copy()  # columns of i, j, k after the transpose
    shape = np.array(array.shape[::-1])
    origin = volume.affine_lps[:3, 3].copy()
    for axis, flipped in enumerate((True, False, True)):
        if flipped:
            origin += columns[:, axis] * (shape[axis] - 1)
            columns[:, axis] *= -1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, origin
    turned = Background.prepare(Volume(np.ascontiguousarray(array), affine))
    # The middle of C4 is found to half a cell of 1.5 mm; the tooth tells where the rest must be.
    offset = turned.metal[0, :3] - background.metal[0, :3]
    assert np.abs(offset).max() < 1.6
    assert np.abs(turned.levels - background.levels)[1:].max() < 1.6
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 80 - 40
    assert torch.allclose(turned.sample(points + torch.from_numpy(offset)), background.sample(points), atol=1.5)


def test_what_is_no_head_and_neck_ct_is_refused_with_one_sentence():
    neck_only = synthetic_ct()
    neck_only = Volume(neck_only.array[:60], neck_only.affine_lps)
    noise = np.random.default_rng(0).normal(40, 30, (40, 64, 64)).astype(np.float32)
    for volume in (
        neck_only,
        Volume(np.full((40, 64, 64), -1000, np.int16), np.eye(4)),
        Volume(noise, np.diag([3, 3, 3, 1.0])),
    ):
        with pytest.raises(VolumeError) as caught:
            Background.prepare(volume)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_saved_background_comes_back_whole_and_without_simpleitk(background, tmp_path):
    background.save(tmp_path / "background.npz")
    back = Background.load(tmp_path / "background.npz")
    for name in ("hu", "classes", "clearance", "levels", "foramina", "metal", "origin", "spacing"):
        assert np.array_equal(getattr(back, name), getattr(background, name))
    code = (
        "import sys; from carotid_training.necks.tissue.background import Background;"
        f"Background.load({str(tmp_path / 'background.npz')!r}); assert 'SimpleITK' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / "other.npz").write_bytes(b"no background")
    with pytest.raises(VolumeError, match=r"other\.npz is not a prepared background"):
        Background.load(tmp_path / "other.npz")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), strength=st.floats(0.2, 1.8))
def test_a_deformation_can_be_undone_and_never_folds(seed, strength):
    deformation = Deformation.draw(torch.Generator().manual_seed(seed), strength)
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(seed + 1)) * 160 - 80
    assert (deformation(deformation.inverse(points)) - points).norm(dim=-1).max() < 0.01
    step = 0.5
    columns = [
        deformation(points + step * torch.eye(3)[a]) - deformation(points - step * torch.eye(3)[a]) for a in range(3)
    ]
    volume = torch.linalg.det(torch.stack(columns, -1) / (2 * step))
    assert (volume * (-1 if deformation.mirrored else 1)).min() > 0.03


def test_a_mirrored_background_exchanges_left_and_right(background):
    seen = set()
    for seed in range(12):
        deformation = Deformation.draw(torch.Generator().manual_seed(seed), 1.0)
        tooth = deformation.inverse(torch.from_numpy(background.metal[0, :3]))  # on the scan's left
        assert (tooth[0] < 0) == deformation.mirrored
        target = placement._Target(background, deformation)
        assert (target.foramina[0][:, 0].mean() - target.foramina[1][:, 0].mean()) > 15
        seen.add(deformation.mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize("style", [painted, recoloured])
def test_a_seed_gives_the_same_voxels_and_another_seed_another_neck(background, style):
    grid = Grid.aligned(torch.tensor([20.0, -10, 0]), 2.0, (32, 32, 32))
    first, again, other = (style.draw(seed, [background]).render([grid])[0] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 5


def test_tissue_is_the_same_on_any_grid(background):
    deformation = Deformation.draw(torch.Generator().manual_seed(3), 1.0)
    tissue = DeformedTissue(background, deformation, lambda device: background.on(device, "quiet"))

    def render(grid):
        return tissue.render(grid, "cpu", NO_FIELD)[0]

    fine = Grid.aligned(torch.zeros(3), 0.5, (128, 128, 128))
    voxels = render(fine)
    # Averaged, it is what a coarse grid shows.
    for spacing, factor in ((1.0, 2), (2.0, 4), (4.0, 8)):
        coarse = render(Grid.aligned(torch.zeros(3), spacing, tuple(n // factor for n in fine.shape)))
        expected = torch.nn.functional.avg_pool3d(voxels[None, None], factor)[0, 0]
        assert (coarse - expected).abs().mean() < 0.12 * expected.std()
    turned = fine.affine.clone()
    turned[:3, :3] = turned[:3, [2, 0, 1]]
    assert (render(Grid(turned, fine.shape)).permute(2, 0, 1) - voxels).abs().mean() < 1.0


def test_grain_finer_than_a_voxel_is_averaged_not_aliased(background):
    grain = torch.randn(1, 1, *background.hu.shape, generator=torch.Generator().manual_seed(0)) * 100
    tissue = DeformedTissue(background, Deformation.draw(torch.Generator().manual_seed(3), 0.05), lambda device: grain)

    def spread(spacing, shape):
        return float(tissue.render(Grid.aligned(torch.zeros(3), spacing, shape), "cpu", NO_FIELD)[0].std())

    fine = spread(1.0, (48, 48, 48))
    assert spread(4.0, (12, 12, 12)) < 0.35 * fine
    assert spread((1.0, 1.0, 5.0), (10, 48, 48)) < 0.75 * fine


def test_slabs_of_a_large_grid_join_without_a_seam(background):
    neck = painted.draw(2, [background])
    whole = Grid.aligned(torch.zeros(3), 1.0, (64, 256, 256))  # two slabs
    part = Grid.aligned(torch.zeros(3), 1.0, (24, 256, 256))
    seen, expected = (neck.tissue.render(grid, "cpu", neck.sheath)[0] for grid in (whole, part))
    assert (seen[20:44] - expected).abs().mean() < 1.0


def lumen_clearance(neck, names: tuple[str, ...]) -> torch.Tensor:
    """Clearance (mm) of the centrelines of these arteries from the scan's lower end to the atlas."""
    found = []
    background = neck.tissue.background
    for tube in neck.tree.tubes:
        if tube.role == "lumen" and tube.name.endswith(names):
            at = neck.tissue.deformation(torch.from_numpy(tube.points).float())
            at = at[(at[:, 2] > background.lower) & (at[:, 2] < background.levels[0, 2])]
            flat = background.normalised(at)[None, None, None]
            field = background.on("cpu", "clearance")
            found.append(torch.nn.functional.grid_sample(field, flat, align_corners=False).flatten())
    return torch.cat(found)


CAROTIDS = ("common_carotid", "internal_carotid", "external_carotid")


def check_vessels_avoid_bone_and_air(background):
    clearance = torch.cat([lumen_clearance(painted.draw(seed, [background]), CAROTIDS) for seed in range(6)])
    assert (clearance < 0).float().mean() < 0.03
    assert (clearance < 1.5).float().mean() < 0.08


def test_carotids_run_through_neither_bone_nor_air_nor_skin(background):
    check_vessels_avoid_bone_and_air(background)


def test_carotids_run_through_neither_bone_nor_air_nor_skin_of_the_real_ct(real_background):
    check_vessels_avoid_bone_and_air(real_background)


def test_vertebral_arteries_pass_near_their_foramina(background):
    misses = []
    for seed in range(4):
        neck = painted.draw(seed, [background])
        target = placement._Target(background, neck.tissue.deformation).foramina
        for side, name in enumerate(("left_vertebral", "right_vertebral")):
            tube = next(t for t in neck.tree.tubes if t.name == name)
            for hole in target[side][10:45:5]:
                nearest = tube.points[np.argmin(np.abs(tube.points[:, 2] - hole[2]))]
                misses.append(np.linalg.norm(nearest[:2] - hole[:2]))
    assert np.median(misses) < 3.0


def test_every_neck_covers_its_middle_and_keeps_its_bifurcations_inside_the_body(background):
    for seed in range(4):
        neck = painted.draw(seed, [background])
        assert neck.lower_mm < -30 and neck.upper_mm > 60
        assert neck.style == "painted" and neck.seed == seed
        points = neck.bifurcations(UP).float()
        assert points[0, 0] > points[1, 0]  # left is left
        assert class_at(background, neck.tissue.deformation(points)).ne(OUTSIDE).all()


def is_plain(neck, side: int) -> bool:
    """Whether this bifurcation is there, healthy and filled with contrast."""
    name = ("left", "right")[side]
    tubes = [t for t in neck.tree.tubes if t.name == f"{name}_common_carotid"]
    return bool(neck.present[side]) and neck.facts[f"{name}_disease"] == "healthy" and tubes[0].hu > 150


def split_height(neck, side: int, spacing: float) -> float:
    """z of the first level on which the internal and the external carotid lie in separate bright regions."""
    name = ("left", "right")[side]
    tubes = {t.name: t for t in neck.tree.tubes}
    truth = neck.bifurcations(UP)[side]
    grid = Grid.aligned(truth, spacing, (61, 61, 61))
    volume = neck.render([grid])[0].numpy()
    lumen = tubes[f"{name}_internal_carotid"].hu
    heights = float(truth[2]) + spacing * (np.arange(61) - 30)
    for k, z in enumerate(heights):
        cells = []
        for vessel in ("internal", "external"):
            points = tubes[f"{name}_{vessel}_carotid"].points
            place = [np.interp(z, points[:, 2], points[:, a]) for a in (0, 1)]
            cells.append(tuple(np.round((np.array(place) - truth[:2].numpy()) / spacing + 30).astype(int)[::-1]))
        # A wall thinner than a voxel dims the lumen between the two but little.
        labels, _ = ndimage.label(volume[k] > 0.9 * lumen)
        if all(labels[c] for c in cells) and labels[cells[0]] != labels[cells[1]]:
            return z
    return float("nan")


def check_the_split_is_where_the_label_says(style, background, seeds):
    spacing, misses = 0.5, []
    for seed in seeds:
        neck = style.draw(seed, [background])
        for side in range(2):
            if is_plain(neck, side):
                misses.append(split_height(neck, side, spacing) - float(neck.bifurcations(UP)[side, 2]))
    assert len(misses) >= 4
    assert np.isfinite(misses).all() and np.abs(misses).max() <= spacing + 1e-3


def test_the_painted_lumen_splits_within_a_voxel_of_the_label(background):
    check_the_split_is_where_the_label_says(painted, background, range(7))


def test_the_painted_lumen_splits_within_a_voxel_of_the_label_in_the_real_ct(real_background):
    check_the_split_is_where_the_label_says(painted, real_background, range(7))


def test_the_label_lies_on_the_wall_between_the_lumens(background):
    for style in (painted, recoloured):
        neck = style.draw(11, [background])
        distance = neck.tree.lumen_distance(neck.bifurcations(UP).float())
        assert distance[neck.present].abs().max() < 0.6


def test_a_recoloured_lumen_stands_out_from_what_surrounds_it(background):
    for seed in range(4):
        neck = recoloured.draw(seed, [background])
        grids = [Grid.aligned(point, 0.5, (25, 41, 41)) for point in neck.bifurcations(UP)]
        for side, (grid, hu) in enumerate(zip(grids, neck.render(grids), strict=True)):
            if not is_plain(neck, side):
                continue
            gap = neck.tree.lumen_distance(grid.points())
            beside = hu[(gap > 2.0) & (gap < 4.0)]
            assert (beside - neck.tree.carotids[side].common.hu).abs().median() > 60


def test_soft_tissue_is_never_recoloured_like_the_lumen(background):
    for seed in range(24):
        for lumens in ([120.0], [120.0, 390.0], [120.0, 200.0]):
            colouring = recoloured.Colouring(background, torch.Generator().manual_seed(seed), lumens)
            soft = colouring.table.view(5, -1)[[FAT, SOFT]]
            assert min((soft - lumen).abs().min() for lumen in lumens) > 100


def test_a_recoloured_neck_is_never_one_without_contrast():
    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def contrast(tree: VesselTree) -> float:
        return min(carotid.common.hu for carotid in tree.carotids)

    def as_drawn(seed: int) -> VesselTree:
        generator = seeded(seed)
        return VesselTree.draw(generator, wild=float(torch.rand((), generator=generator)))

    dark = next(seed for seed in range(400) if contrast(as_drawn(seed)) < 75)
    assert contrast(recoloured.enhanced_tree(seeded(dark))) >= 100


def test_recolouring_goes_far_beyond_plausible_tissue_and_leaves_anatomy_out(background):
    muscle, bone = (
        background.normalised(torch.tensor([p]))[None, None, None] for p in ([45.0, 20.0, 0.0], [0.0, 0.0, 0.0])
    )
    tones = []
    for seed in range(24):
        volume = recoloured.Colouring(background, torch.Generator().manual_seed(seed), lumens=[350.0])("cpu")
        tones.append([float(torch.nn.functional.grid_sample(volume, at, align_corners=False)) for at in (muscle, bone)])
    soft, hard = np.array(tones).T
    assert soft.min() < -20 and soft.max() > 140
    assert np.any(hard < soft + 50) and np.any(hard > soft + 400)


def test_metal_is_reported_exactly_where_it_is_painted(background):
    kept = set()
    for seed in range(8):
        neck = painted.draw(seed, [background])
        place = neck.tissue.deformation.inverse(torch.from_numpy(background.metal[:, :3]))[0]
        brightest = neck.tissue.render(Grid.aligned(place, 1.0, (9, 9, 9)), "cpu", NO_FIELD)[0].max()
        reported = len(neck.metal) > 0 and bool((neck.metal[:, :3] - place).norm(dim=-1).min() < 0.1)
        assert reported == bool(brightest > 2000)
        kept.add(reported)
    assert kept == {True, False}


def test_the_real_ct_is_understood(real_background):
    levels = real_background.levels
    assert np.all((-np.diff(levels[1:, 2]) > 11) & (-np.diff(levels[1:, 2]) < 22))
    inside = levels[1:6][levels[1:6, 2] > real_background.lower]
    bodies = class_at(real_background, torch.from_numpy(inside))
    assert (bodies == BONE).float().mean() > 0.7
    canal = class_at(real_background, torch.from_numpy(real_background.canal))
    assert (canal == SOFT).float().mean() > 0.8
    apart = real_background.foramina[0][:, 0] - real_background.foramina[1][:, 0]
    assert 24 < apart.mean() < 42
