"""NIfTI-1 and NIfTI-2 headers: where qform, sform, pixdim and units agree, the place of the voxels.

Field names, offsets and codes are those of nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np

from .scan import VolumeError, check_geometry, damaged, degenerate, no_scalars
from .stored import Header, three_dimensional

TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
NO_SCALARS = {1, 32, 128, 1536, 1792, 2048, 2304}  # bits, complex, colours, 128-bit floats
UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # 0 says nothing: the range of voxel sizes tells metres and microns
LOST = 1e-7, 0.0  # of a quaternion's squared first component, in NIfTI-1's 32 bits and in NIfTI-2's 64
AGREEMENT_MM, AGREEMENT = 0.1, 1e-3  # of two statements: what 32-bit quaternions near half a turn lose

# name: (format, place in NIfTI-1, format, place in NIfTI-2)
FIELDS = {
    "dim": ("8h", 40, "8q", 16),
    "datatype": ("h", 70, "h", 12),
    "bitpix": ("h", 72, "h", 14),
    "pixdim": ("8f", 76, "8d", 104),
    "vox_offset": ("f", 108, "q", 168),
    "scl": ("2f", 112, "2d", 176),
    "xyzt_units": ("B", 123, "i", 500),
    "codes": ("2h", 252, "2i", 344),
    "quatern": ("6f", 256, "6d", 352),
    "srow": ("12f", 280, "12d", 400),
}


def is_nifti(start: bytes) -> bool:
    """Whether a file begins as NIfTI-1, NIfTI-2 or ANALYZE 7.5 do: with the size of their header."""
    return start[:4] in [struct.pack(order + "i", size) for order in "<>" for size in (348, 540)]


def nifti_header(start: bytes, path: Path, name: str, packed: bool) -> Header:
    """The header in the first 540 bytes of a file (after decompression if ``packed``). Raises VolumeError."""
    if len(start) < 348:
        raise damaged(name)
    order = "<" if start[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    second = int(struct.unpack(order + "i", start[:4])[0] == 540)
    magic = start[4:8] if second else start[344:348]
    if magic[:3] in (b"ni1", b"ni2"):
        raise VolumeError(f"{name} is the header of a NIfTI pair; save it as one .nii file.")
    if magic[:3] not in (b"n+1", b"n+2"):
        raise VolumeError(
            f"{name} is ANALYZE 7.5 or damaged, and does not say which side is left; give NIfTI or DICOM."
        )
    if second and len(start) < 540:
        raise damaged(name)
    fields = {}
    for field, formats in FIELDS.items():
        kind, place = formats[2 * second : 2 * second + 2]
        fields[field] = struct.unpack_from(order + str(kind), start, int(place))
    if not 1 <= fields["dim"][0] <= 7:
        raise damaged(name)
    size = three_dimensional(name, list(fields["dim"][1 : fields["dim"][0] + 1]))
    (datatype,), (bits,), (offset,) = fields["datatype"], fields["bitpix"], fields["vox_offset"]
    if datatype in NO_SCALARS:
        raise no_scalars(name)
    if datatype not in TYPES or not np.isfinite(offset) or offset < 0 or offset != int(offset):
        raise damaged(name)
    dtype = np.dtype(order + TYPES[datatype])
    if bits != 8 * dtype.itemsize:
        raise VolumeError(
            f"{name} states its type of voxels twice, and differently (datatype, bitpix); export it again."
        )
    slope, intercept = fields["scl"]
    if not np.isfinite(slope) or slope == 0:  # the standard: no scaling
        slope, intercept = 1.0, 0.0
    if not np.isfinite(intercept):
        raise damaged(name)
    affine, notes = _affine(fields, size, name, LOST[second])
    if offset < (first := 544 if second else 352):  # readers differ by the four bytes of its extension flags
        raise VolumeError(
            f"{name} says that its voxels begin at byte {offset:.0f}, and none do before {first}; export it again."
        )
    encoding = "gzip" if packed else "raw"
    return Header(size, dtype, affine, path, int(offset), encoding, packed, float(slope), float(intercept), notes)


def _affine(
    fields: dict[str, tuple], size: tuple[int, int, int], name: str, lost: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxels to LPS millimetres, and what to tell the user. Raises VolumeError where the header contradicts itself.

    ``lost``: as of `_rotation`.
    """
    unit = UNITS_MM.get(fields["xyzt_units"][0] & 7)
    if unit is None:
        raise VolumeError(f"{name} gives its voxel size in an unknown unit; export it again in millimetres.")
    qform_code, sform_code = fields["codes"]
    pixdim = np.array(fields["pixdim"][1:4])
    sform, qform = np.eye(4), np.eye(4)
    sform[:3] = np.reshape(fields["srow"], (3, 4))
    qform[:3, :3] = _rotation(fields["quatern"][:3], fields["pixdim"][0], lost) * pixdim
    qform[:3, 3] = fields["quatern"][3:]
    if sform_code <= 0 and qform_code <= 0:
        raise VolumeError(f"{name} does not say which side is left (no qform, no sform); convert it again from DICOM.")
    ras = sform if sform_code > 0 else qform
    if ras is qform and not (pixdim > 0).all():
        raise VolumeError(f"{name} has a voxel size of zero or less (pixdim); convert it again from DICOM.")
    if not np.isfinite(ras).all() or not np.linalg.norm(ras[:3, :3], axis=0).all():
        raise degenerate(name)
    affine = np.diag([-unit, -unit, unit, 1.0]) @ ras
    check_geometry(name, affine)
    notes: tuple[str, ...] = ()
    spacing = np.linalg.norm(ras[:3, :3], axis=0)
    if sform_code > 0 and qform_code > 0:
        distance = _distance(sform, qform, size) * unit
        if not distance < AGREEMENT_MM + AGREEMENT * float(np.linalg.norm(spacing * size)) * unit:
            raise VolumeError(
                f"{name} states its place twice, and differently: qform and sform disagree by {distance:.1f} mm; "
                "convert it again from DICOM, or set the code of the wrong one to 0."
            )
    elif sform_code > 0 and not np.allclose(pixdim, spacing, rtol=AGREEMENT, atol=0):
        stated, followed = (" x ".join(f"{value:.4g}" for value in sizes) for sizes in (pixdim, spacing))
        notes = (
            f"{name} states its voxel size twice, and differently: {stated} (pixdim) and {followed} (sform); "
            "the sform was followed.",
        )
    return affine, notes


def _distance(one: np.ndarray, other: np.ndarray, size: tuple[int, int, int]) -> float:
    """How far the corners of a volume lie apart at most under two affines; NaN where one of them is not finite."""
    corners = np.array(list(itertools.product(*((0, count - 1) for count in size), (1,))))
    return float(np.linalg.norm(corners @ (one - other).T[:, :3], axis=1).max())


def _rotation(quaternion: tuple, handedness: float, lost: float) -> np.ndarray:
    """The rotation of (b, c, d), its third column turned where qfac (pixdim[0]) is negative: [3, 3].

    ``lost``: below it the square of the first component is rounding, and the rotation half a turn.
    """
    vector = np.array(quaternion)
    rest = 1.0 - vector @ vector
    if rest < lost:
        rest, vector = 0.0, vector / np.linalg.norm(vector)
    b, c, d = vector
    across = np.array([[0, -d, c], [d, 0, -b], [-c, b, 0]])
    rotation = (rest - vector @ vector) * np.eye(3) + 2 * np.outer(vector, vector) + 2 * np.sqrt(rest) * across
    return rotation * [1, 1, -1 if handedness < 0 else 1]
