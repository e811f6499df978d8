"""A CT volume in patient space: an array in HU and its geometry; reading it, and refusing what is not one."""

from __future__ import annotations

import gzip
import itertools
import os
import re
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_path
from .detection import VolumeInfo

PADDING_HU = -1024  # scanners mark 'outside the field of view' with values below air: -1024, -2000, -3024
SMALLEST_SIZE = 16
SPACING_RANGE_MM = (0.05, 10.0)
DIRECTION_TOLERANCE = 1e-3
SMALLEST_RANGE_HU = 300  # from fat to contrast is more than this; an 8-bit picture spans 255
LARGEST_MINIMUM_HU = -50  # any piece of a neck holds fat
LARGEST_HU = 70_000  # a 16-bit extended HU scale ends at 64 511
IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
WRITABLE_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")  # one file each: it can be replaced atomically
FORMATS = "NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd) or a DICOM folder"

Progress = Callable[[float], None]


class VolumeError(ValueError):
    """The input can not be used. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan in HU.

    ``array`` is [k, j, i], int16 or float32. ``affine_lps`` is 4 x 4 and maps a voxel index (i, j, k, 1) to LPS
    millimetres; its columns are orthogonal but may be oblique or flipped. ``name`` is a file or folder name, never a
    path. ``note`` tells the user what reading decided (which of several series, a tilted gantry), or is empty.
    """

    array: np.ndarray
    affine_lps: np.ndarray
    name: str = "volume"
    note: str = ""

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along i, j, k."""
        return np.linalg.norm(self.affine_lps[:3, :3], axis=0)

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        k, j, i = self.array.shape
        return i, j, k

    @property
    def orientation(self) -> str:
        """Where i, j and k lead, for example ``LPS``; ``LPS oblique`` when an axis is more than 0.1 degrees off."""
        return orientation_name(self.affine_lps)

    @property
    def centre_lps(self) -> np.ndarray:
        """The middle of the scan, LPS millimetres: [3]."""
        return self.to_lps((np.array(self.size) - 1) / 2)

    @property
    def info(self) -> VolumeInfo:
        """The scan as ``detection.json`` names it."""
        i, j, k = (float(spacing) for spacing in self.spacing_mm)
        return VolumeInfo(path=self.name, size=self.size, spacing_mm=(i, j, k), orientation=self.orientation)

    def to_lps(self, voxels: Any) -> np.ndarray:
        """Voxel indices (i, j, k), [..., 3], to LPS millimetres, [..., 3] float64."""
        return np.asarray(voxels, float) @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def to_voxels(self, points_lps: Any) -> np.ndarray:
        """LPS millimetres, [..., 3], to voxel indices (i, j, k), [..., 3] float64."""
        inverse = np.linalg.inv(self.affine_lps)
        return np.asarray(points_lps, float) @ inverse[:3, :3].T + inverse[:3, 3]

    def contains(self, point_lps: Any) -> bool:
        """Whether a point, LPS millimetres, lies in a voxel of this scan."""
        voxel = self.to_voxels(point_lps)
        return bool(np.all(voxel >= -0.5) and np.all(voxel <= np.array(self.size) - 0.5))


def orientation_name(affine_lps: np.ndarray) -> str:
    """The patient direction nearest to each of i, j, k (letters as in ``LPS``: towards left, posterior, superior).

    Followed by `` oblique`` when an axis is more than 0.1 degrees off.
    """
    axes = affine_lps[:3, :3] / np.linalg.norm(affine_lps[:3, :3], axis=0)
    order = max(itertools.permutations(range(3)), key=lambda rows: sum(abs(axes[row, c]) for c, row in enumerate(rows)))
    cosines = [axes[row, column] for column, row in enumerate(order)]
    letters = "".join("LPS"[row] if cosine > 0 else "RAI"[row] for row, cosine in zip(order, cosines, strict=True))
    return letters if min(map(abs, cosines)) > np.cos(np.radians(0.1)) else f"{letters} oblique"


def check_volume(volume: Volume) -> None:
    """Raise VolumeError, one sentence, if this can not be a CT volume in HU. A constant one passes: it is readable."""
    name, array = volume.name, volume.array
    if array.ndim != 3:
        raise VolumeError(f"{name} has {array.ndim} dimensions; give one three-dimensional CT volume.")
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise VolumeError(f"{name} does not hold one number per voxel ({array.dtype}); give a scalar CT volume in HU.")
    if min(array.shape) < SMALLEST_SIZE:
        size = " x ".join(map(str, volume.size))
        raise VolumeError(f"{name} has {size} voxels; give a volume with at least {SMALLEST_SIZE} along every axis.")
    _check_geometry(name, np.asarray(volume.affine_lps))
    lowest, highest = array.min(), array.max()  # NaN and infinity both show here, without a copy
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise _not_finite(name)
    span = float(highest) - float(lowest)
    if highest > LARGEST_HU or (span > 0 and (lowest > LARGEST_MINIMUM_HU or span < SMALLEST_RANGE_HU)):
        raise VolumeError(
            f"{name} has values from {lowest:g} to {highest:g}, which can not be Hounsfield units of a neck "
            "(air -1000, water 0, bone above 300); give the scan before any normalisation or conversion to grey levels."
        )


def from_array(array: np.ndarray, affine_lps: np.ndarray, name: str = "volume", note: str = "") -> Volume:
    """A checked Volume from an array [k, j, i] in HU and its affine (voxel (i, j, k, 1) to LPS millimetres).

    The caller's array is never changed. int16 and float32 arrays without padding below -1024 are shared, not copied;
    other types become int16 where every value is an integer that fits, else float32. Raises VolumeError.
    """
    array, affine = np.asarray(array), np.array(affine_lps, dtype=float)
    if array.ndim != 3 or not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        check_volume(Volume(array, affine, name))
    if array.dtype not in (np.int16, np.float32) or array.min(initial=0) < PADDING_HU:
        array = hu_array(array, array.shape, name)
    volume = Volume(array, affine, name, note)
    check_volume(volume)
    return volume


def hu_array(slices: Iterable[np.ndarray], shape: tuple[int, ...], name: str) -> np.ndarray:
    """Collect slices [j, i] of any number type into one array [k, j, i], padding raised to -1024.

    int16 where every value is an integer that fits, else float32; never more than one slice is converted at a time.
    Raises VolumeError on NaN or infinity.
    """
    limits = np.iinfo(np.int16)
    array = np.empty(shape, np.int16)
    for k, values in enumerate(slices):
        exact = np.issubdtype(values.dtype, np.integer)
        if not exact and not np.isfinite(values).all():
            raise _not_finite(name)
        if values.min() < PADDING_HU:
            values = np.maximum(values, PADDING_HU)
        if array.dtype == np.int16 and (values.max() > limits.max or not (exact or (np.rint(values) == values).all())):
            array = array.astype(np.float32)
        array[k] = values
    return array


def read_volume(path: str | os.PathLike[str], series: str | None = None, progress: Progress | None = None) -> Volume:
    """Read a CT from a NRRD, NIfTI or MetaImage file, a DICOM folder, or one multi-frame DICOM file.

    In a DICOM folder (searched with its sub-folders) the largest axial CT series is taken, or the one whose UID or
    number is ``series``; `Volume.note` says which, when there was a choice. Series with missing or unevenly spaced
    slices are refused. Those of a tilted gantry are not on an orthogonal grid: each is moved within its own plane by
    linear interpolation, and `Volume.note` says so.
    ``progress`` is called with the fraction read, 0 to 1. A 16-bit scan needs twice its own size while it is read.
    Raises VolumeError.
    """
    path = Path(path)
    name = path.name or path.resolve().name
    if not path.exists():
        raise VolumeError(f"{name} does not exist; check the path.")
    try:
        if path.is_dir():
            os.listdir(path)
        else:
            path.open("rb").close()
    except OSError as error:
        raise VolumeError(f"{name} can not be opened; check its read permission.") from error
    report = progress or (lambda fraction: None)
    report(0.0)
    if is_dicom(path):
        from .dicom_series import read_series

        array, affine, note = read_series(path, series, report)
    elif path.name.lower().endswith(IMAGE_SUFFIXES):
        if series is not None:
            raise VolumeError(f"{name} is a single volume and has no series to choose; leave the series out.")
        array, affine, note = _read_file(path)
    else:
        raise VolumeError(f"{name} is of an unknown type; give {FORMATS}.")
    volume = Volume(array, affine, name, note)
    check_volume(volume)
    report(1.0)
    return volume


def is_dicom(path: Path) -> bool:
    """Whether `read_volume` takes ``path`` for DICOM: a folder, or a file named as one."""
    return path.is_dir() or path.suffix.lower() in (".dcm", ".ima")


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write NRRD, NIfTI or MetaImage (one compressed file), chosen by extension; nothing else of the scan is written.

    The file appears whole or not at all. Raises VolumeError on another extension, OSError.
    """
    import SimpleITK as sitk

    path = Path(path)
    if not path.name.lower().endswith(WRITABLE_SUFFIXES):
        raise VolumeError(f"{path.name} can not be written; choose a name that ends in {', '.join(WRITABLE_SUFFIXES)}.")
    with atomic_path(path) as temporary:
        try:
            with quiet_libraries():
                image = sitk.GetImageFromArray(volume.array)
                image.SetSpacing(volume.spacing_mm.tolist())
                image.SetDirection((volume.affine_lps[:3, :3] / volume.spacing_mm).ravel().tolist())
                image.SetOrigin(volume.affine_lps[:3, 3].tolist())
                sitk.WriteImage(
                    image, str(temporary), useCompression=not path.name.lower().endswith(".nii"), compressionLevel=1
                )
        except RuntimeError as error:
            raise OSError(f"{path.name} could not be written; check the folder and the space left in it.") from error


