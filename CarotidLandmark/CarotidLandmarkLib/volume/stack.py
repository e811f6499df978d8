"""Slices one above the other: whether they are a regular stack, and the array and affine that they make."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .dicom import Slice, stored_values
from .scan import VolumeError
from .values import PADDING_HU, hu_array, rescaled

SAME_PLACE_MM = 0.01
SAME_COSINE = 2e-3  # of an orientation: some scanners round to three decimals
SAME_SPACING = 1e-3  # relative
ROUNDING_MM = 0.1  # positions are rounded to one decimal by some, and tables shake
LARGEST_SHIFT_MM = 3.0  # beside the line through all slices
SMALLEST_SAMPLE, TISSUE_WINDOW_HU = 20_000, (-200, 500)
# Slices differ the more the further they lie apart. Where as many steps on they are more alike again, so many phases
# take turns: noise alone gives a growth of 1, 92 real CTs in slices of 1.5 to 6 mm 1.1 or more.
LEAST_GROWTH, MOST_TURNS = 0.95, 4
LOWEST_PADDING_HU = 1500  # headers also name padding within the range of tissue, and wrongly
SMALLEST_DRIFT = 5  # from the first slice to the last, as a multiple of what slices lie beside their line
SMALLEST_TILT = 2e-3  # a drift per step below 0.1 degrees stays in the affine


class Irregular(ValueError):
    """Slices are no stack: ``finding`` says what of them (it follows a name), ``advice`` what to do."""

    def __init__(self, finding: str, advice: str = "export the series again") -> None:
        super().__init__(finding)
        self.finding, self.advice = finding, advice


@dataclass(frozen=True, eq=False)
class Stack:
    """A regular stack. ``slices`` in the order of k; ``shape`` is [k, j, i]; ``affine`` maps (i, j, k, 1) to LPS mm.

    ``shifts`` [k, 2]: how many pixels (i, j) each slice lies beside the grid; None where all lie on it.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]
    shifts: np.ndarray | None
    notes: tuple[str, ...]


def mean_axes(slices: list[Slice]) -> np.ndarray:
    """Unit vectors along i, j and the normal, at right angles, of slices with one orientation: [3, 3] rows."""
    i, j = np.mean(np.array([one.axes for one in slices]), axis=0)
    lengths = np.linalg.norm(i), np.linalg.norm(j)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(i @ j) > 0.02:
        raise Irregular("has a degenerate direction matrix")
    i = i / lengths[0]
    j = j - (i @ j) * i
    j = j / np.linalg.norm(j)
    return np.array([i, j, np.cross(i, j)])


def heights(slices: list[Slice]) -> np.ndarray:
    """Where slices lie along their normal, mm: [slice]."""
    return np.array([one.position for one in slices]) @ mean_axes(slices)[2]


def places(slices: list[Slice]) -> list[int]:
    """At which of all places along their normal, counted upwards, each slice lies: [slice]."""
    levels = heights(slices)
    order = np.argsort(levels)
    # Within 0.05 mm it is one place: half of the decimal to which some round positions.
    is_next = np.diff(levels[order], prepend=levels[order[0]]) > 5 * SAME_PLACE_MM
    return np.cumsum(is_next)[np.argsort(order)].tolist()


def same_plane(one: Slice, other: Slice) -> bool:
    """Whether two slices have one orientation and pixel spacing, within what rounding changes."""
    if one.axes is None or other.axes is None or one.spacing_mm is None or other.spacing_mm is None:
        return (one.axes is None, one.spacing_mm is None) == (other.axes is None, other.spacing_mm is None)
    return bool(
        np.abs(one.axes - other.axes).max() < SAME_COSINE
        and np.allclose(one.spacing_mm, other.spacing_mm, rtol=SAME_SPACING, atol=0)
    )


