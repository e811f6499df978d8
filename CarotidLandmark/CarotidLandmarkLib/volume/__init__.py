"""A CT volume in patient space: reading it from every format, writing it, and refusing what is not one."""

from .reading import IMAGE_SUFFIXES, beginning, files_of, is_dicom, is_scan_file, read_labels, read_volume, write_volume
from .scan import Volume, VolumeError, check_geometry, check_size, image_affine, printable
from .series import list_series, patient_id, series_headers, study_of
from .stored import SIDE
from .values import check_volume, from_array, lumen_hu