def image_affine(image: Any) -> np.ndarray:
    """The 4 x 4 affine (voxel to LPS millimetres) of a SimpleITK image or image reader."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what image libraries print off stdout and stderr: our own one sentence is the whole story."""
    # niftilib and MetaIO write to the C streams, past Python and past ITK's warning switch
    with _descriptors:
        saved = []
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            with open(os.devnull, "wb") as sink:
                for descriptor in (1, 2):
                    saved.append((descriptor, os.dup(descriptor)))
                    os.dup2(sink.fileno(), descriptor)
        except OSError:  # a program without console has no descriptors to protect
            pass
        try:
            yield
        finally:
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)


_descriptors = threading.RLock()


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    import SimpleITK as sitk

    name = path.name
    with path.open("rb") as stream:
        start = stream.read(4096)
    if name.lower().endswith((".mha", ".mhd")) and not re.search(rb"NDims *= *[1-9]\b", start):
        raise _damaged(name)  # MetaIO crashes on a negative number of dimensions
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_libraries():
            reader.ReadImageInformation()
        if reader.GetDimension() != 3:
            raise VolumeError(f"{name} has {reader.GetDimension()} dimensions; give one three-dimensional CT volume.")
        if reader.GetNumberOfComponents() != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelIDValue()):
            raise VolumeError(f"{name} does not hold one number per voxel; give a scalar CT volume in HU.")
        _check_geometry(name, image_affine(reader))
        if name.lower().endswith((".nii", ".nii.gz")):
            _check_nifti(path, reader)
        with quiet_libraries():
            image = reader.Execute()
    except RuntimeError as error:
        raise _reader_error(name, str(error)) from error
    view = sitk.GetArrayViewFromImage(image)
    unsure = name.lower().endswith((".nrrd", ".nhdr")) and not reader.HasMetaDataKey("NRRD_space")
    note = (
        f"{name} does not say which side is left; the axes were taken as left, posterior, superior." if unsure else ""
    )
    return hu_array(view, view.shape, name), image_affine(image), note


