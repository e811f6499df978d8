"""A question to a colleague is part of an annotation: stored, listed, tabulated, read strictly."""

from __future__ import annotations

import csv
import json

import pytest
from CarotidLandmarkLib.dataset import DatasetError, check_dataset, write_table
from points import ACCEPTED, LEFT, POINTS


@pytest.fixture
def asked(dataset):
    dataset.save_annotation("c1", "ben", POINTS, ACCEPTED, comment="which, of two?", ask_colleague=True)
    return dataset


def test_a_question_comes_back_with_its_annotation_and_names_who_asks(asked):
    assert asked.case("c1").annotation("ben").ask_colleague
    assert not asked.case("c1").annotation("anna").ask_colleague
    assert asked.case("c1").asking() == ["ben"]
    asked.save_annotation("c1", "ben", POINTS, ACCEPTED)
    assert asked.case("c1").asking() == []


def test_a_question_is_a_warning_of_the_check_and_no_error(asked):
    (finding,) = check_dataset(asked)
    assert str(finding) == "warning: cases/c1/annotations/ben.json: ben asks a colleague about this case."


def test_an_annotation_of_a_version_without_questions_asks_nothing_and_a_wrong_one_is_refused(asked):
    file = asked.case("c1").folder / "annotations" / "ben.json"
    document = json.loads(file.read_text())
    del document["ask_colleague"]
    file.write_text(json.dumps(document))
    assert asked.case("c1").asking() == []
    file.write_text(json.dumps({**document, "ask_colleague": "perhaps"}))
    with pytest.raises(DatasetError, match="ask_colleague is not true or false"):
        asked.case("c1").annotation("ben")


def test_the_table_has_questions_and_comments_in_columns_of_their_own(asked, tmp_path, make_detection):
    asked.save_prediction("c1", make_detection())
    write_table(asked, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["landmark"] == LEFT]
    assert [(row["annotator"], row["ask_colleague"], row["comment"]) for row in rows] == [
        ("", "", ""),
        ("anna", "no", ""),
        ("ben", "yes", "which, of two?"),
    ]


def test_the_table_has_a_prediction_by_the_name_that_its_case_has_now(dataset, tmp_path, make_detection):
    dataset.save_prediction("c1", make_detection())
    (dataset.path / "cases" / "c1").rename(dataset.path / "cases" / "renamed")
    write_table(dataset, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as stream:
        assert {(row["volume"], row["annotator"]) for row in csv.DictReader(stream)} == {
            ("renamed", ""), ("renamed", "anna"),
        }  # fmt: skip


def test_what_an_annotator_saw_is_not_what_was_predicted_since(dataset, make_detection):
    dataset.save_prediction("c1", make_detection())
    nothing = dict.fromkeys(POINTS)
    seen = dataset.save_annotation("c1", "anna", POINTS, ACCEPTED, model=None, moved_mm=nothing)
    assert (seen.model, seen.moved_mm) == (None, nothing)
    assert dataset.save_annotation("c1", "anna", POINTS, ACCEPTED).model == make_detection().model
