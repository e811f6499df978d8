"""One DICOM file: its slices as the header describes them, and their stored values."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import math
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
    UncompressedTransferSyntaxes,
)

from ..errors import lacks_memory
from .libraries import quiet_libraries
from .scan import VolumeError, no_scalars, text_name

_key = functools.cache(Tag)
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
CT_CLASSES = tuple("1.2.840.10008.5.1.4.1.1.2" + kind for kind in ("", ".1", ".2"))  # plain, enhanced, converted
CAPTURE_CLASSES = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"  # one frame, many frames of 16 bits
TAGS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription",
    "ContrastBolusAgent", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber",
    "AcquisitionNumber", "InstanceNumber", "ImagesInAcquisition", "AcquisitionTime", "ContentTime",
    "TemporalPositionIdentifier",
    "TriggerTime", "NominalPercentageOfCardiacPhase", "ConvolutionKernel", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "KVP", "SliceThickness", "ModalityLUTSequence", "InConcatenationTotalNumber",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# What GDCM decodes. High-Throughput JPEG 2000, for one, it does not.
COMPRESSED = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000, *RLETransferSyntaxes)
PIXEL_TAGS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelData",
)  # fmt: skip
PLAIN_VRS = ("AE", "CS", "DA", "DS", "DT", "IS", "TM", "UI")
# what tells the phases of one series apart, the surest first: in a plain file, in a frame's functional groups
PHASES = {
    "temporal position": ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    "cardiac phase": (
        "NominalPercentageOfCardiacPhase", "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase",
    ),
    "trigger time": ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "stack": ("", "FrameContentSequence", "StackID"),
    "kVp": ("KVP", "CTXRayDetailsSequence", "KVP"),
    "acquisition": ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    "acquisition time": ("AcquisitionTime", "FrameContentSequence", "FrameAcquisitionDateTime"),
    "content time": ("ContentTime", "", ""),
}  # fmt: skip
# the same of reconstructions; along a single stack these may change, too
KINDS = {
    "image type": ("ImageType", "CTImageFrameTypeSequence", "FrameType"),
    "rescale type": ("RescaleType", "PixelValueTransformationSequence", "RescaleType"),
    "kernel": ("ConvolutionKernel", "CTReconstructionSequence", "ConvolutionKernel"),
    "contrast agent": ("ContrastBolusAgent", "", ""),
    "slice thickness": ("SliceThickness", "PixelMeasuresSequence", "SliceThickness"),
    "description": ("SeriesDescription", "", ""),
}
TELLING = PHASES | KINDS


@dataclass(frozen=True)
class File:
    """What a file says of all its slices. ``size``: columns and rows; ``kind``: Image Type, in upper case.

    ``expected``: how many images its acquisition has, ``files``: in how many files a multi-frame image comes, 0 where
    it does not say. ``padding``: the stored values, from and to, of pixels outside the field of view. ``has_table``:
    whether stored values become HU by a table (Modality LUT).
    """

    path: Path
    patient: str
    study: str
    uid: str
    frame_of_reference: str
    number: str
    description: str
    modality: str
    kind: tuple[str, ...]
    kernel: str
    agent: str
    size: tuple[int, int]
    colour: bool
    expected: int
    files: int
    padding: tuple[float, float] | None
    has_table: bool

    @functools.cached_property
    def digests(self) -> list[bytes]:
        """Of the stored values of each frame; none of a damaged file. It is decoded once, however many frames ask."""
        try:
            frames = stored_values(self.path, self.path.name)
        except VolumeError:
            return []
        return [hashlib.sha256(values.tobytes()).digest() for values in frames]


@dataclass(frozen=True, eq=False)
class Slice:
    """A file of one slice, or one frame of a multi-frame file.

    ``position``, LPS mm, is that of the first pixel; ``axes`` [2, 3] are unit vectors along which columns (i) and rows
    (j) are counted; ``spacing_mm`` is along i and j. Each is None where the file does not say it, or not rightly.
    ``has_rescale``: whether it states slope and intercept. ``unit``: Rescale Type, in upper case.
    """

    file: File
    frame: int
    uid: str = ""
    instance: int | None = None
    position: np.ndarray | None = None
    axes: np.ndarray | None = None
    spacing_mm: np.ndarray | None = None
    gap_mm: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    has_rescale: bool = False
    unit: str = ""
    phase: dict[str, str] = field(default_factory=dict)


def is_dicom_file(start: bytes) -> bool:
    """Whether a file begins as DICOM does: with the prefix, or, as old archives wrote it, with a first data element."""
    bare = re.match(rb"[\x02\x08]\x00[\x00-\x20]\x00(?:[A-Z]{2}|.[\x00-\x04]\x00\x00)", start, re.DOTALL)
    return start[128:132] == b"DICM" or start.startswith(b"DICM") or bare is not None


@contextmanager
def lenient() -> Iterator[None]:
    """Read what scanners really write, in silence: pydicom would comment on every value that breaks a rule."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_slices(path: Path, name: str) -> list[Slice] | None:
    """The slices of one file; none of what holds no image; None of what is not DICOM, or too damaged to be told.

    Raises VolumeError on a damaged CT image, OSError. Call within `lenient`.
    """
    with path.open("rb") as stream:
        start = stream.read(1024)
        if not is_dicom_file(start):
            return None
        is_ct = _sop_class(start) in CT_CLASSES
        try:
            dataset = _parse(stream, start, specific_tags=[_key(tag) for tag in TAGS], stop_before_pixels=True)
            is_ct = is_ct or dataset.get("SOPClassUID") in CT_CLASSES
            if _text(dataset, "SOPClassUID") == DIRECTORY_CLASS or not ("Rows" in dataset or is_ct):
                return [] if "SOPClassUID" in dataset or _sop_class(start) else None
            return _slices(dataset, path)
        except OSError:
            raise
        except Exception as error:  # pydicom raises errors of any class on damaged files
            if is_ct:
                raise _unreadable(path, name, error) from error
            return [] if _sop_class(start) else None


