"""Annotated cases on disk: what annotators write and training reads. Knows neither Qt nor torch."""

from ..landmarks import Point
from .adding import KnownCases, case_of, case_of_file, patient_group
from .annotations import (
    STATUSES,
    Annotation,
    AnnotationStatus,
    Draft,
    Reviewed,
    read_draft,
    remove_draft,
    set_draft_aside,
    write_draft,
)
from .cases import Case
from .check import Finding, check_dataset
from .common import DatasetError, UnreadableError, check_annotator, check_case_of_letters
from .dataset import SPLITS, Dataset, can_become_dataset, is_dataset
from .patients import check_patients, freeze_splits
from .predict import cases_to_predict, write_table
from .queue import Order, order_cases
from .references import voxels_sha256
from .repair import repair_dataset
