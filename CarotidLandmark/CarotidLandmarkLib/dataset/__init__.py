"""Annotated cases on disk: what annotators write and training reads. Knows neither Qt nor torch."""

from .adding import case_of, patient_group
from .cases import (
    SPLITS,
    STALE_AFTER_S,
    STATUSES,
    Annotation,
    AnnotationStatus,
    Case,
    Dataset,
    DatasetError,
    Point,
    check_annotator,
)
from .check import Finding, check_dataset, verify_image
from .drafts import Draft, Reviewed, read_draft, remove_draft, write_draft
from .patients import freeze_splits
from .predict import cases_to_predict, predict_cases, write_table
from .queue import Order, order_cases

__all__ = [
    "SPLITS",
    "STALE_AFTER_S",
    "STATUSES",
    "Annotation",
    "AnnotationStatus",
    "Case",
    "Dataset",
    "DatasetError",
    "Draft",
    "Finding",
    "Order",
    "Point",
    "Reviewed",
    "case_of",
    "cases_to_predict",
    "check_annotator",
    "check_dataset",
    "freeze_splits",
    "order_cases",
    "patient_group",
    "predict_cases",
    "read_draft",
    "remove_draft",
    "verify_image",
    "write_draft",
    "write_table",
]
