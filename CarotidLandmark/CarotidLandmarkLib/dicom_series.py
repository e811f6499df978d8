"""One CT series out of a folder of DICOM files, slice by slice, in the memory of one volume."""

from __future__ import annotations

import mmap
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .volume import DIRECTION_TOLERANCE, PADDING_HU, VolumeError, hu_array, image_affine, quiet_libraries

_PATIENT = "0010|0020"
_UID, _NUMBER, _ACQUISITION, _INSTANCE = "0020|000e", "0020|0011", "0020|0012", "0008|0018"
_MODALITY, _IMAGE_TYPE, _FRAMES = "0008|0060", "0008|0008", "0028|0008"
_CT_CLASSES = tuple("1.2.840.10008.5.1.4.1.1.2" + kind for kind in ("", ".1", ".2"))  # plain, enhanced, converted
_ORIENTATION = "0020|0037"
_GEOMETRY = ("0020|0032", _ORIENTATION, "0028|0030")  # position, orientation, pixel spacing


@dataclass(frozen=True)
class _Image:
    """One DICOM file: a slice, or a multi-frame volume. ``affine`` maps (i, j, k, 1) to LPS millimetres."""

    path: Path
    affine: np.ndarray
    size: tuple[int, int, int]  # i, j, k
    tags: dict[str, str]

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slice."""
        normal = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return normal / np.linalg.norm(normal)

    @property
    def height(self) -> float:
        """Position along the normal, mm."""
        return float(self.affine[:3, 3] @ self.normal)


@dataclass(frozen=True)
class _Series:
    images: tuple[_Image, ...]

    @property
    def tags(self) -> dict[str, str]:
        return self.images[0].tags

    @property
    def slices(self) -> int:
        return sum(image.size[2] for image in self.images)

    @property
    def voxels(self) -> int:
        return sum(int(np.prod(image.size)) for image in self.images)

    @property
    def is_ct(self) -> bool:
        image_type = self.tags[_IMAGE_TYPE].upper()
        return self.tags[_MODALITY] == "CT" and "LOCALIZER" not in image_type and "SCOUT" not in image_type

    @property
    def is_axial(self) -> bool:
        """Within 45 degrees of axial: a tilted head is still cut across."""
        return abs(self.images[0].normal[2]) > np.sqrt(0.5)

    @property
    def label(self) -> str:
        return f"series {self.tags[_NUMBER] or self.tags[_UID]} ({self.slices} slices)"


def read_series(
    path: Path, series: str | None, progress: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Read the largest axial CT series below a folder (or a single file), or the one of that UID or number.

    Returns the array [k, j, i] in HU (int16 or float32), its affine (voxel to LPS millimetres) and a note: one sentence
    that says which series was taken, empty when there was no choice, and one on a tilted gantry. Raises VolumeError.
    """
    name = path.name or path.resolve().name
    chosen, note = _choose(name, _find_series(path, name, progress), series)
    if len(chosen.images) == 1:
        array, affine = _read_multiframe(chosen.images[0], name)
        return array, affine, note
    ordered = sorted(chosen.images, key=lambda image: image.height)
    affine = _stack(ordered, name)
    i, j, _ = ordered[0].size
    shape = (len(ordered), j, i)
    drift = _drift(affine, ordered[0].normal)
    if not drift.any():
        return hu_array(_read_slices(ordered, name, progress), shape, name), affine, note
    degrees = np.degrees(np.arcsin(np.linalg.norm(drift) / np.linalg.norm(affine[:3, 2])))
    note += (
        f"{' ' if note else ''}The gantry was tilted by {degrees:.1f} degrees; slices were moved to an upright grid."
    )
    affine, shape = _upright_grid(affine, drift, shape)
    return hu_array(_read_upright(ordered, name, affine, shape, progress), shape, name), affine, note


def patient_id(path: Path, series: str | None = None) -> str:
    """The Patient ID of the series that `read_series` reads, "" where it has none: an identifier, for `patients` only.

    Raises VolumeError.
    """
    name = path.name or path.resolve().name
    chosen, _ = _choose(name, _find_series(path, name, lambda share: None), series)
    reader = _reader(chosen.images[0].path)
    with quiet_libraries():
        reader.ReadImageInformation()
    return reader.GetMetaData(_PATIENT).strip() if reader.HasMetaDataKey(_PATIENT) else ""


def _find_series(path: Path, name: str, progress: Callable[[float], None]) -> list[_Series]:
    files = [path] if path.is_file() else [Path(top) / file for top, _, names in os.walk(path) for file in names]
    if not files:
        raise VolumeError(f"{name} is an empty folder; give a folder with the DICOM files of one CT.")
    groups: dict[Any, dict[str, _Image]] = defaultdict(dict)
    for number, file in enumerate(sorted(files)):
        image = _read_header(file, name)
        if image is not None:
            alone = image.path if image.size[2] > 1 else None  # a multi-frame file is a volume by itself
            orientation = tuple(np.round(image.affine[:3, :2].ravel(), 3) + 0.0)
            key = (image.tags[_UID], image.tags[_MODALITY], image.size[:2], orientation, alone)
            groups[key][image.tags[_INSTANCE] or str(file)] = image  # the same slice stored twice counts once
        progress(0.3 * (number + 1) / len(files))
    if not groups:
        raise VolumeError(f"{name} holds no DICOM images; give a folder with the DICOM files of one CT.")
    return [part for group in groups.values() for part in _split_phases(tuple(group.values()))]


