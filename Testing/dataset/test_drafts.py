"""Drafts: unsaved work on a case, kept beside the annotations and out of their way."""

from __future__ import annotations

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import (
    Dataset,
    DatasetError,
    check_dataset,
    order_cases,
    read_draft,
    remove_draft,
    set_draft_aside,
    write_draft,
)
from CarotidLandmarkLib.dataset.annotations import strangers
from CarotidLandmarkLib.volume import from_array
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
PLACE = st.tuples(*[st.floats(-1e4, 1e4)] * 3)
WORK = st.dictionaries(
    st.sampled_from(NAMES),
    st.one_of(
        st.tuples(st.sampled_from(["accepted", "corrected"]), PLACE),
        st.tuples(st.sampled_from(["accepted", "missing"]), st.none()),
    ),
)


@pytest.fixture
def dataset(tmp_path):
    dataset = Dataset.create(tmp_path / "necks", NAMES)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    dataset.add_case(from_array(np.full((16, 16, 16), -1000, np.int16), affine), "c1")
    return dataset


@given(work=WORK, comment=st.text())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_draft_comes_back_to_the_last_digit(dataset, work, comment):
    case = dataset.case("c1")
    write_draft(case, "anna", work, comment)
    draft = read_draft(case, "anna")
    assert (draft.landmarks, draft.comment) == (work, comment)


def test_a_draft_is_nobodys_annotation_and_the_dataset_is_clean_with_it(dataset):
    case = dataset.case("c1")
    write_draft(case, "anna", {NAMES[0]: ("missing", None)}, "")
    assert case.annotators() == []
    assert dataset.case("c1").truth_annotations == {}
    assert check_dataset(Dataset.open(dataset.path)) == []
    assert order_cases(dataset, annotator="anna") == ["c1"]


def test_drafts_of_two_annotators_do_not_touch_each_other(dataset):
    case = dataset.case("c1")
    write_draft(case, "anna", {}, "hers")
    write_draft(case, "ben", {}, "his")
    remove_draft(case, "anna")
    assert read_draft(case, "anna") is None
    assert read_draft(case, "ben").comment == "his"


def test_a_writer_that_fails_leaves_the_older_draft(dataset):
    case = dataset.case("c1")
    write_draft(case, "anna", {}, "older")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_draft(case, "anna", {NAMES[0]: ("corrected", (float("nan"), 0.0, 0.0))}, "newer")
    assert read_draft(case, "anna").comment == "older"
    assert [path.name for path in (case.folder / "annotations").iterdir()] == ["anna.draft.json"]


def test_a_damaged_draft_and_an_unfit_name_are_refused_in_a_sentence(dataset):
    case = dataset.case("c1")
    write_draft(case, "anna", {}, "")
    (case.folder / "annotations" / "anna.draft.json").write_text('{"time": "soon", "landmarks": {}}')
    with pytest.raises(DatasetError, match=r"unsaved work on case c1 \(anna.draft.json\) is damaged \(time is not"):
        read_draft(case, "anna")
    for name in ("", "../anna", "Dr. No"):
        with pytest.raises(DatasetError, match="must be English letters"):
            write_draft(case, name, {}, "")


def test_drafts_that_are_put_aside_replace_none_and_belong_to_their_annotator(dataset):
    case = dataset.case("c1")
    names = []
    for place in ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)):
        write_draft(case, "anna", {NAMES[0]: ("corrected", place)}, "")
        names.append(set_draft_aside(case, "anna", "aside"))
    assert names == ["anna.draft.aside", "anna.draft.aside2"]
    assert ["1.0" in (case.folder / "annotations" / name).read_text() for name in names] == [True, False]
    assert strangers(case.folder) == []