def without_copies(slices: list[Slice], by_uid: bool) -> list[Slice]:
    """One of several slices with the same HU at the same place; ``by_uid``: and with the same SOP Instance UID."""
    places: dict[tuple, list[Slice]] = defaultdict(list)
    unique = []
    for one in slices:
        if one.position is None or one.file.colour or one.file.modality != "CT":  # no scan
            unique.append(one)
        else:
            place = tuple(np.rint(one.position / SAME_PLACE_MM))
            places[(one.uid, one.frame, one.file.size, place) if by_uid else place].append(one)
    for same in places.values():
        unique += {_content(one): one for one in reversed(same)}.values() if len(same) > 1 else same
    return unique


def _content(one: Slice) -> tuple:
    """The same for slices with the same HU; of its own for one that is damaged, which may not be in the way."""
    digests = one.file.digests
    return (digests[one.frame], one.slope, one.intercept) if digests else (one.file.path, one.frame)


def stack(slices: list[Slice]) -> Stack:
    """The stack that slices with place, orientation and pixel spacing make. Raises Irregular."""
    axes = mean_axes(slices)
    spacing = np.mean(np.array([one.spacing_mm for one in slices]), axis=0)
    places = np.array([one.position for one in slices]) @ axes.T  # along i, j and the normal
    order = np.argsort(places[:, 2], kind="stable")
    places = places[order]
    slices = [slices[n] for n in order]
    count = np.arange(len(slices))
    step, start = np.polyfit(count, places, 1)  # of the line on which places lie best, at 0 ... n - 1
    _check_steps(places[:, 2], start[2] + step[2] * count)
    beside = places[:, :2] - (start[:2] + step[:2] * count[:, None])
    level = places[:, :2] - places[:, :2].mean(axis=0)
    small = np.linalg.norm(step[:2]) * len(slices) < SMALLEST_DRIFT * np.abs(beside).max()
    if small and np.abs(level).max() <= LARGEST_SHIFT_MM:  # a shake, and no tilt
        step[:2], start[:2] = 0, places[:, :2].mean(axis=0)
        beside = level
    shake = float(np.abs(beside).max())
    if shake > LARGEST_SHIFT_MM:
        raise Irregular("has slices that do not lie above one another", "give a series of one scan")
    drift = float(np.linalg.norm(step[:2]))
    notes = []
    i, j = slices[0].file.size
    affine = np.eye(4)
    affine[:3, :2] = axes[:2].T * spacing
    affine[:3, 2] = step @ axes
    affine[:3, 3] = start @ axes
    shift_mm = np.zeros_like(beside)
    if drift > SMALLEST_TILT * step[2]:
        degrees = np.degrees(np.arctan2(drift, step[2]))
        notes.append(f"The gantry was tilted by {degrees:.1f} degrees; slices were moved to an upright grid.")
        shift_mm += step[:2] * count[:, None]
        affine[:3, 2] = step[2] * axes[2]
    if shake > ROUNDING_MM:
        notes.append(f"Slices lie up to {shake:.1f} mm beside their line; they were moved within their planes.")
        shift_mm += beside
    gaps = [one.gap_mm for one in slices if one.gap_mm]
    if gaps and not np.isclose(abs(np.median(gaps)), step[2], rtol=0.05):
        notes.append(
            f"Slices are said to be {abs(np.median(gaps)):.2f} mm apart (Spacing Between Slices) and lie "
            f"{step[2]:.2f} mm apart; their positions were followed."
        )
    if not shift_mm.any():
        return Stack(tuple(slices), affine, (len(slices), j, i), None, tuple(notes))
    shifts = shift_mm / spacing
    shifts = np.where(np.abs(shifts - np.rint(shifts)) < 1e-3, np.rint(shifts), shifts)  # rounded positions
    before, after = np.floor(shifts.min(axis=0)), np.ceil(shifts.max(axis=0))
    affine[:3, 3] += affine[:3, :2] @ before
    size = (np.array([i, j]) + after - before).astype(int)
    return Stack(tuple(slices), affine, (len(slices), size[1], size[0]), shifts - before, tuple(notes))


