"""In and out: points and segmentations that other programs have made, tables and DICOM reports for them."""

from .exporting import check_dicom, export_dataset, export_reports, export_results, read_results
from .importing import (
    ANNOTATOR,
    PointsOptions,
    plan_points,
    plan_segmentations,
    points_of_scan,
    save_import,
    without_conflicts,
)
from .structured_report import write_report
from .tables import parse_columns