def is_directory_file(start: bytes) -> bool:
    """Whether a file is a DICOMDIR: a table of the files around it."""
    return _sop_class(start) == DIRECTORY_CLASS


def header_of(path: Path, name: str) -> Dataset:
    """All of a file but its pixels. Raises VolumeError."""
    try:
        with path.open("rb") as stream:
            return _parse(stream, stream.read(1024), stop_before_pixels=True)
    except Exception as error:  # as in `read_slices`
        raise _unreadable(path, name, error) from error


def _unreadable(path: Path, name: str, error: Exception) -> VolumeError:
    """Of a file on which pydicom or a decoder has stumbled: damaged, where neither the disk nor memory refused."""
    file = f"{text_name(path)} in {name}"
    if lacks_memory(error):
        return VolumeError(f"{file} needs more memory than there is; close other programs.")
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a damaged offset is an EINVAL, too
        return VolumeError(f"{file} can not be read ({error.strerror}); check its disk and that of temporary files.")
    return VolumeError(f"{file} is damaged or incomplete; export the series again.")


def stored_values(path: Path, name: str) -> np.ndarray:
    """Stored values of all frames of a file, [frame, j, i], as they are before any rescale. Raises VolumeError."""
    try:
        with path.open("rb") as stream:
            dataset = _parse(stream, stream.read(1024))
        if dataset.get("SamplesPerPixel", 1) != 1:
            raise no_scalars(name)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax not in (*UncompressedTransferSyntaxes, *COMPRESSED):
            raise VolumeError(
                f"{name} is stored in a way that can not be read here ({syntax.name}); export the series uncompressed, "
                "or as lossless JPEG."
            )
        if syntax in COMPRESSED and "FloatPixelData" not in dataset:
            values = _decompressed(dataset)
        else:
            values = dataset.pixel_array
        values = values.reshape(_frame_count(dataset), dataset.Rows, dataset.Columns)
        if any(dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2)):
            values = _without_overlays(values, dataset)
    except VolumeError:
        raise
    except Exception as error:  # as above; and what the decoders say of damaged pixels
        raise _unreadable(path, name, error) from error
    return values


