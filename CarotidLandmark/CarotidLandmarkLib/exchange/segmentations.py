"""What segmented vessels bring into a dataset: the forks of the carotids, each as a draft to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..dataset import Case, Dataset
from ..errors import UserError
from ..geometry import Geometry
from ..vessels import carotid_forks, carotid_masks, read_segmentation
from .common import ExchangeError
from .importing import Import
from .matching import Matcher
from .places import check_places

ANNOTATOR = "segmentation"


def plan_segmentations(
    dataset: Dataset, files: Sequence[Path], given: Mapping[str, str]
) -> Iterator[Import | UserError]:
    """What segmentations would bring into a dataset, or why one of them does not. Nothing is written."""
    matcher = Matcher(dataset)
    for file in files:
        try:
            segmentation = read_segmentation(file)
            masks = carotid_masks(segmentation, given)
            exact = {case.id for case in matcher.cases if case.geometry.same_as(segmentation.geometry)}
            box = _box(np.logical_or.reduce(list(masks.values())), segmentation.geometry)

            def fits(case: Case, exact: set[str] = exact, box: np.ndarray = box) -> bool:
                return case.id in exact if exact else _holds(case, box)

            case, how = matcher.case(file, "", fits)
            if not _holds(case, box):
                raise ExchangeError(
                    f"{file.name} has another geometry than case {case.id}: labels lie outside its image; "
                    "segment this scan."
                )
            points, notes = carotid_forks(masks, segmentation, dataset.landmarks, case.read_volume())
            check_places(points, case.geometry, file.name, case.id)
            yield Import(file.name, case, points, (*filter(None, [how]), *notes))
        except UserError as error:
            yield error


def _box(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The corners of what is in a mask, LPS mm: [8, 3]."""
    where = np.argwhere(mask)[:, ::-1]
    ends = np.stack([where.min(axis=0), where.max(axis=0)])
    return geometry.to_lps([(ends[a, 0], ends[b, 1], ends[c, 2]) for a in (0, 1) for b in (0, 1) for c in (0, 1)])


def _holds(case: Case, corners: np.ndarray) -> bool:
    return all(case.geometry.contains(corner) for corner in corners)
