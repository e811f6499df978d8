"""A detection in a child process: knows neither Qt nor Slicer, and torch in the child alone."""

from .job import DetectionCancelled, DetectionFailed, DetectionJob, JobProgress, JobSettings
