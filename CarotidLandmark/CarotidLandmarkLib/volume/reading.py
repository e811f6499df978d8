"""Reading a scan from whatever holds it, told by its content; writing one file of it."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import atomic_path
from ..geometry import Geometry
from .dicom import is_dicom_file
from .libraries import quiet_libraries, utf8_path
from .metaimage import is_metaimage, metaimage_header
from .nifti import is_nifti, nifti_header
from .nrrd import nrrd_header
from .scan import Volume, VolumeError, damaged, text_name
from .series import read_series, series_files
from .stored import Header, Progress, holds, read_stored
from .values import check_volume

IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
WRITABLE_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")  # one file each: it can be replaced atomically
FORMATS = "NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd) or a DICOM folder"
LARGEST_HEADER = 1 << 20


@dataclass(frozen=True, eq=False)
class Labels:
    """A label map: ``layers`` [layer, k, j, i], int16 or float32, and where the voxels are.

    ``unsaid``: what the file does not say of sides and place, so that ``geometry`` may be wrong, as words that follow
    *does not say*; ``notes``: sentences on what else had to be decided.
    """

    layers: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...]
    unsaid: tuple[str, ...]


@np.errstate(all="ignore")  # damaged headers hold numbers of any size
def read_volume(
    path: str | os.PathLike[str],
    series: str | None = None,
    progress: Progress | None = None,
    alias: str | None = None,
) -> Volume:
    """Read a CT from a NRRD, NIfTI or MetaImage file, or from DICOM: a folder, a zip file, one multi-frame file.

    The content decides, not the name. In DICOM (searched with its sub-folders) the original axial CT with most voxels
    is taken, or the one whose UID or number (as `list_series` counts) is ``series``. What had to be decided is in
    `Volume.notes`. Slices that a tilted gantry or a shaken table moved within their planes are moved back by linear
    interpolation; series with missing or unevenly spaced slices are refused.
    ``progress`` is called with the fraction read, 0 to 1. ``alias``: the volume's name instead of the file's; notes
    then tell no name of a file and no words of a header. Raises VolumeError.
    """
    path = Path(path)
    name = alias or text_name(path)
    report = progress or (lambda fraction: None)
    report(0.0)
    if is_dicom(path):
        array, affine, notes = read_series(path, series, report, alias)
    else:
        if series is not None:
            raise VolumeError(f"{name} is a single volume and has no series to choose; leave the series out.")
        header = _header(path, name)
        array, affine = read_stored(header, name, report), header.affine
        assumed = (f"{name} does not say {unsaid}; {taken}" for unsaid, taken in header.assumed.items())
        notes = (*header.notes, *assumed)
    volume = Volume(array, affine, name, notes)
    check_volume(volume)
    report(1.0)
    return volume


@np.errstate(all="ignore")
def read_labels(path: str | os.PathLike[str]) -> Labels:
    """A label map in NRRD (also a .seg.nrrd of several layers), NIfTI or MetaImage, as it is stored.

    Raises VolumeError.
    """
    path = Path(path)
    name = text_name(path)
    if is_dicom(path):
        raise VolumeError(f"{name} is DICOM, but no segmentation; give a label map, or a DICOM SEG file.")
    header = _header(path, name, labels=True)
    array = read_stored(header, name, lambda fraction: None)
    if not np.isfinite([array.min(), array.max()]).all():
        raise VolumeError(f"{name} holds NaN or infinite values; export it again.")
    layers = array[None] if header.layers == 1 else np.moveaxis(array, -1, 0)
    return Labels(layers, Geometry(header.affine, header.size), header.notes, tuple(header.assumed))


def is_scan_file(path: Path) -> bool:
    """Whether a file's name is one of a scan's."""
    return path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES)


def files_of(path: Path) -> list[Path]:
    """The files that hold a scan: itself and its detached voxels; of a folder or a DICOMDIR all that are looked into.

    Raises OSError.
    """
    try:
        return sorted(series_files(path) if is_dicom(path) else {path, _header(path, path.name).data})
    except VolumeError:  # no scan
        return [path]


def is_dicom(path: Path) -> bool:
    """Whether `read_volume` takes ``path`` for DICOM: a folder, a zip file, or a file that begins as DICOM does.

    Raises VolumeError where nothing is there, or may be read.
    """
    start, packed = beginning(path)
    return path.is_dir() or (not packed and (start.startswith(b"PK\3\4") or is_dicom_file(start)))


def beginning(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a file, unpacked if gzip has packed them, and whether it has; none of a folder.

    Raises VolumeError where nothing is there, or may be read.
    """
    name = text_name(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)
            return b"", False
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise VolumeError(f"{name} is neither a file nor a folder; give {FORMATS}.")
        with path.open("rb") as stream:
            start = stream.read(LARGEST_HEADER)
        if not start.startswith(b"\x1f\x8b"):
            return start, False
        with gzip.open(path) as unpacked:
            return unpacked.read(LARGEST_HEADER), True
    except VolumeError:
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(name) from error
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise VolumeError(f"{name} does not exist; check the path.") from error
    except PermissionError as error:
        raise VolumeError(f"{name} can not be opened; check its read permission.") from error
    except OSError as error:
        raise VolumeError(f"{name} can not be read ({error.strerror}); check the path and the disk.") from error


def _header(path: Path, name: str, labels: bool = False) -> Header:
    """What the content of a file is a header of. Raises VolumeError where it is none."""
    start, packed = beginning(path)
    if is_nifti(start):
        return nifti_header(start, path, name, packed)
    if start.startswith(b"NRRD000") and not packed:
        return nrrd_header(start, path, name, labels)
    if is_metaimage(start) and not packed:
        return metaimage_header(start, path, name)
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        words = "does not begin as NRRD, NIfTI and MetaImage do: it is damaged, or something else"
        raise VolumeError(f"{name} {words}; copy or export it again.")
    what = "a compressed file of an unknown type; unpack it, and" if packed else "of an unknown type;"
    raise VolumeError(f"{name} is {what} give {FORMATS}.")


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write NRRD, NIfTI or MetaImage (one compressed file), chosen by extension; nothing else of the scan is written.

    The file appears whole or not at all. Raises VolumeError on another extension, OSError.
    """
    import SimpleITK as sitk

    path = Path(path)
    name = text_name(path)
    if not name.lower().endswith(WRITABLE_SUFFIXES):
        raise VolumeError(f"{name} can not be written; choose a name that ends in {', '.join(WRITABLE_SUFFIXES)}.")
    with atomic_path(path) as temporary, utf8_path(temporary) as file:
        try:
            with quiet_libraries():
                image = sitk.GetImageFromArray(volume.array)
                image.SetSpacing(volume.spacing_mm.tolist())
                image.SetDirection(volume.geometry.axes_lps.ravel().tolist())
                image.SetOrigin(volume.affine_lps[:3, 3].tolist())
                sitk.WriteImage(image, file, useCompression=not name.lower().endswith(".nii"), compressionLevel=1)
        except RuntimeError as error:
            raise OSError(errno.EIO, "it could not be written", str(path)) from error
        # On a full disk ITK's NIfTI files were cut anywhere, its NRRD files in their last 4 kB, and it said nothing.
        if not _holds(temporary, volume.array):
            raise OSError(errno.ENOSPC, "it could not be written whole", str(path))


def _holds(path: Path, array: np.ndarray) -> bool:
    """Whether an image file can be read, and holds these voxels [k, j, i]."""
    try:
        return holds(_header(path, path.name), array)
    except VolumeError:
        return False
