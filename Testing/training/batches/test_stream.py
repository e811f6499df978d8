"""The training stream: what is in a batch lies where the batch says, and every batch is a function of its number."""

from __future__ import annotations

import itertools

import pytest
import torch
from carotid_training import seeds
from carotid_training.batches.cache import CACHE_VARIABLE
from carotid_training.batches.cases import CaseBatches
from carotid_training.batches.stream import COARSE_MM, FREE_VOXELS, NeckStream, box_sizes_of
from carotid_training.scans.sample import Sample
from carotid_training.scans.scanner import AIR_HU
from CarotidLandmarkLib.bundle import Architecture
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ..ball_scans import write_cohort
from ..stand_in_neck import StandInNeck

SMALL = {2.0: 24, 1.0: 32, 0.5: 40}


class StandInStyles:
    """One style; every fourth neck has lost its left bifurcation."""

    available = ("stand-in",)

    def check(self, names):
        assert set(names) <= set(self.available)

    def draw(self, style, seed, randomised):
        return StandInNeck(seed, present=(seed % 4 != 3, True))


def stream(**options):
    return NeckStream(**{"batch_size": 4, "styles": StandInStyles(), "box_sizes": SMALL, **options})


def bright_centre(image, origin, spacing, point, radius=11.0):
    """The centre of brightness near a point, LPS mm, of an image [k, j, i] on a lattice along the LPS axes."""
    k, j, i = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in image.shape), indexing="ij")
    positions = torch.stack([i, j, k], dim=-1) * spacing + origin.double()
    distance = (positions - point.double()).norm(dim=-1)
    weight = (image.double() - 150).clamp(min=0) * (distance < radius)
    return (positions * weight[..., None]).sum(dim=(0, 1, 2)) / weight.sum()


def test_the_truth_is_on_its_marker_at_every_scale():
    checked = 0
    for index in range(4):
        batch = stream(box_sizes={2.0: 24, 1.0: 36, 0.5: 52}).batch(index)
        for neck, side in itertools.product(range(4), range(2)):
            if not batch.present[neck, side]:
                continue
            point = batch.landmarks_lps[neck, side]
            views = [(COARSE_MM, batch.coarse[neck, 0], batch.coarse_origin_lps[neck])]
            views += [
                (scale, box[neck, side, 0], batch.box_origins_lps[scale][neck, side])
                for scale, box in batch.boxes.items()
            ]
            for scale, image, origin in views:
                centre = bright_centre(image, origin, scale, point)
                assert (centre - point).norm() < 0.15 * scale + 0.3
            checked += 1
    assert checked > 16


@given(noise=st.floats(0, 20), finest=st.sampled_from([0.25, 0.5, 1.0]))
def test_a_box_of_the_last_scale_holds_the_noise_and_lets_the_crop_follow_the_chain(noise, finest):
    architecture = Architecture(CAROTID_BIFURCATIONS, scales_mm=(4.0, 2.0, finest), widths=((4, 8),) * 3,
                                patch_sizes=(24, 32), noise_mm=noise)  # fmt: skip
    slack_mm = (box_sizes_of(architecture)[finest] - 32) / 2 * finest
    assert slack_mm >= noise + FREE_VOXELS * finest


def test_a_box_is_around_its_landmark_and_not_exactly_centred():
    shifts = []
    for index in range(3):
        batch = stream(box_sizes={1.0: SMALL[1.0]}).batch(index)
        middle = batch.box_origins_lps[1.0] + (SMALL[1.0] - 1) / 2
        shifts.append((batch.landmarks_lps - middle)[batch.present])
    shifts = torch.cat(shifts)
    assert shifts.abs().max() <= 3.01
    assert shifts.std(dim=0).min() > 0.7


