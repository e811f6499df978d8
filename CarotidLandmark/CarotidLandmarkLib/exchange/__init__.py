"""In and out: points and segmentations that other programs have made, tables and DICOM reports for them."""

from .columns import parse_columns
from .common import ExchangeError, Frame
from .exporting import Format, check_dicom, export_dataset, export_results, read_results
from .importing import Import, PointsOptions, plan_points, points_of_scan, save_import, without_conflicts
from .segmentations import ANNOTATOR, plan_segmentations
from .structured_report import read_report, write_report
