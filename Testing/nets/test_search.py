"""The search in a scan as it is and enlarged: the clearer one is kept, and all answers are in patient millimetres."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets import search as sizes
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume

from .untrained import small_net, textured_scan

SCALES = (4.0, 2.0, 1.0, 0.5)
CLEARER = 1e6
CENTRE_LPS = (12.0, -25.0, 90.0)  # enlarged about the origin instead, everything would be elsewhere


@pytest.fixture(autouse=True)
def any_width_may_be_a_childs(monkeypatch):
    """The textured scan is wider than a child's neck."""
    monkeypatch.setattr(sizes, "WIDEST_CHILD_MM2", np.inf)


@pytest.fixture
def volume():
    return textured_scan(centre_lps=CENTRE_LPS)


@pytest.fixture
def pyramid(volume):
    return Pyramid(volume, SCALES)


def of_a_larger_patient(volume, size):
    """The same voxels, ``size`` times as large, about the middle of the scan."""
    affine = volume.affine_lps.copy()
    affine[:3] *= size
    affine[:3, 3] += (1 - size) * volume.centre_lps
    return Volume(volume.array, affine)


def sought(net, pyramid, step=lambda words, share: None):
    with torch.no_grad():
        return sizes.seek(net, pyramid, step)


def lead(net, pyramid):
    """By how much the peaks of the enlarged scan are higher, averaged over the landmarks."""
    with torch.no_grad():
        (*_, enlarged), _ = net.search(pyramid.enlarged(sizes.ENLARGEMENT))
        (*_, plain), _ = net.search(pyramid)
    return float((enlarged.peak - plain.peak).mean())


@pytest.mark.parametrize("size", [1.25, 1.5])
def test_an_enlarged_scan_looks_like_the_scan_of_a_larger_patient(volume, pyramid, size):
    enlarged = pyramid.enlarged(size)
    larger = Pyramid(of_a_larger_patient(volume, size), SCALES)
    seen, middle = enlarged.whole(4.0)
    wanted, wanted_middle = larger.whole(4.0)
    assert torch.allclose(middle, wanted_middle, atol=1e-3) and seen.shape == wanted.shape
    assert float((seen - wanted).abs().mean()) < 5.0  # HU; the middle is blurred a little more than it need be
    centres = middle[:, None, None] + torch.tensor([[[[8.0, -4.0, 6.0]], [[-10.0, 3.0, 0.0]]]])
    for scale in (1.0, 0.5):
        ours, theirs = (view.patches(scale, centres, 24) for view in (enlarged, larger))
        assert torch.allclose(ours, theirs, rtol=0, atol=0.5)


def biased(net, by):
    """The net, whose peaks are so much higher in its second search, that of the enlarged scan."""
    search, views = net.search, []

    def searched(view):
        outputs, looks = search(view)
        views.append(view)
        return [*outputs[:-1], replace(outputs[-1], peak=outputs[-1].peak + by * (len(views) - 1))], looks

    net.search = searched
    return net


@pytest.mark.parametrize("above", [True, False], ids=["clearer", "not clearer"])
def test_the_enlarged_scan_is_taken_where_its_peaks_are_higher(pyramid, above):
    net = small_net()
    found = sought(biased(small_net(), (1e-3 if above else -1e-3) - lead(net, pyramid)), pyramid)
    assert found.size == (sizes.ENLARGEMENT if above else 1.0)
    with torch.no_grad():
        outputs, looks = net.search(pyramid.enlarged(sizes.ENLARGEMENT) if above else pyramid)
    assert torch.equal(found.outputs[-1].position_lps, outputs[-1].position_lps)
    assert torch.equal(found.looks.position_lps, looks.position_lps)


