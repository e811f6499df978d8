"""Seeds that can not collide: one 32-bit number names a digital neck, and says which split it may be used in.

torch's CPU generator uses the low 32 bits of a seed only, so everything that tells two necks apart must fit in them:

    2 bits: split | 8 bits: base seed (the user's --seed) | 22 bits: index

Two different (split, base seed, index) are two different seeds by construction.
"""

from __future__ import annotations

import zlib

import torch
from CarotidLandmarkLib.errors import UserError

# What a seed stands for changes only together with this number, which cohorts and runs record.
GENERATOR = 2
SPLITS = ("train", "validation", "test")
BASE_BITS = 8
INDEX_BITS = 22


def neck_seed(split: str, base_seed: int, index: int) -> int:
    """The seed of one neck. Raises ValueError where a part does not fit its bits."""
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
    if not 0 <= base_seed < 1 << BASE_BITS:
        raise UserError(f"The seed {base_seed} is out of range; use 0 to {(1 << BASE_BITS) - 1}.")
    if not 0 <= index < 1 << INDEX_BITS:
        raise UserError(
            f"Case {index} is out of range; one seed makes {1 << INDEX_BITS} necks, then take another seed."
        )
    return SPLITS.index(split) << (BASE_BITS + INDEX_BITS) | base_seed << INDEX_BITS | index


def split_of(seed: int) -> str:
    """The split that a neck's seed belongs to. Raises ValueError where the seed is not one of `neck_seed`."""
    tag = seed >> (BASE_BITS + INDEX_BITS)
    if not 0 <= tag < len(SPLITS):
        raise UserError(f"{seed} is not the seed of a digital neck.")
    return SPLITS[tag]


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of one neck, independent of the neck's other purposes."""
    return torch.Generator().manual_seed(zlib.crc32(f"{purpose}:{seed}".encode()))
