"""A segmentation as a file has it: label maps and their labels' names, from NRRD, NIfTI, MetaImage, DICOM SEG."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError, sentence
from ..geometry import Geometry
from ..volume import SIDE, VolumeError, beginning, read_labels

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segmentation, label map
LARGEST_LABEL = 65_535
FILES = (".nrrd", ".nii", ".nii.gz", ".mha")
FRAMES = (1, 1, 1), (-1, -1, 1), (1, -1, 1)  # LPS, RAS, LAS: in what a program may count without saying so


class SegmentationError(UserError):
    """No landmark can be had from this segmentation. The message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One label of a segmentation. ``name``: "" where the file has none; ``mask`` [k, j, i] bool."""

    number: int
    name: str
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Segmentation:
    """``source``: the file's name; all masks have the ``geometry``.

    ``unsaid`` and ``notes`` as of `Labels`: with anything unsaid only the scan can tell where the masks lie.
    """

    source: str
    geometry: Geometry
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    @property
    def labels(self) -> str:
        """The first of them, for people."""
        return ", ".join(f"{segment.number} {segment.name}".strip() for segment in self.segments[:12])

    @property
    def doubt(self) -> str:
        """What it does not say, in words that begin a sentence."""
        return f"{self.source} does not say {' and '.join(self.unsaid)}"

    def on_voxels_of(self, scan: Geometry) -> Segmentation | None:
        """The same, if its voxels are those of ``scan``: in any frame where it does not say which side is left."""
        for signs in FRAMES if SIDE in self.unsaid else FRAMES[:1]:
            grid = Geometry(np.diag([*signs, 1.0]) @ self.geometry.affine_lps, self.geometry.size)
            if scan.same_as(grid) and not self.unsaid:
                return self
            if scan.same_as(grid):
                note = f"{self.doubt}; its voxels were taken as those of the scan, with which its numbers agree."
                return replace(self, geometry=grid, notes=(*self.notes, note), unsaid=())
        return None


def read_segmentation(path: Path) -> Segmentation:
    """Read a label map, a DICOM SEG, or a folder with a mask in each file (as TotalSegmentator writes them).

    Empty labels are left out. Raises SegmentationError, VolumeError, OSError.
    """
    segmentation = _folder(path) if path.is_dir() else _file(path)
    if not segmentation.segments:
        raise SegmentationError(f"{segmentation.source} is empty: no voxel has a label; segment the vessels first.")
    return segmentation


def _file(path: Path) -> Segmentation:
    """The same of one file, which may be empty."""
    start, _ = beginning(path)
    if start[128:132] == b"DICM" and any(uid.encode() in start[:2000] for uid in SEG_CLASSES):
        return _dicom(path)
    labels = read_labels(path)
    names = _names(start)
    segments = []
    for number, layer in enumerate(labels.layers):
        low, high = float(layer.min()), float(layer.max())
        if low < 0 or high > LARGEST_LABEL or (layer.dtype.kind == "f" and (np.rint(layer) != layer).any()):
            raise SegmentationError(
                f"{path.name} holds values from {low:g} to {high:g} that are no labels; give a label map, not a scan "
                "or probabilities."
            )
        for label in np.unique(layer).astype(int).tolist():
            if label:
                segments.append(Segment(label, names.get((number, label), ""), layer == label))
    return Segmentation(path.name, labels.geometry, tuple(segments), labels.notes, labels.unsaid)


def _folder(path: Path) -> Segmentation:
    files = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(FILES)]
    segments: list[Segment] = []
    notes: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    geometry = None
    for file in (file for file in files if re.search("carotid", file.name, re.IGNORECASE)):
        read = _file(file)
        if not read.segments:
            continue  # the mask of a vessel that is not there
        if geometry is not None and not geometry.same_as(read.geometry):
            raise SegmentationError(f"The masks in {path.name} have different geometries; segment one scan at a time.")
        geometry = read.geometry
        notes += read.notes
        unsaid = unsaid or read.unsaid
        name = re.sub(r"(\.seg)?\.(nrrd|nii(\.gz)?|mha)$", "", file.name, flags=re.IGNORECASE)
        masks = [segment.mask for segment in read.segments]
        segments.append(Segment(len(segments) + 1, name, np.logical_or.reduce(masks)))
    if geometry is None:
        raise SegmentationError(f"{path.name} holds no mask of a carotid (carotid in a file's name); give a label map.")
    return Segmentation(path.name, geometry, tuple(segments), notes, unsaid)


def _names(start: bytes) -> dict[tuple[int, int], str]:
    """(layer, label) -> name: in a .seg.nrrd of Slicer, or in the header of a NIfTI of TotalSegmentator."""
    if start.startswith(b"NRRD"):
        text = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0].decode("utf-8", "replace")
        fields = dict(line.split(":=", 1) for line in text.splitlines() if ":=" in line)
        names = {}
        for key, name in fields.items():
            if match := re.fullmatch(r"(Segment\d+)_Name", key):
                layer, label = (
                    fields.get(f"{match[1]}_{what}", default) for what, default in (("Layer", "0"), ("LabelValue", "1"))
                )
                if layer.strip().isdigit() and label.strip().isdigit():
                    names[int(layer), int(label)] = name.strip()
        return names
    text = start.decode("latin-1") if b"<LabelTable" in start else ""
    pattern = r'<Label\b[^>]*\bKey="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]+)'
    return {(0, int(label)): name.strip() for label, name in re.findall(pattern, text)}


def _dicom(path: Path) -> Segmentation:
    import highdicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seg = highdicom.seg.segread(path)
            segments, geometry = [], None
            for number in sorted(seg.segment_numbers):
                volume = seg.get_volume(segment_numbers=[number], combine_segments=False)
                mask = np.asarray(volume.array)[..., 0] >= 0.5  # of a fractional one, the larger part
                k, j, i = mask.shape
                geometry = Geometry(np.asarray(volume.affine)[:, [2, 1, 0, 3]], (i, j, k))
                if mask.any():
                    name = str(seg.get_segment_description(number).segment_label)
                    segments.append(Segment(number, name, mask))
    except Exception as error:  # pydicom and highdicom raise errors of any class on damaged files
        if sentence(error):  # of the disk or the memory
            raise
        raise VolumeError(f"{path.name} is a DICOM segmentation that can not be read; export it again.") from error
    if geometry is None:
        raise SegmentationError(f"{path.name} is empty: it has no segment; segment the vessels first.")
    return Segmentation(path.name, geometry, tuple(segments))
