"""One neck in one scanner: what a seed stands for, in training and in cohorts on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from CarotidLandmarkLib.landmarks import SIDES

from .. import seeds
from ..necks.neck import Facts, Neck
from ..necks.styles import Styles
from . import acquisition
from .scanner import Region, Scanner, Truth
from .shifts import SHIFTS, check_shift

# Length of a scan along the body, mm: neck block, neck, arch to vertex; and how often.
LENGTH_SHARES = {(120.0, 180.0): 0.25, (180.0, 300.0): 0.45, (300.0, 500.0): 0.30}
REGION_SHARES: dict[Region, float] = {"carotids": 0.94, "chest": 0.025, "head": 0.025, "empty": 0.01}


@dataclass(frozen=True)
class Sample:
    """A neck, how it is scanned, and where its landmarks are in the scan; ``generator`` draws what else it needs."""

    seed: int
    neck: Neck
    scanner: Scanner
    truth: Truth
    generator: torch.Generator

    @classmethod
    def draw(
        cls,
        seed: int,
        styles: Styles,
        weights: Mapping[str, float],
        length_mm: tuple[float, float] | None = None,
        *,
        randomised: bool,
        shift: str | None = None,
    ) -> Sample:
        """The sample of a seed. ``weights``: style -> how often; ``length_mm``: of the scan, drawn where None.

        ``randomised``: a share of the seeds give what is wilder than any patient (domain randomisation; a phantom).
        ``shift``: one of `shifts.SHIFTS`, for a scan beyond what training draws. Raises ValueError where it is none.
        """
        generator = seeds.generator(seed, "scan")
        dice = acquisition.scan_dice(generator)
        style = dice.one_of(weights)
        region = dice.one_of(REGION_SHARES)
        if region == "empty" and not randomised:
            region = "carotids"
        neck = styles.draw(style, seed, randomised)
        scanner = Scanner.draw(generator, neck, length_mm or draw_length(generator), region)
        if shift is not None:
            check_shift(shift)
            scanner = SHIFTS[shift](scanner)
        return cls(seed, neck, scanner, scanner.truth(neck), generator)

    def facts(self) -> Facts:
        """What the cohort tables report: the scan, the landmarks in it, and the neck's own facts."""
        p, truth = self.scanner.acquisition, self.truth
        scale = float(self.scanner.gantry_to_lps[:3, 0].norm())  # below 1 for a shift to smaller patients
        facts: Facts = {
            "seed": self.seed,
            "style": self.neck.style,
            "region": self.scanner.region,
            "mirrored": self.scanner.mirrored,
            "in_plane_mm": round(scale * p.pixel_mm, 4),
            "slice_spacing_mm": round(scale * p.slice_mm, 4),
            "slice_thickness_mm": round(scale * p.thickness_mm, 3),
            "length_mm": round(scale * self.scanner.slices * p.slice_mm, 1),
            "noise_hu": round(p.noise_hu, 1),
            "metal": len(self.neck.metal) > 0,
        }
        centre = acquisition.transform(self.scanner.gantry_to_lps, torch.zeros(1, 3, dtype=torch.float64))[0]
        for side, name in enumerate(SIDES):
            facts[f"{name}_present"] = bool(truth.present[side])
            facts[f"{name}_absent_because"] = truth.absent_because[side]
            for axis, value in zip("xyz", truth.landmarks_lps[side].tolist(), strict=True):
                facts[f"{name}_{axis}_lps_mm"] = "" if math.isnan(value) else round(value, 3)
        if truth.present.all():
            apart = truth.points_lps[0] - truth.points_lps[1]
            facts["distance_mm"] = round(float(apart.norm()), 2)
            facts["height_difference_mm"] = round(float(apart[2]), 2)
            facts["farthest_from_centre_mm"] = round(float((truth.points_lps - centre).norm(dim=1).max()), 2)
        return {**facts, **{f"neck_{key}": value for key, value in self.neck.facts.items()}}


def draw_length(generator: torch.Generator) -> tuple[float, float]:
    """The range of lengths of a kind of scan, mm."""
    return acquisition.scan_dice(generator).one_of(LENGTH_SHARES)