def _parse(stream: Any, start: bytes, **how: Any) -> Dataset:
    stream.seek(0)
    if start.startswith(b"DICM"):
        stream = io.BytesIO(stream.read()[4:])
    dataset = pydicom.dcmread(stream, force=True, **how)
    if "TransferSyntaxUID" not in dataset.file_meta:  # as old as files without preamble
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _decompressed(dataset: Dataset) -> np.ndarray:
    """Compressed pixels by GDCM, which knows every way: through a file of the pixels alone, so that it adds nothing."""
    import SimpleITK as sitk

    capture = Dataset()
    for tag in PIXEL_TAGS:
        if tag in dataset:
            capture[tag] = dataset[tag]
    capture.PhotometricInterpretation = "MONOCHROME2"
    capture.SOPClassUID = CAPTURE_CLASSES[_frame_count(dataset) > 1]
    capture.SOPInstanceUID = "1.2.3"
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID
    capture.file_meta.MediaStorageSOPInstanceUID = capture.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        file = Path(folder, "pixels.dcm")
        capture.save_as(file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        return sitk.GetArrayFromImage(reader.Execute())


def _without_overlays(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Old scanners drew overlays into the bits that the values do not use."""
    bits = 8 * values.dtype.itemsize
    unused = bits - int(dataset.BitsStored)
    return (values << (bits - 1 - int(dataset.HighBit))) >> unused


def _slices(dataset: Dataset, path: Path) -> list[Slice]:
    tags = "PixelPaddingValue", "PixelPaddingRangeLimit"
    padding = [value for tag in tags if (value := _number(dataset, tag)) is not None]
    file = File(
        path=path,
        patient=_text(dataset, "PatientID"),
        study=_text(dataset, "StudyInstanceUID"),
        uid=_text(dataset, "SeriesInstanceUID"),
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        number=_text(dataset, "SeriesNumber"),
        description=_text(dataset, "SeriesDescription"),
        modality=_text(dataset, "Modality").upper() or ("CT" if _text(dataset, "SOPClassUID") in CT_CLASSES else ""),
        kind=tuple(part.strip().upper() for part in _text(dataset, "ImageType").split("\\")),
        kernel=_text(dataset, "ConvolutionKernel"),
        agent=_text(dataset, "ContrastBolusAgent"),
        size=(int(dataset.Columns), int(dataset.Rows)),
        colour=dataset.get("SamplesPerPixel", 1) != 1 or "PALETTE" in _text(dataset, "PhotometricInterpretation"),
        expected=int(_number(dataset, "ImagesInAcquisition") or 0),
        files=int(_number(dataset, "InConcatenationTotalNumber") or 0),
        padding=(min(padding), max(padding)) if padding else None,
        has_table="ModalityLUTSequence" in dataset,
    )
    number = _number(dataset, "InstanceNumber")
    frames, count = dataset.get("PerFrameFunctionalGroupsSequence"), _frame_count(dataset)
    whole = {name: _text(dataset, tag) for name, (tag, _, _) in TELLING.items() if tag}
    if frames is None:
        if count > 1:  # several frames without a place of their own have none
            return [Slice(file, 0)]
        return [_slice(file, 0, None if number is None else int(number), [dataset], whole)]
    if len(frames) != count:
        raise ValueError("as many frames as functional groups")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    first = int(number or 0) * len(frames)
    slices = []
    for n, frame in enumerate(frames):
        phase = dict(whole)
        for name, (_, group, tag) in TELLING.items():
            for groups in (shared, frame):
                if group and groups.get(group):
                    phase[name] = _text(groups[group][0], tag) or phase.get(name, "")
        slices.append(_slice(file, n, first + n, [frame, shared, dataset], phase))
    return slices


def _slice(file: File, frame: int, instance: int | None, places: list[Dataset], phase: dict[str, str]) -> Slice:
    """A slice from where its header may say things: of the frame, shared by all frames, of the whole file."""

    def where(group: str, tag: str) -> Dataset:
        for place in places:
            inner = place[_key(group)].value[0] if _key(group) in place and place[_key(group)].value else place
            if _key(tag) in inner:
                return inner
        return Dataset()

    def numbers(group: str, tag: str, count: int) -> np.ndarray | None:
        return _numbers(where(group, tag), tag, count)

    def number(group: str, tag: str) -> float | None:
        values = numbers(group, tag, 1)
        return None if values is None else float(values[0])

    axes = numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    rescale = "PixelValueTransformationSequence"
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    return Slice(
        file=file,
        frame=frame,
        uid=_text(places[-1], "SOPInstanceUID"),
        instance=instance,
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        axes=None if axes is None else axes.reshape(2, 3),
        spacing_mm=None if spacing is None else spacing[::-1],  # DICOM: between rows first
        gap_mm=number("PixelMeasuresSequence", "SpacingBetweenSlices"),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        has_rescale=slope is not None and intercept is not None,
        unit=_text(where(rescale, "RescaleType"), "RescaleType").upper(),
        phase=phase,
    )


def _frame_count(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _text(dataset: Dataset, tag: str) -> str:
    key = _key(tag)
    if key not in dataset:
        return ""
    raw = dataset.get_item(key)
    if isinstance(raw, RawDataElement) and raw.VR in PLAIN_VRS and raw.value is not None:
        text = raw.value.decode("ascii", "replace")  # ten times faster than through pydicom's classes
    else:
        value = dataset[key].value
        parts = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
        text = "\\".join(str(part) for part in parts if part is not None)
    text = text.strip(" \0")
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def _numbers(dataset: Dataset, tag: str, count: int) -> np.ndarray | None:
    """That many finite numbers, or None."""
    try:
        values = [float(part) for part in _text(dataset, tag).split("\\")]
    except ValueError:
        return None
    return np.array(values) if len(values) == count and all(map(math.isfinite, values)) else None


def _number(dataset: Dataset, tag: str) -> float | None:
    values = _numbers(dataset, tag, 1)
    return None if values is None else float(values[0])


def _sop_class(start: bytes) -> str:
    """The kind of a DICOM file, Media Storage SOP Class UID (0002,0002), from its first bytes; empty if not there."""
    _, tag, rest = start.partition(b"\x02\x00\x02\x00UI")
    return rest[2 : 2 + int.from_bytes(rest[:2], "little")].rstrip(b"\0 ").decode("ascii", "replace") if tag else ""
