"""What training reads of an annotated scan again and again: made once, and then mapped from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from CarotidLandmarkLib.dataset import Case, DatasetError
from CarotidLandmarkLib.files import directory
from CarotidLandmarkLib.nets.pyramid import Level, Pyramid
from CarotidLandmarkLib.volume import Volume, VolumeError

from ..records import library_sha256
from ..tensors import load_or_make
from .stream import COARSE_MM

CACHE_VARIABLE = "CAROTID_CACHE"
# What is finer is cut from the scan's own voxels.
SCALES_MM = (COARSE_MM, COARSE_MM / 2)
# A scan's voxels, and how it looks from afar, are kept for the code that made them: with other code they are made anew.
CODE = library_sha256("volume/*.py", "nets/pyramid.py")[:8]


def cached_pyramid(case: Case) -> Pyramid:
    """The case's pyramid: its voxels decompressed once, its coarse levels reduced once.

    Raises DatasetError where its image is not here or can not be read, OSError.
    """
    digest = case.image_sha256
    try:
        array, affine = load_or_make(cache_path(f"{digest}.voxels-{CODE}"), lambda: _voxels(case.read_volume()))
    except VolumeError as error:
        raise DatasetError(f"Case {case.id} can not be used: {error}") from error
    volume = Volume(array.numpy(), affine.numpy(), case.id)
    levels = load_or_make(cache_path(f"{digest}.levels-{CODE}"), lambda: _parts(Pyramid(volume, SCALES_MM)))
    return Pyramid(volume, SCALES_MM, levels={scale: Level(*parts) for scale, parts in levels.items()})


def _voxels(volume: Volume) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(volume.array), torch.as_tensor(volume.affine_lps)


def _parts(made: Pyramid) -> dict[float, tuple[Any, ...]]:
    return {scale: (level.values, level.affine_lps, level.sigma_mm) for scale, level in made.levels.items()}


def cache_path(name: str) -> Path:
    """The file in the cache that holds the tensors of that name."""
    return cache_directory() / f"{name}.pt"


def cache_directory() -> Path:
    """$CAROTID_CACHE, else the user's cache folder. Raises UserError, see `files.directory`."""
    return directory(CACHE_VARIABLE, ".cache/carotid-landmark/pyramids")