def test_absent_landmarks_have_no_place_but_a_box_inside_the_scan(monkeypatch):
    seen, drawn = set(), []
    draw = Sample.draw

    def recorded(*arguments, **options):
        drawn.append(draw(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(Sample, "draw", recorded)
    for index in range(12):
        drawn.clear()
        batch = stream(box_sizes={2.0: SMALL[2.0]}).batch(index)
        assert torch.equal(batch.present, ~batch.landmarks_lps.isnan().any(dim=-1))
        for neck, side in itertools.product(range(4), range(2)):
            reason = drawn[neck].truth.absent_because[side]
            assert (reason == "") == bool(batch.present[neck, side])
            seen.add(reason)
            assert (batch.boxes[2.0][neck, side] > AIR_HU).float().mean() > 0.05
    assert seen == {"", "surgery", "outside"}


def test_the_same_number_gives_the_same_batch_and_another_one_does_not():
    first, again, other = stream().batch(5), stream().batch(5), stream().batch(6)
    assert torch.equal(first.coarse, again.coarse)
    assert all(torch.equal(first.boxes[s], again.boxes[s]) for s in SMALL)
    assert torch.equal(first.landmarks_lps.nan_to_num(), again.landmarks_lps.nan_to_num())
    assert not {*map(tuple, first.coarse_origin_lps.tolist())} & {*map(tuple, other.coarse_origin_lps.tolist())}
    assert not torch.equal(first.boxes[1.0], other.boxes[1.0])


def test_the_coarse_view_is_the_same_when_rendered_alone():
    assert torch.equal(stream(box_sizes={}).batch(2).coarse, stream().batch(2).coarse)


def test_workers_and_processes_together_give_every_batch_once_from_the_start():
    indices = []
    for rank in range(2):
        loader = DataLoader(stream(box_sizes={}, start=10, rank=rank, world_size=2), batch_size=None, num_workers=2)
        indices += [batch.index for batch in itertools.islice(loader, 4)]
    assert sorted(indices) == list(range(10, 18))


def test_each_case_comes_once_before_any_comes_again_and_every_time_in_another_order(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    dataset = write_cohort(tmp_path / "balls", {"train": 5})
    batches = CaseBatches(dataset, "train", 2, dataset.landmarks, {})
    drawn = [tuple(left) for n in range(10) for left in batches.batch(n).landmarks_lps[:, 0].tolist()]
    rounds = [drawn[begin : begin + 5] for begin in range(0, 20, 5)]
    assert all(len(set(each)) == 5 and set(each) == set(drawn) for each in rounds)
    assert len(set(map(tuple, rounds))) == 4


def test_outside_the_scan_is_air_and_the_lattice_suits_three_poolings():
    batch = stream(box_sizes={}).batch(0)
    assert all(n % 8 == 0 for n in batch.coarse.shape[2:])
    assert batch.coarse.dtype == torch.float16
    assert batch.coarse.min() == AIR_HU


def test_a_style_that_is_unknown_or_has_no_background_is_refused_with_a_sentence(monkeypatch):
    monkeypatch.delenv("CAROTID_BACKGROUND_CT", raising=False)
    with pytest.raises(ValueError, match="no style 'clay'"):
        NeckStream(1, weights={"clay": 1.0})
    with pytest.raises(ValueError, match="--background"):
        NeckStream(1, weights={"painted": 1.0})
    with pytest.raises(ValueError, match="above zero"):
        stream(weights={"stand-in": 0.0})


PARTS = st.tuples(st.sampled_from(seeds.SPLITS), st.integers(0, 255), st.integers(0, (1 << 22) - 1))


@given(first=PARTS, second=PARTS)
def test_seeds_never_collide_and_say_their_split(first, second):
    a, b = seeds.neck_seed(*first), seeds.neck_seed(*second)
    assert (a == b) == (first == second)
    assert seeds.split_of(a) == first[0]
    # torch's CPU generator ignores what is above 32 bits: a longer seed would share its neck with another.
    assert a < 1 << 32


@pytest.mark.parametrize("parts", [("train", 256, 0), ("train", -1, 0), ("test", 0, 1 << 22), ("exam", 0, 0)])
def test_seeds_out_of_range_are_refused(parts):
    with pytest.raises(ValueError):
        seeds.neck_seed(*parts)


def test_purposes_of_one_seed_draw_independent_numbers():
    draws = [torch.rand(4, generator=seeds.generator(9, purpose)) for purpose in ("scan", "batch")]
    assert not torch.equal(*draws)
