"""What a detection, or the agreement of annotators, looks like on paper: pages, pictures, tables."""

from .agreement import write_agreement
from .page import (
    DETECTION_FILE,
    ReportError,
    check_replaceable,
    report_html,
    results_folder,
    write_report,
    write_results,
)
from .summary import SUMMARY_PAGE, SummaryRow, write_summary, write_thumbnail