def _read_header(file: Path, name: str) -> _Image | None:
    """None for what is not a DICOM image: other files, reports, DICOMDIR. Raises VolumeError on a damaged CT image."""
    try:
        with file.open("rb") as stream:
            start = stream.read(1024)
    except OSError as error:
        raise VolumeError(f"{file.name} in {name} can not be opened; check its read permission.") from error
    if start[128:132] != b"DICM" and file.suffix.lower() not in (".dcm", ".ima"):
        return None
    reader = _reader(file)
    try:
        with quiet_libraries():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if _sop_class(start) in _CT_CLASSES:
            raise VolumeError(f"{file.name} in {name} is damaged or incomplete; export the series again.") from error
        return None
    wanted = (_UID, _NUMBER, _ACQUISITION, _INSTANCE, _MODALITY, _IMAGE_TYPE, _FRAMES, *_GEOMETRY)
    tags = {tag: reader.GetMetaData(tag).strip() if reader.HasMetaDataKey(tag) else "" for tag in wanted}
    i, j, k = (*reader.GetSize(), 1)[:3]
    affine = image_affine(reader)
    if not _orientation_is_sound(affine, tags[_ORIENTATION]):
        raise VolumeError(f"{file.name} in {name} has a degenerate direction matrix; export the series again.")
    return _Image(file, affine, (i, j, k), tags)


def _orientation_is_sound(affine: np.ndarray, tag: str) -> bool:
    """Whether rows and columns span a plane, and as the file says: GDCM makes the identity of what it can not use."""
    axes = affine[:3, :2].T
    if not np.linalg.norm(np.cross(*axes)) > 0:
        return False
    if not tag:
        return True
    try:
        said = np.array([float(number) for number in tag.split("\\")]).reshape(2, 3)
    except ValueError:
        return False
    return bool(np.abs(axes / np.linalg.norm(axes, axis=1, keepdims=True) - said).max() < 1e-2)


def _sop_class(start: bytes) -> str:
    """The kind of a DICOM file, Media Storage SOP Class UID (0002,0002), from its first bytes; empty if not there."""
    _, tag, rest = start.partition(b"\x02\x00\x02\x00UI")
    return rest[2 : 2 + int.from_bytes(rest[:2], "little")].rstrip(b"\0 ").decode("ascii", "replace") if tag else ""


def _split_phases(images: tuple[_Image, ...]) -> list[_Series]:
    """A series that visits the same positions more than once is split by acquisition number."""
    if len({round(image.height, 2) for image in images}) == len(images):
        return [_Series(images)]
    phases: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        phases[image.tags[_ACQUISITION]].append(image)
    return [_Series(tuple(phase)) for phase in phases.values()]


def _choose(name: str, found: list[_Series], wanted: str | None) -> tuple[_Series, str]:
    scans = [series for series in found if series.is_ct]
    if wanted is not None:
        named = [series for series in found if wanted in (series.tags[_UID], series.tags[_NUMBER])]
        if not named:
            numbers = ", ".join(sorted({series.tags[_NUMBER] or series.tags[_UID] for series in scans})) or "no CT"
            raise VolumeError(f"{name} has no series {wanted}; choose one of: {numbers}.")
        scans = [series for series in named if series.is_ct]
        if not scans:
            raise VolumeError(f"{named[0].label} in {name} is not a CT volume; choose a CT series.")
    if not scans:
        kinds = ", ".join(sorted({s.tags[_MODALITY] if s.tags[_MODALITY] != "CT" else "CT localizer" for s in found}))
        raise VolumeError(f"{name} holds no CT volume (only {kinds}); give the folder of a CT.")
    scans = [series for series in scans if series.slices > 1] or scans  # a lone slice is a scout or a picture
    axial = [series for series in scans if series.is_axial] or scans
    chosen = max(axial, key=lambda series: series.voxels)
    if not chosen.is_axial:
        return chosen, f"{name} holds no axial CT; {chosen.label} was read."
    if len(scans) == 1:
        return chosen, ""
    return chosen, f"{name} holds {len(scans)} CT series; {chosen.label}, the largest axial one, was read."