def _check_nifti(path: Path, reader: Any) -> None:
    """What ITK accepts in silence: a NIfTI file without orientation, and one that ends too early."""
    if reader.GetMetaData("qform_code") == "0" and reader.GetMetaData("sform_code") == "0":
        raise VolumeError(
            f"{path.name} does not say which side is left (no qform, no sform); convert it again from DICOM."
        )
    size = int(np.prod(reader.GetSize())) * int(reader.GetMetaData("bitpix")) // 8
    if not _nifti_complete(
        path, int(float(reader.GetMetaData("vox_offset"))), size, int(reader.GetMetaData("datatype"))
    ):
        raise _damaged(path.name)


def _nifti_complete(path: Path, offset: int, size: int, datatype: int) -> bool:
    """Whether ``size`` bytes of voxels follow ``offset``, and the gzip checksum is right. Raises VolumeError on NaN."""
    floating = {16: "f4", 64: "f8"}.get(datatype)
    left = size
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            order = "<" if int.from_bytes(stream.read(4), "little") == 348 else ">"
            stream.read(offset - 4)
            while block := stream.read(min(left, 1 << 20) or 1 << 20):  # to the end: the checksum comes last
                if (
                    left
                    and floating
                    and not np.isfinite(np.frombuffer(block[: len(block) & ~7], order + floating)).all()
                ):
                    raise _not_finite(path.name)  # niftilib would read them as 0
                left = max(0, left - len(block))
    except (OSError, EOFError, zlib.error):
        return False
    return left == 0


def _check_geometry(name: str, affine: np.ndarray) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise _degenerate(name)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_RANGE_MM
    if (spacing < low * (1 - 1e-6)).any() or (spacing > high * (1 + 1e-6)).any():  # headers round
        text = " x ".join(f"{value:.3g}" for value in spacing)
        raise VolumeError(
            f"{name} has a voxel size of {text} mm, outside {low:g} to {high:g} mm; correct the spacing in its header."
        )
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < 0.1:
        raise _degenerate(name)
    if np.abs(axes.T @ axes - np.eye(3)).max() > DIRECTION_TOLERANCE:
        raise _not_orthogonal(name)


def _reader_error(name: str, message: str) -> VolumeError:
    """One sentence for what ITK says in many lines."""
    if "orthonormal" in message:
        return _not_orthogonal(name)
    if "determinant is 0" in message or "space vector" in message:
        return _degenerate(name)
    if "spacing" in message:
        return VolumeError(f"{name} has a voxel size of zero or less; correct the spacing in its header.")
    return _damaged(name)


def _damaged(name: str) -> VolumeError:
    return VolumeError(f"{name} is damaged or incomplete; copy or export it again.")


def _degenerate(name: str) -> VolumeError:
    return VolumeError(f"{name} has a degenerate direction matrix; export it again with its orientation.")


def _not_orthogonal(name: str) -> VolumeError:
    return VolumeError(f"{name} has axes that are not at right angles; resample it onto an orthogonal grid.")


def _not_finite(name: str) -> VolumeError:
    return VolumeError(f"{name} holds NaN or infinite values; export it again, with -1024 outside the field of view.")
