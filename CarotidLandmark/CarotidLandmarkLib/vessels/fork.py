"""Where a segmented common carotid becomes two: the landmark, from a mask of the lumens.

Going up along the connected lumen, on the first axial level on which it has become two that both go on, the midpoint of
the wall between them. What makes that doubtful is said: gaps, vessels that touch, daughters that meet again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..landmarks import Point
from .apex import apex
from .lumens import Lumens

GOES_ON_MM = 8.0  # a bud of a mask is shorter, and so is a thyroid artery's way up
STUMP_MM, STUMP_AREA_MM2 = 3.0, 10.0  # but an occluded internal carotid may end there: as wide, and at least as long
TRUNK_MM = 3.0  # of the common carotid is there below the fork
CALIBRE_MM = 15.0  # a narrow daughter must be an artery's size within this height
LEAST_AREA_MM2 = 4.0  # 2.3 mm: branches of the external carotid are thinner
LARGEST_AREA_MM2 = 150.0  # the bulb with both daughters; the brachiocephalic trunk and the arch have more
TOUCH_MM = 12.0  # below a fork: two vessels that come together there are not one that divides
VEIN_AREA_MM2 = 8.0  # a thyroid artery, which runs down beside the common carotid, has less
MEET_MM = 20.0  # daughters that meet within this height are said to
GAP_MM, GAP_ASIDE_MM = 10.0, 5.0  # from the end of a lumen to the beginning of one that may be its rest
GAP_NEAR_MM = 30.0  # a gap farther from the fork does not matter


@dataclass(frozen=True)
class Fork:
    """``point``: LPS millimetres; ``notes``: what makes it doubtful, clauses."""

    point: Point
    notes: tuple[str, ...] = ()


def forks(lumens: Lumens) -> list[Fork]:
    """Every place where a lumen of a carotid's size becomes two that go on, from below upwards."""
    gaps = list(_gaps(lumens))
    order = (np.argsort(lumens.level[1:], kind="stable") + 1).tolist()
    every = [_fork(lumens, lumen, gaps) for lumen in order if len(lumens.above[lumen]) > 1]
    return [fork for fork in every if fork is not None]


def _fork(lumens: Lumens, parent: int, gaps: list[np.ndarray]) -> Fork | None:
    daughters = [lumen for lumen in lumens.above[parent] if _goes_on(lumens, lumen)]
    if len(daughters) < 2 or lumens.depth_mm[parent] < TRUNK_MM:
        return None
    trunk = lumens.downwards([parent], TOUCH_MM)
    if max(lumens.area_mm2[lumen] for level in trunk for lumen in level) > LARGEST_AREA_MM2:
        return None
    roots = max(sum(_comes_from_below(lumens, lumen) for lumen in level) for level in trunk)
    if len(daughters) <= roots:
        return None  # vessels that touch and part again
    one, other = sorted(daughters, key=lambda lumen: -lumens.area_mm2[lumen])[:2]
    x, y, z = apex(lumens, parent, one, other).tolist()
    notes = [_meeting(lumens, one, other)]
    rest = (lumens.last_level - lumens.level[parent]) * lumens.step_mm
    if rest < GOES_ON_MM:
        notes.append(f"the segmentation ends {rest:.0f} mm above it")
    shortest = min(lumens.rise_mm[one], lumens.rise_mm[other])
    if shortest < GOES_ON_MM:
        notes.append(f"one of the two lumens ends {shortest:.0f} mm above it: an occlusion, or a gap")
    if roots > 1 or _is_touched(lumens, one, other):
        notes.append("another vessel as large as a vein touches it")
    for gap in gaps:
        if np.linalg.norm(gap - (x, y, z)) <= GAP_NEAR_MM:
            notes.append(f"the lumen has a gap {abs(gap[2] - z):.0f} mm {'above' if gap[2] > z else 'below'} it")
            break
    return Fork((x, y, z), tuple(filter(None, notes)))


def _goes_on(lumens: Lumens, lumen: int) -> bool:
    ways = lumens.upwards([lumen], CALIBRE_MM)
    widest = max(max(lumens.area_mm2[list(level)]) for level in ways)
    fits = widest >= LEAST_AREA_MM2 and lumens.area_mm2[lumen] <= LARGEST_AREA_MM2
    enough = STUMP_MM if lumens.area_mm2[lumen] >= STUMP_AREA_MM2 else GOES_ON_MM
    return bool(fits and lumens.rise_mm[lumen] >= enough)


def _comes_from_below(lumens: Lumens, lumen: int) -> bool:
    """Whether a vessel of a vein's size leads up to this lumen."""
    if lumens.depth_mm[lumen] < GOES_ON_MM:
        return False
    areas = [max(lumens.area_mm2[list(level)]) for level in lumens.downwards([lumen], GOES_ON_MM)]
    return float(np.median(areas)) >= VEIN_AREA_MM2


def _meeting(lumens: Lumens, one: int, other: int) -> str:
    """Where the daughters are one lumen again, as a clause; "" where they are not."""
    ways = zip(lumens.upwards([one], MEET_MM), lumens.upwards([other], MEET_MM), strict=False)
    for steps, (ours, theirs) in enumerate(ways):
        if ours & theirs:
            return f"the two lumens touch again {steps * lumens.step_mm:.0f} mm further up"
    return ""


def _is_touched(lumens: Lumens, one: int, other: int) -> bool:
    """Whether a large vessel that comes from elsewhere joins one of the daughters near the fork."""
    own: set[int] = set()
    for level in lumens.upwards([one, other], TOUCH_MM):
        strangers = {lower for lumen in level for lower in lumens.below[lumen]} - own if own else set()
        if any(lumens.level[lumen] >= lumens.level[one] and _comes_from_below(lumens, lumen) for lumen in strangers):
            return True
        own |= level
    return False


def _gaps(lumens: Lumens) -> Iterator[np.ndarray]:
    """The middles (LPS mm) of places where a lumen ends and another one begins a little further up."""

    def far(reach: np.ndarray) -> np.ndarray:
        return (reach >= GOES_ON_MM) & (lumens.area_mm2 >= LEAST_AREA_MM2 / 2)

    numbers, level = range(1, len(lumens.level)), lumens.level
    from_below, to_above = far(lumens.depth_mm), far(lumens.rise_mm)
    ends = [n for n in numbers if from_below[n] and not lumens.above[n] and level[n] < lumens.last_level]
    begins = [n for n in numbers if to_above[n] and not lumens.below[n] and level[n] > 0]
    for top, bottom in product(map(lumens.centre_lps, ends), map(lumens.centre_lps, begins)):
        if 0 < bottom[2] - top[2] <= GAP_MM and np.linalg.norm((bottom - top)[:2]) <= GAP_ASIDE_MM:
            yield (top + bottom) / 2
