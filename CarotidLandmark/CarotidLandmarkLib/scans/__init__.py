"""Many scans: which are meant, where their results go, and what is done of them already."""

from .listing import Listing, Scan, list_scans
from .results import plan_results, tasks_of
