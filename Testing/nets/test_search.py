"""The search in several views of a scan: the clearest is kept, and all answers are in patient millimetres."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets import roll
from CarotidLandmarkLib.nets import search as seeking
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.nets.roll import turn
from CarotidLandmarkLib.nets.search import SearchResult
from CarotidLandmarkLib.volume import Volume

from .untrained import small_net, textured_scan

SCALES = (4.0, 2.0, 1.0, 0.5)
CLEARER = 1e6
CENTRE_LPS = (12.0, -25.0, 90.0)  # enlarged about the origin instead, everything would be elsewhere


@pytest.fixture(autouse=True)
def any_width_may_be_a_childs(monkeypatch):
    """The textured scan is wider than a child's neck."""
    monkeypatch.setattr(seeking, "WIDEST_CHILD_MM2", np.inf)


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


def search_in(net, pyramid, step=lambda words, share: None):
    with torch.no_grad():
        return seeking.seek(net, pyramid, step)


def size_of(view):
    """How many times as large as the patient the scan was seen."""
    return float(view.to_patient.det()) ** (-1 / 3)


def kind_of(view):
    return "enlarged" if size_of(view) > 1.1 else "brighter" if view.contrast > 1 else "coarse"


def mean_peak(net, view):
    with torch.no_grad():
        return float(net.search(view)[0][-1].peak.float().mean())


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


def biased(net, kind, by=CLEARER):
    """The net, whose peaks are so much higher in one kind of view."""
    search = net.search

    def searched(view):
        outputs, looks = search(view)
        more = by if kind_of(view) == kind else 0.0
        return [*outputs[:-1], replace(outputs[-1], peak=outputs[-1].peak + more)], looks

    net.search = searched
    return net


def small_search(view):
    with torch.no_grad():
        return small_net().search(view)


def view_of(pyramid, kind):
    seen = {"brighter": pyramid.brightened(seeking.CONTRAST), "enlarged": pyramid.enlarged(seeking.ENLARGEMENT)}
    return seen.get(kind, pyramid)


@pytest.mark.parametrize("kind", ["brighter", "enlarged"])
@pytest.mark.parametrize("above", [True, False], ids=["clearer", "not clearer"])
def test_another_view_is_taken_where_its_peaks_are_higher(pyramid, monkeypatch, kind, above):
    monkeypatch.setattr(seeking, "CLEAR", np.inf)
    net = small_net()
    of_each = {name: mean_peak(net, view_of(pyramid, name)) for name in ("coarse", "brighter", "enlarged")}
    highest_other = max(peak for name, peak in of_each.items() if name != kind)
    result = search_in(biased(small_net(), kind, highest_other - of_each[kind] + (1e-3 if above else -1e-3)), pyramid)
    assert (kind_of(result.view) == kind) == above
    with torch.no_grad():
        outputs, looks = net.search(view_of(pyramid, kind_of(result.view)))
    assert torch.equal(result.outputs[-1].position_lps, outputs[-1].position_lps)
    assert torch.equal(result.looks.position_lps, looks.position_lps)


def test_where_the_peaks_are_clear_there_is_no_other_view(pyramid, monkeypatch):
    monkeypatch.setattr(seeking, "roll_to_undo", lambda pyramid: 0.0)
    clear = mean_peak(small_net(), pyramid)
    for limit, wanted in ((clear, ["coarse"]), (clear + 1e-3, ["coarse", "brighter", "enlarged"])):
        monkeypatch.setattr(seeking, "CLEAR", limit)
        told = []
        search_in(small_net(), pyramid, lambda words, share, told=told: told.append(words))
        assert told == wanted


def test_a_brighter_scan_has_the_same_air_and_muscle_and_more_of_what_is_brighter(volume, pyramid):
    array = volume.array.copy()
    brighter = pyramid.brightened(2.0)
    centres = torch.as_tensor(volume.centre_lps, dtype=torch.float32)[None, None, None]
    for seen, plain in (
        (brighter.whole(4.0)[0], pyramid.whole(4.0)[0]),
        (brighter.patches(1.0, centres, 24), pyramid.patches(1.0, centres, 24)),
    ):
        hu = plain - 1024
        assert float(hu.min()) < 40 < 60 < float(hu.max())
        assert torch.allclose(seen - 1024, torch.where(hu > 50, 50 + 2 * (hu - 50), hu), atol=1e-3)
    assert np.array_equal(array, volume.array)
    assert torch.equal(brighter.statistics(centres[0, 0, 0], 6.0), pyramid.statistics(centres[0, 0, 0], 6.0))


@pytest.mark.parametrize("kind", ["coarse", "brighter", "enlarged"])
def test_what_other_views_found_is_a_reason_for_doubt_and_never_the_highest_peak(pyramid, monkeypatch, kind):
    monkeypatch.setattr(seeking, "CLEAR", np.inf)
    monkeypatch.setattr(seeking, "roll_to_undo", lambda pyramid: 0.0)
    result = search_in(biased(small_net(), kind), pyramid)
    places, peaks = result.places()
    views = map(partial(view_of, pyramid), ("coarse", "brighter", "enlarged"))
    each = [SearchResult(view, *small_search(view)) for view in views]
    for one in each:
        looked = one.in_patient(one.looks.position_lps)[0]
        for landmark in range(2):
            off = torch.cdist(looked[landmark], places[0, landmark])
            assert float(off.amin(dim=1).max()) < 1e-3  # every look of every view is among the places
    own = result.in_patient(result.looks.position_lps)
    taken = result.looks.peak[0].argmax(-1)
    assert torch.equal(peaks[0].argmax(-1), taken) and torch.equal(places[:, :, : own.shape[2]], own)
    assert torch.equal(peaks.amax(-1), result.looks.peak.amax(-1))


