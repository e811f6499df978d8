"""Long work: how far it is, and many tasks here or on the workers of a dask cluster."""

from .log import Step, duration, part, progress
from .tasks import Outcome, Task, Tool, run_here
from .workers import WorkersError, connect, run_on_workers
