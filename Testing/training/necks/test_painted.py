"""Necks made of real tissue: the deformation of a background, and the vessels in it.

Everything is tried on a drawn background; what only a real CT can show runs where the environment variable
CAROTID_BACKGROUND_CT names one.
"""

import numpy as np
import pytest
import torch
from carotid_training.necks.neck import Grid
from carotid_training.necks.tissue import painted, placement, recoloured
from carotid_training.necks.tissue.background import FAT, OUTSIDE, SOFT
from carotid_training.necks.tissue.deformation import Deformation, DeformedTissue
from carotid_training.necks.vessels.tree import VesselTree
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from .drawn_ct import NO_FIELD, UP, class_at, is_plain


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
    layout = VesselTree.draw(torch.Generator().manual_seed(0)).layout
    for seed in range(12):
        deformation = Deformation.draw(torch.Generator().manual_seed(seed), 1.0)
        tooth = deformation.inverse(torch.from_numpy(background.metal[0, :3]))  # on the scan's left
        assert (tooth[0] < 0) == deformation.mirrored
        target = placement._Fit(layout, background, deformation)
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
    samples = []
    background = neck.tissue.background
    for tube in neck.tree.tubes:
        if tube.role == "lumen" and tube.name.endswith(names):
            at = neck.tissue.deformation(torch.from_numpy(tube.points).float())
            at = at[(at[:, 2] > background.lower) & (at[:, 2] < background.levels[0, 2])]
            flat = background.normalised(at)[None, None, None]
            field = background.on("cpu", "clearance")
            samples.append(torch.nn.functional.grid_sample(field, flat, align_corners=False).flatten())
    return torch.cat(samples)


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
        target = placement._Fit(neck.tree.layout, background, neck.tissue.deformation).foramina
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
    verdicts = set()
    for seed in range(8):
        neck = painted.draw(seed, [background])
        place = neck.tissue.deformation.inverse(torch.from_numpy(background.metal[:, :3]))[0]
        brightest = neck.tissue.render(Grid.aligned(place, 1.0, (9, 9, 9)), "cpu", NO_FIELD)[0].max()
        reported = len(neck.metal) > 0 and bool((neck.metal[:, :3] - place).norm(dim=-1).min() < 0.1)
        assert reported == bool(brightest > 2000)
        verdicts.add(reported)
    assert verdicts == {True, False}
