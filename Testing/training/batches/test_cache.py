"""Scans are decompressed and reduced once, and seen from the cache as they were seen at first."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import CarotidLandmarkLib
import pytest
import torch
from carotid_training.batches import cache
from carotid_training.batches.cache import CACHE_VARIABLE, cached_pyramid
from carotid_training.records import library_sha256
from CarotidLandmarkLib.dataset import Case, Dataset, cases
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume

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
    before = cached_pyramid(case).volume.array.copy()
    read = cases.read_volume
    monkeypatch.setattr(cases, "read_volume", lambda *asked, **how: brighter(read(*asked, **how)))
    assert (cached_pyramid(case).volume.array == before).all()
    monkeypatch.setattr(cache, "CODE", "other")
    pyramid = cached_pyramid(case)
    assert (pyramid.volume.array == before + 100).all()
    assert torch.equal(pyramid.whole(4.0)[0], Pyramid(case.read_volume(), SCALES_MM).whole(4.0)[0])


@pytest.mark.parametrize(("file", "is_another"), [("volume/values.py", True), ("quality.py", False)])
def test_code_is_other_code_where_a_module_that_reads_scans_differs(tmp_path, monkeypatch, file, is_another):
    library = shutil.copytree(Path(CarotidLandmarkLib.__file__).parent, tmp_path / "library")
    with open(library / file, "a", encoding="utf-8") as module:
        module.write("# another one\n")
    monkeypatch.setattr(CarotidLandmarkLib, "__file__", str(library / "__init__.py"))
    assert (library_sha256("volume/*.py", "nets/pyramid.py")[:8] != cache.CODE) == is_another


def brighter(volume: Volume) -> Volume:
    """What a program that reads a file otherwise reads."""
    return replace(volume, array=volume.array + 100)
