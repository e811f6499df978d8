"""The values of a scan: collecting them as HU, refusing what can not be HU of a neck, measuring its contrast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .scan import Volume, VolumeError, check_geometry, check_size, no_scalars

PADDING_HU = -1024  # scanners mark 'outside the field of view' with values below air: -1024, -2000, -3024
SMALLEST_RANGE_HU = 300  # from fat to contrast is more than this; an 8-bit picture spans 255
LARGEST_MINIMUM_HU = -50  # any piece of a neck holds fat
LARGEST_HU = 70_000  # a 16-bit extended HU scale ends at 64 511

# what follows is asked of a sample of a scan that has enough voxels to be a neck
SAMPLE = 1_000_000
SMALLEST_SCAN = 100_000
SMALLEST_BODY = 0.002  # of a scan; planning CTs of 91 patients, cropped in a large field of view: 0.004 to 0.11
BODY_HU = -500  # above: fat, muscle, vessels, bone
TISSUE_LIMITS_HU = (-150, 400)  # the middle of a body: from fat (-100) to muscle and blood (80), and what phantoms hold
BELOW_AIR_HU, LARGEST_SHARE_BELOW_AIR = -1200, 0.25  # where the noise of air ends; a third of a neck's scan is air
MOST_PADDINGS = 8  # values in a slice; scanners use one or two
LARGEST_QUARTER_HU = 500  # a skull is an eighth of a head
LARGEST_BONE_HU = 2000  # reached by little but metal and enamel
SMALLEST_SPREAD_HU = 500  # 0.1 % to 99.9 %: from fat or air to bone
LARGEST_CT_NUMBER = 3071  # of 12 bits
FEW_VALUES, LARGEST_SHARE_OF_FEW = 6, 0.8
LARGEST_SHARE_AT_END = 0.01  # of a body, of the voxels: a window cuts the air, or vessels and bone, to one value

# contrast differs from scan to scan
USUAL_LUMEN_HU = 350.0
_LUMEN_RADIUS_MM, _LEAST_LUMEN_HU, _FEWEST_VOXELS = 5.0, 150.0, 20


def check_volume(volume: Volume) -> None:
    """Raise VolumeError, one sentence, if this can not be a CT volume in HU. A constant one passes: it is readable."""
    name, array = volume.name, volume.array
    _check_numbers(name, array)
    check_size(name, volume.size)
    check_geometry(name, np.asarray(volume.affine_lps))
    lowest, highest = array.min(), array.max()  # NaN and infinity both show here, without a copy
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise _not_finite(name)
    span = float(highest) - float(lowest)
    if span == 0:
        return
    if highest > LARGEST_HU or lowest > LARGEST_MINIMUM_HU or span < SMALLEST_RANGE_HU:
        raise _no_hu(name, f"values from {lowest:g} to {highest:g}, which can not be Hounsfield units of a neck")
    _check_distribution(name, array, float(lowest), float(highest))


def _check_numbers(name: str, array: np.ndarray) -> None:
    if array.ndim != 3:
        raise VolumeError(f"{name} has {array.ndim} dimensions; give one three-dimensional CT volume.")
    if array.dtype.kind not in "iuf":
        raise no_scalars(name, f" ({array.dtype})")


def _check_distribution(name: str, array: np.ndarray, lowest: float, highest: float) -> None:
    """Raise VolumeError if air, fat, soft tissue and bone are not where HU have them."""
    if array.size < SMALLEST_SCAN:
        return
    values = array.reshape(-1)[:: max(1, array.size // SAMPLE) | 1]  # an odd step meets every column
    body = values[values > max(BODY_HU, lowest)]  # what has the lowest value lies outside, whatever it is
    thin = len(body) < SMALLEST_BODY * len(values)
    if highest <= LARGEST_CT_NUMBER and _is_drawn(values[values > PADDING_HU] if thin else body):
        return
    if thin:
        raise _no_hu(name, f"hardly any voxel above {BODY_HU}, where fat, muscle and vessels lie: too low, or scaled")
    low, high = np.percentile(values, (0.1, 99.9))
    if high - low < SMALLEST_SPREAD_HU:
        raise _no_hu(name, f"values that hardly spread ({low:.0f} to {high:.0f}): normalised or cut to a grey window")
    if lowest > BODY_HU and np.mean(values == lowest) > LARGEST_SHARE_AT_END:
        raise _no_hu(name, f"no air, and many voxels of exactly {lowest:g}: cut to a grey window")
    quarter, upper = np.percentile(body, (75, 95))
    # where a quarter of the body has the highest value, it is a phantom of one shape
    if highest < LARGEST_BONE_HU and np.mean(body == highest) > LARGEST_SHARE_AT_END and quarter < highest:
        raise _no_hu(name, f"many voxels of exactly {highest:g}, its highest value: cut to a grey window")
    middle = np.median(body)
    if not TISSUE_LIMITS_HU[0] < middle < TISSUE_LIMITS_HU[1]:
        between = np.mean((values > PADDING_HU) & (values < 2 * TISSUE_LIMITS_HU[0]))
        raise _no_hu(
            name,
            f"nothing between padding and fat, and soft tissue near {upper:.0f}: stored values without their rescale"
            if upper > 700 and between < 5e-4
            else f"a median of {middle:.0f} inside the body, where HU have 0 to 100: shifted, scaled or inverted",
        )
    if quarter > LARGEST_QUARTER_HU:
        raise _no_hu(name, f"a quarter of the body above {quarter:.0f}, where HU have bone: scaled or inverted")
    if upper > LARGEST_BONE_HU:
        raise _no_hu(name, f"a twentieth of the body above {upper:.0f}, where HU have no such bone: scaled or inverted")


def _is_drawn(body: np.ndarray) -> bool:
    """Whether a few values make up a body: a phantom without noise, whose values may be anything."""
    _, counts = np.unique(np.rint(body), return_counts=True)
    return bool(np.sort(counts)[-FEW_VALUES:].sum() > LARGEST_SHARE_OF_FEW * len(body))


def _no_hu(name: str, finding: str) -> VolumeError:
    return VolumeError(
        f"{name} has {finding} (air -1000, water 0, bone above 300); "
        "give the scan before any normalisation or conversion to grey levels."
    )


def _not_finite(name: str) -> VolumeError:
    return VolumeError(f"{name} holds NaN or infinite values; export it again, with -1024 outside the field of view.")


def from_array(array: np.ndarray, affine_lps: np.ndarray, name: str = "volume", notes: Iterable[str] = ()) -> Volume:
    """A checked Volume from an array [k, j, i] in HU and its affine (voxel (i, j, k, 1) to LPS millimetres).

    The caller's array is never changed. int16 and float32 arrays without padding below -1024 are shared, not copied;
    other types become int16 where every value is an integer that fits, else float32. Raises VolumeError.
    """
    array, affine = np.asarray(array), np.array(affine_lps, dtype=float)
    _check_numbers(name, array)
    if array.dtype not in (np.int16, np.float32) or array.min(initial=0) < PADDING_HU:
        array = hu_array(enumerate(array), array.shape, name)
    volume = Volume(array, affine, name, tuple(notes))
    check_volume(volume)
    return volume


def rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """slope * values + intercept, in whole numbers where they suffice."""
    if (slope, intercept) == (1.0, 0.0):
        return values
    whole = np.issubdtype(values.dtype, np.integer) and values.dtype.itemsize <= 2
    if whole and slope == int(slope) and intercept == int(intercept) and max(abs(slope), abs(intercept)) < 1 << 15:
        return values.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    return values * slope + intercept


def hu_array(slices: Iterable[tuple[int, np.ndarray]], shape: tuple[int, ...], name: str) -> np.ndarray:
    """Collect slices (k, values [j, i]) of any number type into one array [k, j, i], padding raised to -1024.

    int16 where every value is an integer that fits, else float32; never more than one slice is converted at a time.
    Raises VolumeError on NaN or infinity, and where the memory does not suffice.
    """
    limits = np.iinfo(np.int16)
    below_air = 0
    try:
        array: Any = np.empty(shape, np.int16)
        for k, values in slices:
            exact = np.issubdtype(values.dtype, np.integer)
            if not exact and not np.isfinite(values).all():
                raise _not_finite(name)
            if values.min() < PADDING_HU:
                below_air += _below_air(values)
                values = np.maximum(values, PADDING_HU)
            if array.dtype == np.int16 and (
                values.max() > limits.max or not (exact or (np.rint(values) == values).all())
            ):
                array = array.astype(np.float32)
            array[k] = values
    except MemoryError as error:
        size = " x ".join(map(str, shape[::-1]))
        raise VolumeError(f"{name} has {size} voxels, more than fit into the memory of this computer.") from error
    if array.size >= SMALLEST_SCAN and below_air > LARGEST_SHARE_BELOW_AIR * array.size:
        raise _no_hu(name, f"{below_air / array.size:.0%} of its values below {BELOW_AIR_HU}: too low, or scaled")
    return array


def _below_air(values: np.ndarray) -> int:
    """How many voxels of a slice are below air; padding, a value or two in a slice, is not counted."""
    low = values[values < BELOW_AIR_HU]
    return low.size if len(np.unique(low)) > MOST_PADDINGS else 0


def lumen_hu(volume: Volume, points_lps: Iterable[Any]) -> float:
    """HU of the lumen within 5 mm of points at vessels (LPS mm); the usual 350 where nothing there is enhanced."""
    values = []
    for point in points_lps:
        near = _within(volume, point)
        near = near[near > _LEAST_LUMEN_HU]
        if near.size > _FEWEST_VOXELS:
            values.append(float(np.percentile(near, 75)))  # below it what is half lumen, above it calcium
    return float(np.median(values)) if values else USUAL_LUMEN_HU


def _within(volume: Volume, centre_lps: Any) -> np.ndarray:
    """The voxels of a ball, flat."""
    centre, reach = volume.to_voxels(centre_lps), _LUMEN_RADIUS_MM / volume.spacing_mm
    start = np.clip(np.floor(centre - reach), 0, volume.size).astype(int)
    stop = np.clip(np.ceil(centre + reach) + 1, 0, volume.size).astype(int)
    (i0, j0, k0), (i1, j1, k1) = start, stop
    k, j, i = np.ogrid[k0:k1, j0:j1, i0:i1]
    away = [(n - c) * s for n, c, s in zip((i, j, k), centre, volume.spacing_mm, strict=True)]
    return volume.array[k0:k1, j0:j1, i0:i1][sum(distance**2 for distance in away) <= _LUMEN_RADIUS_MM**2]
