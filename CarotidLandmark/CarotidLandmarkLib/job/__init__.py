"""A detection in a child process: knows neither Qt nor Slicer, and torch in the child alone."""

from .job import DetectionCancelled, DetectionFailed, DetectionJob, JobProgress, JobSettings

__all__ = ["DetectionCancelled", "DetectionFailed", "DetectionJob", "JobProgress", "JobSettings"]
