"""What a detection, or the agreement of annotators, looks like on paper: pages, pictures, tables."""

from .agreement import write_agreement
from .files import DETECTION_FILE, write_results
from .page import ReportError, report_html, write_report
from .summary import SUMMARY_PAGE, SummaryRow, write_summary, write_thumbnail