def test_what_is_found_enlarged_is_told_where_it_is_in_the_patient(volume, pyramid):
    """A voxel of the scan keeps its index, however large the scan is taken to be."""
    result = search_in(biased(small_net(), "enlarged"), pyramid)
    larger = of_a_larger_patient(volume, seeking.ENLARGEMENT)
    places = result.looks.position_lps[0]
    ours = volume.to_voxels(result.in_patient(places).numpy())
    assert np.allclose(ours, larger.to_voxels(places.numpy()), atol=1e-3)


def test_a_spread_is_told_in_millimetres_of_the_patient(pyramid):
    result = search_in(biased(small_net(), "enlarged"), pyramid)
    points = torch.randn((500, 3), generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 2.0, 3.0])
    shrunk = torch.cov(result.in_patient(points).T)
    assert torch.allclose(result.covariance_in_patient(torch.cov(points.T)), shrunk, rtol=1e-3, atol=1e-3)


def rolled(volume, degrees):
    """The same voxels of a patient who lies rolled, positive onto the left side."""
    transform = turn(torch.as_tensor(volume.centre_lps), degrees).numpy()
    return Volume(volume.array, transform @ volume.affine_lps), transform


@pytest.mark.parametrize("degrees", [-50.0, 20.0, 65.0])
@pytest.mark.parametrize("kind", ["coarse", "brighter", "enlarged"])
def test_a_rolled_patient_is_searched_upright_and_answered_as_they_lie(volume, monkeypatch, degrees, kind):
    lying, transform = rolled(volume, degrees)
    net = biased(small_net(), kind)
    monkeypatch.setattr(seeking, "roll_to_undo", lambda pyramid: 0.0)
    upright = search_in(net, Pyramid(volume, SCALES))
    monkeypatch.setattr(seeking, "roll_to_undo", lambda pyramid: degrees)
    result = search_in(net, Pyramid(lying, SCALES))
    assert result.rolled == degrees and upright.rolled == 0.0
    ours = result.in_patient(result.outputs[0].position_lps)[0, :, 0].numpy()
    theirs = upright.in_patient(upright.outputs[0].position_lps)[0, :, 0].numpy() @ transform[:3, :3].T
    assert np.allclose(ours, theirs + transform[:3, 3], atol=0.01)
    points = torch.randn((500, 3), generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 2.0, 3.0])
    told = result.covariance_in_patient(torch.cov(points.T))
    assert torch.allclose(told, torch.cov(result.in_patient(points).T), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("degrees", "gain", "undone"),
    [(15.1, 0.16, True), (-64.9, 0.16, True), (14.9, 0.5, False), (45.0, 0.14, False), (-65.1, 0.5, False)],
)
def test_a_roll_is_undone_where_it_is_large_and_plain_to_see(pyramid, monkeypatch, degrees, gain, undone):
    monkeypatch.setattr(roll, "roll_degrees", lambda pyramid: (degrees, gain))
    assert search_in(small_net(), pyramid).rolled == (degrees if undone else 0.0)


@pytest.mark.parametrize(
    "options",
    [{"mode_window_mm": None}, {"scales_mm": (4.0, 2.0), "widths": ((4, 8, 8),) * 2, "patch_sizes": (24,)}],
    ids=["paper", "two scales"],
)
def test_a_net_that_does_not_search_sees_the_scan_as_it_is(volume, options):
    net = biased(small_net(**options), "enlarged")
    assert size_of(search_in(net, Pyramid(volume, net.architecture.scales_mm)).view) == pytest.approx(1.0)


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
    assert seeking.narrowest_mm2(Pyramid(body(turned), SCALES)) == pytest.approx(neck_mm2, rel=0.06)


def test_only_what_may_be_a_child_is_looked_at_enlarged(monkeypatch):
    pyramid = Pyramid(body(np.eye(3)), SCALES)
    for widest_mm2, size in ((6000.0, seeking.ENLARGEMENT), (4000.0, 1.0)):
        monkeypatch.setattr(seeking, "WIDEST_CHILD_MM2", widest_mm2)
        told = []
        result = search_in(biased(small_net(), "enlarged"), pyramid, lambda words, share, told=told: told.append(words))
        assert size_of(result.view) == pytest.approx(size)
        assert ("enlarged" in told) == (size > 1)


def test_a_scan_that_would_be_too_large_is_not_enlarged(monkeypatch, pyramid):
    voxels = 1.5**3 * (60 * 64 * 72) * 2**3 / 4**3
    monkeypatch.setattr(seeking, "LARGEST_LATTICE", voxels - 1)
    assert size_of(search_in(biased(small_net(), "enlarged"), pyramid).view) == pytest.approx(1.0)
    monkeypatch.setattr(seeking, "LARGEST_LATTICE", voxels + 1)
    assert size_of(search_in(biased(small_net(), "enlarged"), pyramid).view) == pytest.approx(seeking.ENLARGEMENT)


def test_the_caller_is_told_before_every_search(pyramid):
    told = []
    search_in(
        small_net(),
        pyramid,
        lambda words, share: told.append((words, share)),
    )
    assert [words for words, _ in told] == ["coarse", "brighter", "enlarged"]
    assert 0 == told[0][1] < told[1][1] < told[2][1] < 1
