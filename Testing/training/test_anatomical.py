"""The anatomical style: what must be true of any neck it draws, checked on voxels."""

import itertools
import math

import numpy as np
import pytest
import torch
from carotid_training.necks import anatomical
from carotid_training.necks.anatomical import draw
from carotid_training.necks.neck import Grid
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

UP = torch.tensor([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def patients():
    """Five necks that look like patients: no domain randomisation, a larynx, no tubes, and an unoperated spine."""
    found = []
    for seed in itertools.count():
        neck = draw(seed)
        facts = neck.facts
        if facts["wild"] == 0 and facts["devices"] == "none" and not (facts["laryngectomy"] or facts["operated_spine"]):
            found.append(neck)
        if len(found) == 5:
            return found


def look(neck, points, size_mm=0.6):
    """HU of single voxels at points [n, 3]."""
    grids = [Grid.aligned(torch.as_tensor(p), size_mm, (1, 1, 1)) for p in np.asarray(points).reshape(-1, 3)]
    return torch.stack([v.reshape(()) for v in neck.render(grids)])


def test_the_airway_is_air_from_the_pharynx_to_the_trachea(patients):
    for neck in patients:
        course = neck._tree.layout.airway
        trachea = course[(course[:, 2] < -55) & (course[:, 2] > -100)]
        assert (look(neck, trachea[::3]) < -900).all()
        pharynx = course[(course[:, 2] < 20) & (course[:, 2] > 5)]
        assert (look(neck, pharynx) < -800).float().mean() >= 0.5


def test_the_cord_lies_behind_bodies_of_bone(patients):
    for neck in patients:
        bodies = neck._tree.layout.spine[4:9]  # C7 to C3
        assert (look(neck, bodies, 4.0) > 60).all()
        behind = bodies + np.array([0.0, 15.5, 0.0])
        cord = look(neck, behind, 2.0)
        assert ((cord > 0) & (cord < 90)).all()
        assert (look(neck, bodies + np.array([0.0, 33.0, -4.0]), 4.0) > -150).all()


def test_vertebral_arteries_pass_through_rings_of_bone(patients):
    rings = []
    for neck in patients[:2]:
        for holes in neck._tree.layout.foramina[:4]:  # C6 to C3
            for hole in holes:
                turns = np.linspace(0, 2 * math.pi, 12, endpoint=False)
                ways = np.stack([np.cos(turns), np.sin(turns), np.zeros(12)], 1)
                steps = np.arange(3.5, 7.5, 1.0)
                hu = look(neck, hole + (ways[:, None] * steps[:, None]).reshape(-1, 3)).reshape(12, -1)
                rings.append(float((hu.amax(1) > 250).float().mean()))
                assert look(neck, [hole], 1.0) < 1500  # the hole itself is not of bone
    assert np.mean(rings) > 0.85


def test_arteries_are_brighter_than_the_muscle_around_them(patients):
    for neck in patients:
        inside = [t for t in neck._tree.tubes if t.role == "lumen" and t.radii.mean() > 2.0]
        points = np.concatenate([t.points[len(t.points) // 3 :: 9] for t in inside])
        points = points[np.abs(points[:, 2]) < 60]
        assert (look(neck, points) > neck.person.muscle_hu + 40).float().mean() > 0.7


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_voxels_and_another_seed_another_neck(seed):
    grid = Grid.aligned(torch.zeros(3), 6.0, (20, 36, 36))
    (first,), (again,), (other,) = (draw(s).render([grid]) for s in (seed, seed, seed + 1))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 5


def test_a_fine_grid_averaged_agrees_with_a_coarse_one(patients):
    for neck in patients[:2]:
        fine = Grid.aligned(torch.tensor([0.0, -10.0, 5.0]), 1.0, (48, 96, 128))
        coarse = Grid.aligned(torch.tensor([0.0, -10.0, 5.0]), 2.0, (24, 48, 64))
        one, two = neck.render([fine, coarse])
        pooled = functional.avg_pool3d(one[None], 2)[0]
        apart = (pooled - two).abs()
        assert apart.median() < 4
        assert apart.mean() < 25


@settings(max_examples=5, deadline=None)
@given(order=st.permutations([0, 1, 2]), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_orientation_of_the_grid_does_not_change_the_neck(order, flips):
    neck = draw(3)
    plain = Grid.aligned(torch.tensor([20.0, -10.0, 0.0]), 1.5, (16, 40, 40))
    counts = [plain.shape[2], plain.shape[1], plain.shape[0]]
    affine = torch.eye(4, dtype=torch.float64)
    start = plain.affine[:3, 3].clone()
    for column, axis in enumerate(order):
        way = -1.0 if flips[axis] else 1.0
        affine[:3, column] = way * plain.affine[:3, axis]
        if flips[axis]:
            start += plain.affine[:3, axis] * (counts[axis] - 1)
    affine[:3, 3] = start
    turned = Grid(affine, tuple(counts[axis] for axis in order[::-1]))
    reference, image = neck.render([plain, turned])
    back = image.permute(*[order[::-1].index(axis) for axis in (2, 1, 0)])
    back = back.flip([2 - axis for axis in range(3) if flips[axis]])
    apart = (back - reference).abs()
    assert apart.mean() < 3


def test_left_and_right_are_alike_but_not_mirror_images(patients):
    for neck in patients[:3]:
        middle = float(neck._tree.layout.spine[7, 0])
        (image,) = neck.render([Grid.aligned(torch.tensor([middle, 0.0, 0.0]), 2.0, (20, 80, 80))])
        differs = ((image - image.flip(2)).abs() > 60).float().mean()
        assert 0.02 < differs < 0.4


def test_tissue_reaches_both_ends_of_the_modelled_range():
    for neck in (draw(1), draw(2)):
        assert neck.lower_mm <= -230 and neck.upper_mm >= 170
        for z in (-229.0, 168.0):
            (image,) = neck.render([Grid.aligned(torch.tensor([0.0, 10.0, z]), 4.0, (1, 60, 60))])
            assert (image > -300).float().mean() > 0.1


def test_a_large_grid_is_rendered_in_slabs_that_fit_together(monkeypatch):
    neck = draw(4)
    grid = Grid.aligned(torch.zeros(3), 3.0, (24, 50, 50))
    (whole,) = neck.render([grid])
    monkeypatch.setattr(anatomical, "_SLAB_VOXELS", 7 * 50 * 50)
    (pieces,) = neck.render([grid])
    assert pieces.shape == whole.shape
    assert (pieces - whole).abs().mean() < 2


def test_facts_name_the_bifurcations(patients):
    for neck in patients:
        left, right = neck.bifurcations(UP)
        assert left[0] > right[0]
        assert neck.facts["left_bifurcation_z"] == pytest.approx(float(left[2]))
        assert neck.facts["bifurcation_distance_mm"] == pytest.approx(float((left - right).norm()))
        assert neck.facts["right_bifurcation_level"] in {"C1", "C2", "C3", "C4", "C5", "C6", "C7"}


def test_dental_metal_is_where_the_neck_says():
    neck = next(n for n in map(draw, itertools.count()) if n.facts["wild"] == 0 and n.facts["dental_fillings"] > 3)
    fillings = neck.metal[-int(neck.facts["dental_fillings"]) :]
    assert (look(neck, fillings[:, :3], 1.0) > 2500).float().mean() > 0.8
    assert ((fillings[:, 2] > 10) & (fillings[:, 2] < 70)).all()


def test_shoulder_bones_are_reported_as_dense():
    neck = draw(6)
    heads = neck.dense[-2:]
    assert heads[0, 0] > 100 > -100 > heads[1, 0]


def test_sixteen_necks_cover_body_sizes_and_omissions():
    necks = [draw(seed) for seed in range(16)]
    fat = [n.person.fat_mm for n in necks]
    assert min(fat) < 4 and max(fat) > 14
    assert len({n.person.thyroid for n in necks}) >= 3
    assert len({n.person.arms for n in necks}) >= 2
    assert {bool(n.facts["wild"]) for n in necks} == {True, False}


def test_arteries_and_veins_stay_inside_the_skin(patients):
    outside = []
    for neck in patients:
        for vessels in (neck._tree.arteries, neck._tree.veins):
            near = vessels[np.abs(vessels[:, 2]) < 80][::9]
            # Two millimetres beyond the vessel, away from the midline: still no air unless it is an airway's.
            beyond = near[:, :3] + np.stack([np.sign(near[:, 0]) * (near[:, 3] + 2), 0 * near[:, 0], 0 * near[:, 0]], 1)
            grids = [Grid.aligned(torch.from_numpy(p), 1.0, (1, 1, 1)) for p in beyond]
            around = torch.stack([neck._outline.layers(grid, "cpu").around.reshape(()) for grid in grids])
            outside.append((around < -300).float().mean())
    assert torch.stack(outside).mean() < 0.01


def test_a_neck_without_a_larynx_breathes_through_a_stoma():
    neck = next(n for n in map(draw, itertools.count()) if n.facts["laryngectomy"] and n.facts["wild"] == 0)
    course = neck._tree.layout.airway
    larynx = course[(course[:, 2] < -25) & (course[:, 2] > -50)]
    trachea = course[(course[:, 2] < -75) & (course[:, 2] > -100)]
    assert (look(neck, larynx) > -300).all()
    assert (look(neck, trachea) < -900).all()
