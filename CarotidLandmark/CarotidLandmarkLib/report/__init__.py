"""What a detection, or the agreement of annotators, looks like on paper: pages, pictures, tables."""

from .files import write_results
from .page import COLOURS, ReportError, report_html, write_report

__all__ = ["COLOURS", "ReportError", "report_html", "write_report", "write_results"]
