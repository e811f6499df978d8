"""Which patients a model learns from, and which are kept to calibrate and to measure it."""

from __future__ import annotations

import hashlib
from collections import Counter

from .cases import Case
from .common import DatasetError
from .dataset import Dataset

# In the order in which a dataset that grows from nothing gets its first patient of each.
SHARES = {"train": 0.6, "test": 0.2, "validation": 0.2}
MINIMUM_PATIENTS = 5  # a split is for good, and with fewer there is too little of one to go on with


def freeze_splits(dataset: Dataset) -> Counter[str]:
    """Give every annotated patient without a split one, on the disk and for good; split -> annotated patients.

    A patient is a case's ``group``, and all cases of a patient are in one split. New patients go, in the order of a
    hash of their group, where a split is shortest of its share: ten are split 6, 2, 2, and a split that is there
    stays. A kill half-way changes nothing: the next call does the rest. Raises OSError, and DatasetError before
    anything is written: where there are fewer than `MINIMUM_PATIENTS` and not one in every split yet, where a scan is
    two patients', or where `Dataset.annotated_cases` does.
    """
    patients: dict[str, list[Case]] = {}
    for case in map(dataset.case, dataset.case_ids()):
        patients.setdefault(case.group, []).append(case)
    truth = dataset.annotated_cases()
    annotated, seen = {case.group for case in truth}, dict[str, Case]()
    for case in truth:
        same = seen.setdefault(case.voxels_sha256 or case.image_sha256, case)
        if same.group != case.group:  # it would measure what it has taught
            raise DatasetError(f"Cases {same.id} and {case.id} are one scan under two patients; remove one of them.")
    known = {group: split for group, cases in patients.items() if (split := _split_of(group, cases)) is not None}
    counts = Counter(known[group] for group in annotated if group in known)
    if annotated - known.keys() and SHARES.keys() - counts.keys():
        check_patients(dataset, len(annotated))
    for group in sorted(annotated - known.keys(), key=lambda group: hashlib.sha256(group.encode()).hexdigest()):
        total = counts.total() + 1
        known[group] = max(SHARES, key=lambda split: SHARES[split] * total - counts[split])
        counts[known[group]] += 1
    for group, split in known.items():  # first scans that a patient of a known split has got since
        for case in patients[group]:
            if case.split is None:
                dataset.set_split(case.id, split)
    return counts


def check_patients(dataset: Dataset, annotated: int) -> None:
    """Raises DatasetError where so many ``annotated`` patients are too few to learn from and to measure by."""
    if annotated < MINIMUM_PATIENTS:
        raise DatasetError(
            f"{dataset.path.name} has annotated cases of {annotated} patient{'' if annotated == 1 else 's'}; training "
            f"needs {MINIMUM_PATIENTS}: some to learn from, some to measure by."
        )


def _split_of(group: str, cases: list[Case]) -> str | None:
    splits = {case.split for case in cases} - {None}
    if len(splits) > 1:
        raise DatasetError(
            f"Patient {group} is in the splits {' and '.join(sorted(map(str, splits)))}; give all its cases one, "
            "in their case.json."
        )
    return next(iter(splits), None)
