"""Painting shapes onto grids: distances, partial volume, order, any orientation, and thin things at coarse spacing."""

import math

import pytest
import torch
from carotid_training.necks.neck import Grid
from carotid_training.necks.solids.render import paint
from carotid_training.necks.solids.shapes import Cones, Ellipsoids, signed_distance
from hypothesis import given, settings
from hypothesis import strategies as st

TISSUE = [100.0, 300.0]  # HU of the first and the second part


def ball(centre, radius, part=0):
    return Ellipsoids.of(torch.tensor([part]), torch.tensor([centre]).float(), radius * torch.eye(3)[None])


def cone(a, b, ra, rb, part=0):
    ends = (torch.tensor([end]).float() for end in (a, b))
    return Cones.between(torch.tensor([part]), *ends, torch.tensor([ra]), torch.tensor([rb]))


def scene(seed, cones=12, ellipsoids=6, parts=2):
    g = torch.Generator().manual_seed(seed)
    a = torch.rand(cones, 3, generator=g) * 40 - 20
    b = a + torch.randn(cones, 3, generator=g) * 8
    radii = torch.rand(2, cones, generator=g) * 3 + 1.5
    turn = torch.linalg.qr(torch.randn(ellipsoids, 3, 3, generator=g))[0]
    axes = turn * (torch.rand(ellipsoids, 3, 1, generator=g) * 8 + 3)
    centre = torch.rand(ellipsoids, 3, generator=g) * 40 - 20
    return (
        Cones.between(torch.randint(parts, (cones,), generator=g), a, b, radii[0], radii[1]),
        Ellipsoids.of(torch.randint(parts, (ellipsoids,), generator=g), centre, axes),
    )


def oblique(seed, spacing, shape):
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))[0]
    grid = Grid.aligned(torch.zeros(3), spacing, shape)
    affine = grid.affine.clone()
    affine[:3] = turn @ grid.affine[:3]
    return Grid(affine, shape)


