"""Scans are decompressed and reduced once, and seen from the cache as they were seen at first."""

from __future__ import annotations

import pytest
import torch
from carotid_training.batches import cache
from carotid_training.batches.cache import CACHE_VARIABLE, cached_pyramid
from CarotidLandmarkLib.dataset import Case, Dataset
from CarotidLandmarkLib.nets.pyramid import Pyramid

SCALES_MM = (4.0, 2.0, 1.0, 0.5)


@pytest.fixture
def case(tmp_path, case_volume, monkeypatch) -> Case:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    dataset = Dataset.create(tmp_path / "set", ("here",))
    dataset.add_case(case_volume, "c1", split="train")
    return dataset.case("c1")


def seen(pyramid: Pyramid) -> list[torch.Tensor]:
    centres = torch.tensor(pyramid.volume.centre_lps).float()[None, None, None]
    return [pyramid.whole(4.0)[0], *(pyramid.patches(scale, centres, 12) for scale in SCALES_MM)]


def test_a_scan_looks_from_the_cache_as_it_does_when_it_is_read(case):
    fresh = seen(Pyramid(case.read_volume(), SCALES_MM))
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(seen(cached_pyramid(case)), fresh, strict=True))


def test_a_scan_that_is_in_the_cache_is_neither_read_nor_reduced_again(case, monkeypatch):
    first = seen(cached_pyramid(case))
    case.image_path.write_bytes(b"")
    monkeypatch.setattr(Pyramid, "_reduced", None)
    assert all(torch.equal(a, b) for a, b in zip(seen(cached_pyramid(case)), first, strict=True))


def test_what_other_code_has_made_of_a_scan_is_made_anew(case, monkeypatch):
    before = cache.CODE
    cached_pyramid(case)
    monkeypatch.setattr(cache, "CODE", "other")
    cached_pyramid(case)
    names = {path.name.partition(".")[2] for path in cache.cache_directory().iterdir()}
    assert names == {"voxels.pt", f"levels-{before}.pt", "levels-other.pt"}