def is_regular(slices: list[Slice], fewest: int) -> bool:
    """Whether so many slices, or more, are a stack."""
    if len(slices) < fewest or any(one.spacing_mm is None for one in slices):
        return False
    try:
        return bool(stack(slices))
    except Irregular:
        return False


def _check_steps(levels: np.ndarray, even: np.ndarray) -> None:
    """Raise Irregular where heights, in order, are not those of an even stack."""
    gaps = np.diff(levels)
    if gaps.min() < SAME_PLACE_MM:
        counts = set(Counter(np.cumsum(np.append(0, gaps >= SAME_PLACE_MM)).tolist()).values())
        how = f"{max(counts)} images at each place" if len(counts) == 1 else f"up to {max(counts)} images at one place"
        advice = "export each phase or reconstruction as a series of its own"
        raise Irregular(f"holds {how}, and nothing says which belong together", advice)
    step = even[1] - even[0]
    if np.abs(levels - even).max() <= min(max(ROUNDING_MM, 0.1 * step), 0.3 * step):
        return
    usual = gaps[gaps < 1.5 * np.median(gaps)].mean()
    multiples = gaps / usual
    missing = int(np.rint(multiples).sum()) - len(gaps)
    if missing and np.abs(multiples - np.rint(multiples)).max() < 0.2:
        raise Irregular(f"lacks {missing} of {missing + len(levels)} slices")
    raise Irregular(f"has slices {gaps.min():.2f} to {gaps.max():.2f} mm apart", "give an evenly spaced series")


def read_stack(whole: Stack, name: str, progress: Callable[[float], None]) -> np.ndarray:
    """The array [k, j, i] of a stack in HU, int16 or float32. Raises VolumeError."""
    array = hu_array(_planes(whole, name, progress), whole.shape, name)
    sample = array[:, ::8, ::8]
    if sample.size > SMALLEST_SAMPLE:
        body = np.clip(sample, *TISSUE_WINDOW_HU).astype(np.float32)
        differences = [float(np.square(body[n:] - body[:-n]).mean()) for n in range(1, MOST_TURNS + 1)]
        if any(farther < LEAST_GROWTH * nearer for nearer, farther in pairwise(differences)):
            phases = 2 + int(np.argmin(differences[1:]))
            raise VolumeError(
                f"{name} holds {phases} phases slice by slice in turn (slices are alike {phases} steps apart), "
                "and its headers do not tell them apart; export one phase."
            )
    return array


def _planes(whole: Stack, name: str, progress: Callable[[float], None]) -> Iterator[tuple[int, np.ndarray]]:
    files: dict = {}
    for k, one in enumerate(whole.slices):
        files.setdefault(one.file.path, []).append((k, one))
    done = 0
    for path, members in files.items():
        frames = stored_values(path, name)
        for k, one in members:
            values = _hu(frames[one.frame], one)
            yield k, values if whole.shifts is None else _moved(values, whole.shifts[k], whole.shape[1:])
            done += 1
            progress(done / len(whole.slices))


def _hu(stored: np.ndarray, one: Slice) -> np.ndarray:
    """Stored values of a slice to HU; padding that would be bone or more becomes air, as lower padding does later."""
    values, (low, high) = rescaled(stored, one.slope, one.intercept), one.file.padding or (-np.inf, -np.inf)
    if one.slope * low + one.intercept > LOWEST_PADDING_HU:
        values = np.where((stored >= low) & (stored <= high), PADDING_HU, values)
    return values


def _moved(values: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A slice [j, i] moved by (i, j) pixels, 0 or more, on a larger one of air: linear, and rounded to HU."""
    whole = np.floor(shift).astype(int)
    across, down = shift - whole
    plane = np.full((shape[0] + 1, shape[1] + 1), PADDING_HU, np.float32)
    plane[whole[1] : whole[1] + values.shape[0], whole[0] : whole[0] + values.shape[1]] = np.maximum(values, PADDING_HU)
    for axis, share in ((1, across), (0, down)):
        if share:
            plane = (1 - share) * plane + share * np.roll(plane, 1, axis)
    return np.rint(plane[: shape[0], : shape[1]])