def _stack(images: list[_Image], name: str) -> np.ndarray:
    """The affine of slices in order, sheared by a tilted gantry. Raises VolumeError if they are no regular stack."""
    if any(not image.tags[tag] for image in images for tag in _GEOMETRY):
        raise VolumeError(f"{name} has slices without position, orientation or pixel spacing; export the series again.")
    origins = np.array([image.affine[:3, 3] for image in images])
    gaps = np.diff([image.height for image in images])
    usual = float(np.median(gaps))
    if gaps.min() < 0.01:
        raise VolumeError(f"{name} has several slices at the same position; give a folder with one phase of the scan.")
    step = (origins[-1] - origins[0]) / (len(images) - 1)
    line = origins[0] + np.arange(len(images))[:, None] * step
    if np.linalg.norm(origins - line, axis=1).max() > max(0.1, 0.05 * usual) or np.ptp(gaps) > max(0.1, 0.1 * usual):
        multiples = gaps / usual
        if np.abs(multiples - np.rint(multiples)).max() < 0.1:
            missing = int(np.rint(multiples).sum()) - len(gaps)
            if missing:
                raise VolumeError(f"{name} lacks {missing} of {missing + len(images)} slices; export the series again.")
        raise VolumeError(
            f"{name} has slices {gaps.min():.2f} to {gaps.max():.2f} mm apart; give an evenly spaced series."
        )
    affine = images[0].affine.copy()
    affine[:3, 2] = step
    return affine


def _read_slices(images: list[_Image], name: str, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    import SimpleITK as sitk

    for number, image in enumerate(images):
        yield sitk.GetArrayFromImage(_pixels(image, name))[0]
        progress(0.3 + 0.7 * (number + 1) / len(images))


def _drift(affine: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """How far each slice lies beside the one before, mm: a tilted gantry moves slices within their own plane."""
    step = affine[:3, 2]
    drift = step - (step @ normal) * normal
    return drift if np.linalg.norm(drift) > DIRECTION_TOLERANCE * np.linalg.norm(step) else np.zeros(3)


def _upright_grid(affine: np.ndarray, drift: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, tuple]:
    """Affine and shape [k, j, i] of the smallest orthogonal grid with the pixels of the first slice that holds all."""
    k, j, i = shape
    in_plane = affine[:3, :2]
    travel = in_plane.T @ drift * (k - 1) / (in_plane**2).sum(axis=0)  # first to last slice, pixels along i and j
    travel = np.where(np.abs(travel - np.rint(travel)) < 1e-3, np.rint(travel), travel)  # rounded positions
    before, after = np.floor(np.minimum(travel, 0)).astype(int), np.ceil(np.maximum(travel, 0)).astype(int)
    upright = affine.copy()
    upright[:3, 2] -= drift
    upright[:3, 3] += in_plane @ before
    i, j = np.array([i, j]) + after - before
    return upright, (k, int(j), int(i))


def _read_upright(
    images: list[_Image], name: str, affine: np.ndarray, shape: tuple[int, int, int], progress: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """Each slice moved back within its plane by linear interpolation, rounded to HU, air where it does not reach."""
    import SimpleITK as sitk

    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetOutputPixelType(sitk.sitkFloat32)
    resample.SetDefaultPixelValue(PADDING_HU)
    resample.SetSize((shape[2], shape[1], 1))
    for number, image in enumerate(images):
        pixels = _pixels(image, name)
        resample.SetOutputOrigin((affine[:3, 3] + number * affine[:3, 2]).tolist())
        resample.SetOutputSpacing(pixels.GetSpacing())
        resample.SetOutputDirection(pixels.GetDirection())
        yield np.rint(sitk.GetArrayFromImage(resample.Execute(pixels))[0])
        progress(0.3 + 0.7 * (number + 1) / len(images))


def _read_multiframe(image: _Image, name: str) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk

    if image.size[2] == 1:
        raise VolumeError(f"{name} holds a single slice; give the folder with all DICOM files of the CT.")
    pixels = _pixels(image, name)
    affine, values = image_affine(pixels), sitk.GetArrayViewFromImage(pixels)
    expected = affine[:3, 3] + np.arange(len(values))[:, None] * affine[:3, 2]
    positions = _frame_positions(image.path)
    if positions.shape != expected.shape or np.abs(positions - expected).max() > 0.1:
        # GDCM falls back to a spacing of 1 x 1 x 1 mm without a word
        raise VolumeError(f"{name} has frames that are no evenly spaced stack; export it as one file per slice.")
    return hu_array(values, values.shape, name), affine


def _frame_positions(path: Path) -> np.ndarray:
    """Image Position (Patient) of every frame of an enhanced multi-frame file, [frame, 3] mm, as the file says it."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        header = content[: content.find(b"\xe0\x7f\x10\x00")]  # up to the pixels
    # little-endian tag (0020,0032): with value representation and 2-byte length, or a 4-byte length alone
    found = re.finditer(rb"\x20\x00\x32\x00(?:DS(..)|(..\x00\x00))", header, re.DOTALL)
    values = [header[m.end() : m.end() + int.from_bytes(m[1] or m[2], "little")] for m in found]
    try:
        return np.array([[float(number) for number in value.split(b"\\")] for value in values])
    except ValueError:
        return np.empty(0)


def _pixels(image: _Image, name: str) -> Any:
    """The SimpleITK image of one file, rescaled to HU."""
    try:
        with quiet_libraries():
            pixels = _reader(image.path).Execute()
    except RuntimeError as error:
        raise VolumeError(f"{image.path.name} in {name} is damaged or incomplete; export the series again.") from error
    if pixels.GetNumberOfComponentsPerPixel() != 1:
        raise VolumeError(f"{name} does not hold one number per voxel; give a scalar CT volume in HU.")
    return pixels


def _reader(file: Path) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    return reader