def air(grid):
    return torch.full(grid.shape, -1000.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_each_voxel_follows_the_signed_distance_on_any_grid(seed):
    """The blocks, their culling and their polynomials give what the plain distance to each shape gives."""
    cones, ellipsoids = scene(seed, parts=1)
    grid = oblique(seed, (0.7, 0.9, 1.1), (37, 41, 43))
    hu = paint([air(grid)], [grid], [cones, ellipsoids], TISSUE[:1])[0]
    distance = signed_distance(grid.points(), cones, ellipsoids)
    assert bool((hu[distance < -1.0] == 100.0).all())
    assert bool((hu[distance > 1.0] == -1000.0).all())
    half = (hu - (-450.0)).abs() < 55
    assert bool((distance[half].abs() < 0.15).all())


def test_a_cone_is_the_union_of_the_spheres_along_it():
    a, b, ra, rb = torch.tensor([0.0, 0, 0]), torch.tensor([6.0, 2, 3]), 4.0, 1.0
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 20 - 8
    t = torch.linspace(0, 1, 2001)[:, None]
    spheres = torch.cdist(points, a + t * (b - a)) - (ra + t[:, 0] * (rb - ra))
    ours = signed_distance(points, cone(a.tolist(), b.tolist(), ra, rb))
    assert torch.allclose(ours, spheres.amin(1), atol=2e-3)


def test_the_painted_volume_is_the_volume_of_the_solid_at_every_spacing():
    for radius in (0.3, 0.8, 2.0, 6.0):
        for spacing in (0.5, 1.0, 2.0, 4.0):
            if radius < 0.35 * spacing:  # then single voxels are too coarse a sample of the tube to compare
                continue
            grid = Grid.aligned(torch.tensor([0.13, 0.27, 0.31]), spacing, (int(48 / spacing),) * 3)
            tube = cone((-3, -4, -40.0), (3, 4, 40.0), radius, radius)
            hu = paint([torch.zeros(grid.shape)], [grid], [tube], [1.0])[0]
            n = grid.shape[0]
            area = hu[n // 4 : 3 * n // 4].sum((1, 2)).mean() * spacing**2
            truth = math.pi * radius**2 * math.sqrt(1 + 25 / 40**2)
            assert float(area) == pytest.approx(truth, rel=0.13 if radius <= spacing else 0.08), (radius, spacing)


def test_thick_slices_smear_only_along_the_slice_axis():
    tube = cone((0, 0, -40.0), (0, 0, 40.0), 3.0, 3.0)
    grid = Grid.aligned(torch.zeros(3), (0.5, 0.5, 3.0), (11, 31, 31))
    hu = paint([torch.zeros(grid.shape)], [grid], [tube], [1.0])[0]
    r = grid.points()[..., :2].norm(dim=-1)
    assert bool((hu[r < 2.5] == 1.0).all()) and bool((hu[r > 3.5] == 0.0).all())


def test_later_parts_cover_earlier_ones_even_when_the_earlier_fill_whole_blocks():
    grid = Grid.aligned(torch.zeros(3), 1.0, (64, 64, 64))
    both = [ball((0, 0, 0), 25.0, 0), ball((0, 0, 0), 12.0, 1)]
    hu = paint([air(grid)], [grid], both, TISSUE)[0]
    r = grid.points().norm(dim=-1)
    assert bool((hu[r < 11] == 300).all())
    assert bool((hu[(r > 13) & (r < 24)] == 100).all())
    assert bool((hu[r > 26] == -1000).all())
    turned = paint([air(grid)], [grid], [ball((0, 0, 0), 25.0, 1), ball((0, 0, 0), 12.0, 0)], TISSUE)[0]
    assert bool((turned[r < 24] == 300).all())


def test_the_same_scene_on_two_grids_in_one_call_is_the_same_as_in_two_calls():
    cones, ellipsoids = scene(3)
    grids = [oblique(1, 0.8, (30, 33, 29)), Grid.aligned(torch.tensor([4.0, 0, 2]), 2.0, (25, 17, 40))]
    together = paint([air(g) for g in grids], grids, [cones, ellipsoids], TISSUE)
    for grid, hu in zip(grids, together, strict=True):
        assert torch.equal(hu, paint([air(grid)], [grid], [cones, ellipsoids], TISSUE)[0])


def test_painting_leaves_the_given_arrays_alone():
    cones, ellipsoids = scene(5)
    grid = Grid.aligned(torch.zeros(3), 1.0, (40, 40, 40))
    before = air(grid)
    paint([before], [grid], [cones, ellipsoids], TISSUE)
    assert bool((before == -1000).all())


def test_a_shape_of_an_unknown_part_and_a_wrong_array_are_refused():
    grid = Grid.aligned(torch.zeros(3), 1.0, (8, 8, 8))
    with pytest.raises(ValueError, match="among the 1 parts"):
        paint([air(grid)], [grid], [cone((0, 0, 0), (1, 0, 0), 1.0, 1.0, part=1)], TISSUE[:1])
    with pytest.raises(ValueError, match="shape of its grid"):
        paint([torch.zeros(4, 4, 4)], [grid], [], TISSUE)


@given(seed=st.integers(0, 10_000))
def test_a_box_is_called_clear_of_a_shape_only_where_all_of_it_is(seed):
    g = torch.Generator().manual_seed(seed)
    cones, ellipsoids = scene(seed)
    half = torch.linalg.qr(torch.randn(3, 3, generator=g))[0] * (torch.rand(3, generator=g) * 4 + 0.5)
    centre = torch.rand(3, generator=g) * 40 - 20
    corners = torch.cartesian_prod(*[torch.linspace(-1, 1, 7)] * 3) @ half.T + centre
    for kind in (cones, ellipsoids):
        shapes = torch.arange(len(kind.part))
        gap = kind.gap(centre.expand(len(shapes), 3), half.expand(len(shapes), 3, 3), shapes)
        inside = kind.bound(corners[:, None], shapes).amin(0)
        assert (gap <= inside.clamp(min=0) + 1e-3).all()
