"""Every inconsistency is named with its file, and one damaged case does not hide the others."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from CarotidLandmarkLib.dataset import (
    Dataset,
    DatasetError,
    check_dataset,
    order_cases,
    repair_dataset,
)
from CarotidLandmarkLib.documents import parse, write
from CarotidLandmarkLib.markups import write_markups
from CarotidLandmarkLib.volume import Volume
from points import ACCEPTED, LEFT, POINTS, RIGHT


@contextmanager
def ordinary_user(folder: Path):
    """Rights count for nobody who is root: be another user in ``folder`` meanwhile."""
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def out_of_reach(folder: Path, harm: str):
    """A folder that can not be listed meanwhile."""
    aside = folder.with_name(".aside")
    if harm == "closed":
        folder.chmod(0)
    else:
        folder.rename(aside)
        if harm != "gone":
            folder.symlink_to(folder if harm == "loop" else "nowhere")
    try:
        yield
    finally:
        if harm == "closed":
            folder.chmod(0o700)
        else:
            folder.unlink(missing_ok=True)
            aside.rename(folder)


class TestDamage:
    """One case that can not be read is named; the others are listed as before."""

    @pytest.fixture
    def three(self, dataset, case_volume, make_detection) -> Dataset:
        for case_id in ("c2", "c3"):
            dataset.add_case(case_volume, case_id, group="p2", split="test")
        dataset.save_prediction("c2", make_detection())
        return dataset

    @pytest.mark.parametrize(
        ("harm", "left", "words"),
        [
            (
                lambda cases: (cases / "c2/case.json").write_text(""),
                ["c1", "c3"],
                "case c2 is damaged (it is not JSON)",
            ),
            (lambda cases: (cases / "c2/prediction.json").write_text("{"), ["c1", "c2", "c3"], "of case c2 can not be"),
            (lambda cases: (cases / "c2").rename(cases / "c 2"), ["c1", "c3"], "'c 2' is no name of a case"),
            (lambda cases: (cases / "c2/case.json").unlink(), ["c1", "c3"], "it has no case.json"),
            (lambda cases: (cases / "notes.txt").write_text("hm"), ["c1", "c2", "c3"], "it has no case.json"),
        ],
    )
    def test_the_other_cases_are_listed_and_the_problem_is_named_once(self, three, case_volume, harm, left, words):
        harm(three.path / "cases")
        opened = Dataset.open(three.path)
        assert sorted(order_cases(opened)) == left
        (problem,) = opened.problems()
        assert words in problem
        assert [words in str(finding) for finding in check_dataset(opened)].count(True) == 1
        opened.add_case(case_volume, "c4")
        assert "c4" in order_cases(opened)

    @pytest.mark.skipif(sys.platform == "win32", reason="rights are others there")
    def test_a_case_that_may_not_be_looked_into_is_named_and_the_others_are_listed(self, case_volume):
        with tempfile.TemporaryDirectory() as folder, ordinary_user(Path(folder)):
            dataset = Dataset.create(Path(folder) / "set", (LEFT, RIGHT))
            for case_id in ("c1", "c2"):
                dataset.add_case(case_volume, case_id)
            (dataset.path / "cases" / "c1").chmod(0)
            try:
                assert order_cases(dataset) == ["c2"]
                (problem,) = dataset.problems()
                assert "case.json of case c1 can not be read (Permission denied)" in problem
            finally:
                (dataset.path / "cases" / "c1").chmod(0o700)

    @pytest.mark.parametrize("harm", ["closed", "loop", "dangling"])
    def test_annotations_that_can_not_be_listed_are_named_and_do_not_drop_out_of_training(
        self, tmp_path, case_volume, harm
    ):
        if harm == "closed" and sys.platform == "win32":
            pytest.skip("rights are others there")
        with tempfile.TemporaryDirectory() as folder, ordinary_user(Path(folder)):
            dataset = Dataset.create(Path(folder) / "set", (LEFT, RIGHT))
            for case_id in ("c1", "c2"):
                dataset.add_case(case_volume, case_id, group="p1")
                dataset.save_annotation(case_id, "anna", POINTS, ACCEPTED)
            with out_of_reach(dataset.path / "cases" / "c1" / "annotations", harm):
                with pytest.raises(DatasetError, match=r"The folder annotations of c1 .*; .*\.$"):
                    dataset.annotated_cases()
                assert [str(error) for error in dataset.problems()] == [
                    finding.message for finding in check_dataset(dataset) if finding.level == "error"
                ]
                (finding,) = [finding for finding in check_dataset(dataset) if finding.level == "error"]
                assert finding.file == "cases/c1/annotations" and dataset.annotator_names() == {"anna"}
                assert {case.id: case.annotators() for case in dataset.cases()} == {"c1": [], "c2": ["anna"]}

    @pytest.mark.parametrize("harm", ["closed", "loop", "dangling", "gone"])
    def test_cases_that_can_not_be_listed_are_not_taken_for_none(self, case_volume, harm):
        if harm == "closed" and sys.platform == "win32":
            pytest.skip("rights are others there")
        with tempfile.TemporaryDirectory() as folder, ordinary_user(Path(folder)):
            dataset = Dataset.create(Path(folder) / "set", (LEFT, RIGHT))
            dataset.add_case(case_volume, "c1")
            with out_of_reach(dataset.path / "cases", harm):
                for listing in (
                    dataset.problems, dataset.case_ids, dataset.annotated_cases,
                    lambda: order_cases(dataset), lambda: check_dataset(dataset), lambda: repair_dataset(dataset),
                ):  # fmt: skip
                    with pytest.raises(DatasetError, match=r"The folder cases of set (can not be listed|is not there)"):
                        listing()

    def test_an_annotation_that_can_not_be_read_counts_as_none_and_is_named(self, dataset):
        dataset.save_annotation("c1", "ben", POINTS, ACCEPTED)
        (dataset.path / "cases/c1/annotations/anna.json").write_text("{")
        case = dataset.case("c1")
        assert case.annotators() == ["ben"] and case.has_annotation("anna")
        assert [str(error) for _, error in case.problems()] == dataset.problems()
        assert "by anna is damaged" in dataset.problems()[0]


class TestCheck:
    def test_a_sound_dataset_has_no_findings(self, dataset, case_volume, make_detection):
        dataset.save_prediction("c1", make_detection())
        dataset.add_case(Volume(case_volume.array[:-1], case_volume.affine_lps))
        assert check_dataset(dataset) == []

    @pytest.mark.parametrize(
        ("points", "level", "message"),
        [
            ({LEFT: (20, 65, 0)}, "error", f"{LEFT} lies outside the image."),
            (
                {LEFT: (-30, 0, 0), RIGHT: (30, 0, 0)},
                "error",
                f"{LEFT} and {RIGHT} are swapped: left lies to the right of right.",
            ),
            (
                {LEFT: (-1, 0, 0)},
                "warning",
                "Left and right carotid_bifurcation are 29.0 mm apart, usually 30 to 100 mm.",
            ),
            (
                {LEFT: (60, 0, 0), RIGHT: (-41, 0, 0)},
                "warning",
                "Left and right carotid_bifurcation are 101.0 mm apart, usually 30 to 100 mm.",
            ),
        ],
    )
    def test_implausible_points_are_named(self, dataset, points, level, message):
        dataset.save_annotation("c1", "anna", {**POINTS, **points}, ACCEPTED)
        assert [str(finding) for finding in check_dataset(dataset)] == [
            f"{level}: cases/c1/annotations/anna.json: {message}"
        ]

    @pytest.mark.parametrize(
        ("file", "change", "message"),
        [
            (
                "cases/c1/image.nrrd",
                lambda path: path.unlink(),
                "The image of case c1 is not here; restore it.",
            ),
            (
                "cases/c1/image.nrrd",
                lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
                "The image of case c1 is not the one that was added; restore it.",
            ),
            (
                "cases/c1/case.json",
                lambda path: path.write_text("{}"),
                "case.json of case c1 is damaged (group is missing); restore it from a backup.",
            ),
            (
                "cases/c1/case.json",
                lambda path: path.write_text(path.read_text().replace('"train"', '"dev"')),
                "'dev' is not one of train, validation, test.",
            ),
            (
                "cases/c1/prediction.json",
                lambda path: path.write_text('{"schema_version": 1'),
                "prediction.json of case c1 can not be read; predict the case again.",
            ),
            (
                "cases/c1/annotations/anna.json",
                lambda path: path.write_text("{}"),
                "The annotation of case c1 by anna is damaged (time is missing); annotate it again.",
            ),
            (
                "cases/c1/annotations/anna.json",
                lambda path: path.write_text(path.read_text().replace('"accepted"', '"missing"', 1)),
                f"The annotation of case c1 by anna is damaged (landmarks.{LEFT}: status missing does not fit its "
                "point); annotate it again.",
            ),
            (
                "cases/c1/annotations/anna.mrk.json",
                lambda path: write_markups(path, {**POINTS, LEFT: (31.0, 0.0, 0.0)}),
                "Its points are not those of anna.json, which count; save the annotation again.",
            ),
            (
                "cases/c1/annotations/ben.mrk.json",
                lambda path: write_markups(path, POINTS),
                "There is no ben.json beside it, so it does not count; annotate the case again.",
            ),
            (
                "cases/c2",
                lambda path: path.mkdir(),
                "This is no case: it has no case.json; remove or restore it.",
            ),
        ],
    )
    def test_every_inconsistency_is_named_with_its_file(self, dataset, file, change, message):
        change(dataset.path / file)
        assert [str(finding) for finding in check_dataset(dataset)] == [f"error: {file}: {message}"]

    def test_a_damaged_markups_file_is_named(self, dataset):
        (dataset.path / "cases/c1/annotations/anna.mrk.json").write_text("{")
        (finding,) = check_dataset(dataset)
        assert finding.file == "cases/c1/annotations/anna.mrk.json" and finding.level == "error"

    def test_a_patient_in_two_splits_is_named(self, dataset, other_volumes):
        dataset.add_case(next(other_volumes), "c2", group="p2", split="test")
        path = dataset.path / "cases/c2/case.json"
        path.write_text(path.read_text().replace("p2", "p1"))
        assert [str(f) for f in check_dataset(dataset)] == [
            "error: cases: Group p1 is spread over several splits: test, train; give its cases one, in case.json."
        ]

    def test_a_temporary_file_is_named(self, dataset):
        (dataset.path / "cases/c1/.tmp-000000000001-prediction.json").write_text("half")
        assert [str(finding) for finding in check_dataset(dataset)] == [
            "warning: cases/c1/.tmp-000000000001-prediction.json: "
            "A save under way, or what a killed one has left: `carotid-landmark repair` knows which."
        ]

    def test_a_scan_that_is_two_cases_is_named(self, dataset):
        shutil.copytree(dataset.path / "cases" / "c1", dataset.path / "cases" / "copy")
        (finding,) = check_dataset(dataset)
        sentence = "warning: cases: c1 and copy are the same scan, so it counts twice; remove one: delete its folder."
        assert str(finding) == sentence

    def test_a_scan_that_is_two_patients_is_an_error(self, dataset, case_volume):
        dataset.add_case(case_volume, "c2", group="p2", split="test")
        (finding,) = check_dataset(dataset)
        sentence = "c1 and c2 are the same scan, under two patients or in two splits; remove one: delete its folder."
        assert str(finding) == f"error: cases: {sentence}"

    @pytest.mark.parametrize(
        "name", ["anna (1).json", "anna - Copy.json", "anna.json.orig", "anna.draft.json~", "anna.draft (1).json"]
    )
    def test_a_copy_of_an_annotation_that_counts_for_nobody_is_named(self, dataset, name):
        dataset.save_annotation("c1", "anna", POINTS, ACCEPTED)
        folder = dataset.path / "cases/c1/annotations"
        shutil.copy(folder / "anna.json", folder / name)
        (finding,) = check_dataset(dataset)
        assert (finding.level, finding.file) == ("warning", f"cases/c1/annotations/{name}")
        assert "counts for nobody" in finding.message

    @pytest.mark.parametrize("earlier", [False, True])
    def test_a_copy_that_a_shared_disk_makes_of_an_annotation_has_no_vote_and_is_named(self, dataset, earlier):
        folder = dataset.path / "cases/c1/annotations"
        if earlier:  # a document that does not say whose it is
            document = parse((folder / "anna.json").read_bytes())
            del document["annotator"]
            (folder / "anna.json").write_text(write(document))
        shutil.copy(folder / "anna.json", folder / "anna-LAPTOP-7F3K2.json")
        assert dataset.case("c1").annotators() == ["anna"] + ["anna-LAPTOP-7F3K2"] * earlier
        if not earlier:
            (finding,) = check_dataset(dataset)
            assert (finding.level, finding.file) == ("error", "cases/c1/annotations/anna-LAPTOP-7F3K2.json")
            assert "says itself that it is by anna, so it may be a copy and does not count" in finding.message
            assert dataset.problems() == [finding.message]

    def test_an_annotation_whose_file_is_in_other_capitals_is_read(self, dataset):
        folder = dataset.path / "cases/c1/annotations"
        (folder / "anna.json").rename(folder / "Anna.json")
        assert dataset.case("c1").annotation("Anna").annotator == "Anna" and check_dataset(dataset) == []

    @pytest.mark.parametrize(
        ("own", "name"),
        [
            ("dataset.json", "dataset (1).json"),
            ("dataset.json", "dataset (Anna's conflicted copy 2026-01-01).json"),
            ("cases/c1/case.json", "case-LAPTOP-7F3K2.json"),
            ("cases/c1/case.json", "Copy of case.json"),
            ("cases/c1/prediction.json", "prediction.sync-conflict-20260101-123456-ABCDEF7.json"),
        ],
    )
    def test_a_copy_that_a_shared_disk_makes_of_another_document_is_named(self, dataset, make_detection, own, name):
        dataset.save_prediction("c1", make_detection())
        path = dataset.path / own
        shutil.copy(path, path.with_name(name))
        (finding,) = check_dataset(dataset)
        assert (finding.level, finding.file) == ("warning", path.with_name(name).relative_to(dataset.path).as_posix())
        assert finding.message.startswith(f"It may be a copy of {path.name}, and does not count")

    def test_what_people_put_beside_a_dataset_s_documents_is_not_called_a_copy(self, dataset, case_volume):
        dataset.add_case(Volume(case_volume.array[:-1], case_volume.affine_lps), "case-2")
        for name in ("cohort.json", "datasets.json", "cases/c1/usecase.json", "cases/c1/notes.json",
                     "cases/case-2/case-2.mrk.json", "cases/case-2/case-2.json"):  # fmt: skip
            (dataset.path / name).write_text("{}")
        assert check_dataset(dataset) == []

    @pytest.mark.parametrize("file", ["dataset.json", "cases/c1/case.json", "cases/c1/annotations/anna.json"])
    def test_a_document_that_an_editor_has_given_a_byte_order_mark_is_read(self, dataset, file):
        dataset.save_annotation("c1", "anna", POINTS, ACCEPTED)
        path = dataset.path / file
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        opened = Dataset.open(dataset.path)
        assert check_dataset(opened) == [] and opened.case("c1").annotators() == ["anna"]