def test_what_is_found_enlarged_is_told_where_it_is_in_the_patient(volume, pyramid):
    """A voxel of the scan keeps its index, however large the scan is taken to be."""
    found = sought(biased(small_net(), CLEARER), pyramid)
    larger = of_a_larger_patient(volume, sizes.ENLARGEMENT)
    places = found.looks.position_lps[0]
    ours = volume.to_voxels(found.in_patient(places).numpy())
    assert np.allclose(ours, larger.to_voxels(places.numpy()), atol=1e-3)


def test_a_spread_is_told_in_millimetres_of_the_patient(pyramid):
    found = sought(biased(small_net(), CLEARER), pyramid)
    points = torch.randn((500, 3), generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 2.0, 3.0])
    shrunk = torch.cov(found.in_patient(points).T)
    assert torch.allclose(found.covariance_in_patient(torch.cov(points.T)), shrunk, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"mode_window_mm": None}, {"scales_mm": (4.0, 2.0), "widths": ((4, 8, 8),) * 2, "patch_sizes": (24,)}],
    ids=["paper", "two scales"],
)
def test_a_net_that_does_not_search_sees_the_scan_as_it_is(volume, options):
    net = biased(small_net(**options), CLEARER)
    assert sought(net, Pyramid(volume, net.architecture.scales_mm)).size == 1.0


def body(turned: np.ndarray, crown: bool = True) -> Volume:
    """A trunk of 120 mm across above which is a neck of 80 mm, in voxels of 2.5 mm; a third of it is neck.

    Above the neck a head as wide as the trunk, that ends in a cone. ``turned``: directions of the image's axes.
    """
    n, step = 80, 2.5
    k, j, i = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * step] * 3, indexing="ij")
    across = np.where(np.abs(k) < 33, 80.0, 120.0)
    if crown:
        across = np.where(k > 90, 120 - 12 * (k - 90), across)
    array = np.where(np.hypot(i, j) < across / 2, 40, -1000).astype(np.int16)
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag([step] * 3)
    affine[:3, 3] = affine[:3, :3] @ np.full(3, -(n - 1) / 2)
    return Volume(array, affine)


TURNS = {
    "axial": np.eye(3),
    "tilted": np.array([[1, 0, 0], [0, 0.94, -0.34], [0, 0.34, 0.94]]),
    "upside down": np.diag([1.0, -1.0, -1.0]),
}


@pytest.mark.parametrize("turned", TURNS.values(), ids=TURNS)
def test_a_body_is_as_wide_as_its_neck_however_it_lies_and_whatever_its_crown(turned):
    neck_mm2 = np.pi * 40**2
    assert sizes.narrowest_mm2(Pyramid(body(turned), SCALES)) == pytest.approx(neck_mm2, rel=0.06)


def test_only_what_may_be_a_child_is_looked_at_enlarged(monkeypatch):
    pyramid = Pyramid(body(np.eye(3)), SCALES)
    for widest_mm2, size in ((6000.0, sizes.ENLARGEMENT), (4000.0, 1.0)):
        monkeypatch.setattr(sizes, "WIDEST_CHILD_MM2", widest_mm2)
        told = []
        assert (
            sought(biased(small_net(), CLEARER), pyramid, lambda words, share, told=told: told.append(words)).size
            == size
        )
        assert ("enlarged" in told) == (size > 1)


def test_a_scan_that_would_be_too_large_is_not_enlarged(monkeypatch, pyramid):
    voxels = 1.5**3 * (60 * 64 * 72) * 2**3 / 4**3
    monkeypatch.setattr(sizes, "LARGEST_LATTICE", voxels - 1)
    assert sought(biased(small_net(), CLEARER), pyramid).size == 1.0
    monkeypatch.setattr(sizes, "LARGEST_LATTICE", voxels + 1)
    assert sought(biased(small_net(), CLEARER), pyramid).size == sizes.ENLARGEMENT


def test_the_caller_is_told_before_every_search(pyramid):
    told = []
    sought(
        small_net(),
        pyramid,
        lambda words, share: told.append((words, share)),
    )
    assert [words for words, _ in told] == ["coarse", "enlarged"]
    assert 0 == told[0][1] < told[1][1] < 1
