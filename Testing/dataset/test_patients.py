"""Splits by patient: all scans of a patient in one, and what is kept to measure by stays so."""

from __future__ import annotations

import json

import pytest
from CarotidLandmarkLib.dataset import Dataset, DatasetError, check_dataset, freeze_splits

POINTS = {"left": (10.0, 0.0, 0.0), "right": (-10.0, 0.0, 0.0)}


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return Dataset.create(tmp_path / "cases", list(POINTS))


@pytest.fixture
def add(other_volumes):
    """A function: one more scan of a patient, annotated or not; returns its id."""

    def add(dataset: Dataset, group: str, annotated: bool = True, split: str | None = None) -> str:
        case = dataset.add_case(next(other_volumes), group=group, split=split)
        if annotated:
            dataset.save_annotation(case, "anna", POINTS, dict.fromkeys(POINTS, "accepted"))
        return case

    return add


def by_patient(dataset: Dataset) -> dict[str, str | None]:
    return {case.group: case.split for case in map(dataset.case, dataset.case_ids())}


def test_ten_patients_are_split_six_two_two_and_a_case_that_nobody_annotated_not_at_all(dataset, add):
    for number in range(10):
        add(dataset, f"p{number}")
    add(dataset, "p10", annotated=False)
    assert freeze_splits(dataset) == {"train": 6, "test": 2, "validation": 2}
    splits = list(by_patient(dataset).values())
    assert [splits.count(name) for name in ("train", "test", "validation", None)] == [6, 2, 2, 1]
    assert check_dataset(dataset) == []


def test_all_scans_of_a_patient_are_in_one_split_also_those_added_later(dataset, add):
    for number in range(5):
        add(dataset, f"p{number}")
        add(dataset, f"p{number}", annotated=False)
    freeze_splits(dataset)
    splits = by_patient(dataset)
    for case in map(dataset.case, dataset.case_ids()):
        assert case.split == splits[case.group] is not None
    for group, split in splits.items():
        assert dataset.case(add(dataset, group)).split == split


def test_patients_keep_their_split_when_others_come(dataset, add):
    for number in range(7):
        add(dataset, f"p{number}")
    freeze_splits(dataset)
    before = by_patient(dataset)
    for number in range(7, 20):
        add(dataset, f"p{number}")
    counts = freeze_splits(dataset)
    after = by_patient(dataset)
    assert {group: after[group] for group in before} == before
    assert counts == {"train": 12, "test": 4, "validation": 4}


def test_splits_that_were_given_stay_and_count(dataset, add):
    for number in range(6):
        add(dataset, f"p{number}", split="train")
    for number in range(6, 10):
        add(dataset, f"p{number}")
    freeze_splits(dataset)
    splits = by_patient(dataset)
    assert all(splits[f"p{number}"] == "train" for number in range(6))
    assert sorted(splits[f"p{number}"] for number in range(6, 10)) == ["test", "test", "validation", "validation"]


def test_a_kill_half_way_changes_nothing(dataset, add, tmp_path, monkeypatch):
    other = Dataset.create(tmp_path / "others", list(POINTS))
    for number in range(8):
        add(dataset, f"p{number}")
        add(other, f"p{number}")
    freeze_splits(other)
    set_split, written = Dataset.set_split, []

    def killed(self, case_id, split):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(case_id)
        set_split(self, case_id, split)

    monkeypatch.setattr(Dataset, "set_split", killed)
    with pytest.raises(KeyboardInterrupt):
        freeze_splits(dataset)
    monkeypatch.undo()
    freeze_splits(dataset)
    assert by_patient(dataset) == by_patient(other)


def test_too_few_patients_to_share_out_get_no_split(dataset, add):
    for number in range(4):
        add(dataset, f"p{number}")
    with pytest.raises(DatasetError, match="cases has annotated cases of 4 patients; training needs 5"):
        freeze_splits(dataset)
    assert set(by_patient(dataset).values()) == {None}


def test_few_patients_whose_splits_are_given_are_left_as_they_are_and_joined_once_every_split_has_one(dataset, add):
    for split in ("train", "validation"):
        add(dataset, split, split=split)
    assert freeze_splits(dataset) == {"train": 1, "validation": 1}
    add(dataset, "test", split="test")
    add(dataset, "later")
    assert freeze_splits(dataset) == {"train": 2, "validation": 1, "test": 1}


def test_a_patient_in_two_splits_is_refused(dataset, add):
    first, second = add(dataset, "p1", split="train"), add(dataset, "p1")
    file = dataset.case(second).folder / "case.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "split": "test"}))
    with pytest.raises(DatasetError, match="Patient p1 is in the splits test and train; give all its cases one, in"):
        freeze_splits(dataset)
    assert dataset.case(first).split == "train"


def test_a_scan_under_two_patients_is_refused_before_anything_is_split(dataset, add):
    cases = [add(dataset, f"p{number}") for number in range(5)]
    again = dataset.add_case(dataset.case(cases[3]).read_volume(), "again", group="nobody")
    freeze_splits(dataset)  # nobody has annotated it
    unsplit = dataset.add_case(dataset.case(cases[3]).read_volume(), "twice", group="another")
    for case in (again, unsplit):
        dataset.save_annotation(case, "anna", POINTS, dict.fromkeys(POINTS, "accepted"))
    with pytest.raises(DatasetError, match=r"Cases again and .* are one scan under two patients; remove one of them"):
        freeze_splits(dataset)
    assert dataset.case(again).split is None and dataset.case(unsplit).split is None


def test_a_split_can_not_be_changed(dataset, add):
    case = add(dataset, "p1", split="test")
    with pytest.raises(DatasetError, match="is in split test; 'train' can not be its split"):
        dataset.set_split(case, "train")
    assert dataset.case(case).split == "test"
