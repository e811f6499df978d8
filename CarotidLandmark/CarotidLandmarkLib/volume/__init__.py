"""A CT volume in patient space: reading it from every format, writing it, and refusing what is not one."""

from .reading import IMAGE_SUFFIXES, is_dicom, is_scan_file, read_labels, read_volume, write_volume
from .scan import Volume, VolumeError, image_affine
from .series import list_series, patient_id, series_headers, study_of
from .values import check_volume, from_array, lumen_hu

__all__ = [
    "IMAGE_SUFFIXES",
    "Volume",
    "VolumeError",
    "check_volume",
    "from_array",
    "image_affine",
    "is_dicom",
    "is_scan_file",
    "list_series",
    "lumen_hu",
    "patient_id",
    "read_labels",
    "read_volume",
    "series_headers",
    "study_of",
    "write_volume",
]
