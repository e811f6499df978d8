"""Cases on disk: nothing lost, nothing that names a patient."""

from __future__ import annotations

import json
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import (
    Dataset,
    DatasetError,
    can_become_dataset,
    check_annotator,
    check_dataset,
    is_dataset,
    write_draft,
)
from CarotidLandmarkLib.detection import ModelInfo
from CarotidLandmarkLib.markups import write_markups
from CarotidLandmarkLib.volume import Volume, VolumeError, write_volume
from points import ACCEPTED, LEFT, NAMES, POINTS, RIGHT


class TestCases:
    def test_a_copied_scan_comes_back_the_same(self, dataset, case_volume):
        read = Dataset.open(dataset.path).case("c1").read_volume()
        assert (read.array == case_volume.array).all() and np.allclose(read.affine_lps, case_volume.affine_lps)
        assert read.name == "c1"

    def test_a_scan_in_the_place_of_another_is_not_read_for_it(self, dataset, other_volumes):
        write_volume(next(iter(other_volumes)), dataset.case("c1").image_path)
        with pytest.raises(DatasetError, match="The image of case c1 is not the one that was added; restore it"):
            dataset.case("c1").read_volume()

    def test_a_case_without_a_given_id_gets_a_random_one_and_a_patient_of_its_own(self, dataset, case_volume):
        first, second = dataset.add_case(case_volume), dataset.add_case(case_volume)
        assert first != second and dataset.case(first).group != dataset.case(second).group
        assert dataset.case_ids() == sorted(["c1", first, second])

    @pytest.mark.parametrize("name", ["scan.nii.gz", "Übersicht\n1.nrrd", os.fsdecode(b"M\xfcller.mha")])
    def test_a_referenced_image_stays_where_it_is_whatever_its_name(self, dataset, other_volumes, tmp_path, name):
        try:
            write_volume(volume := next(other_volumes), tmp_path / name)
        except OSError:
            pytest.skip("this file system takes no such names")
        dataset.add_case(tmp_path / name, "c2", copy=False)
        case = Dataset.open(dataset.path).case("c2")
        assert case.image_path == tmp_path / name
        assert (case.read_volume().array == volume.array).all()
        assert [file.name for file in case.folder.iterdir()] == ["case.json"]
        assert check_dataset(dataset) == []

    def test_a_referenced_image_is_found_again_elsewhere_by_its_content(self, dataset, other_volumes, tmp_path):
        write_volume(next(other_volumes), tmp_path / "scan.nrrd")
        dataset.add_case(tmp_path / "scan.nrrd", "c2", copy=False)
        (tmp_path / "moved" / "deep").mkdir(parents=True)
        (tmp_path / "scan.nrrd").rename(tmp_path / "moved" / "deep" / "other-name.nrrd")
        with pytest.raises(
            DatasetError, match=re.escape("The image of case c2 is not here; restore it, or say where it is")
        ):
            _ = dataset.case("c2").image_path
        assert [str(finding) for finding in check_dataset(dataset)] == [
            "error: cases/c2/case.json: The image of case c2 is not here; restore it, "
            "or say where it is: carotid-landmark locate DATASET FOLDER."
        ]
        assert dataset.locate_images(tmp_path / "moved") == ["c2"]
        assert check_dataset(dataset) == []

    def test_a_refused_scan_leaves_no_case(self, dataset, tmp_path):
        (tmp_path / "broken.nrrd").write_bytes(b"nothing")
        with pytest.raises(VolumeError, match=r"broken\.nrrd does not begin as NRRD"):
            dataset.add_case(tmp_path / "broken.nrrd", "c2")
        assert [folder.name for folder in (dataset.path / "cases").iterdir()] == ["c1"]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"case_id": "C1"}, "There is already a case C1; choose another id."),
            (
                {"case_id": "../c2"},
                "The case id '../c2' must be English letters (a-z, A-Z), digits, '_' and '-' (64 at most).",
            ),
            (
                {"group": "Jane Doe"},
                "The group 'Jane Doe' must be English letters (a-z, A-Z), digits, '_' and '-' (64 at most).",
            ),
            ({"split": "dev"}, "'dev' is not a split; choose one of train, validation, test."),
            (
                {"group": "p1", "split": "test"},
                "Group p1 is in split train already; keep a patient's cases in one split.",
            ),
            ({"copy": False}, "Only an image in one file can be referred to; copy this one instead."),
        ],
    )
    def test_a_case_that_does_not_fit_is_refused(self, dataset, case_volume, arguments, sentence):
        with pytest.raises(DatasetError) as refusal:
            dataset.add_case(case_volume, **arguments)
        assert str(refusal.value) == sentence
        assert dataset.case_ids() == ["c1"]

    def test_of_two_who_add_the_same_id_at_once_the_first_wins(self, dataset, other_volumes, monkeypatch):
        def write_while_somebody_else_is_faster(volume, path):
            monkeypatch.undo()
            dataset.add_case(next(other_volumes), "c2", group="faster")
            write_volume(volume, path)

        monkeypatch.setattr("CarotidLandmarkLib.dataset.dataset.write_volume", write_while_somebody_else_is_faster)
        with pytest.raises(DatasetError, match="Somebody else has just added a case c2; choose another id"):
            dataset.add_case(next(other_volumes), "c2", group="slower")
        assert dataset.case("c2").group == "faster" and check_dataset(dataset) == []


class TestOpening:
    def test_a_newer_dataset_is_refused(self, dataset):
        (dataset.path / "dataset.json").write_text('{"schema_version": 3, "landmarks": ["a"], "new": true}')
        with pytest.raises(DatasetError) as refusal:
            Dataset.open(dataset.path)
        assert str(refusal.value) == (
            "dataset.json of set was written by a newer CarotidLandmark (schema 3, this one reads 2); update "
            "CarotidLandmark."
        )

    @pytest.mark.parametrize("file", ["case.json", "annotations/anna.json"])
    def test_what_a_newer_program_has_written_in_a_dataset_is_not_read_as_ours(self, dataset, file):
        path = dataset.path / "cases" / "c1" / file
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 3}))
        finding = next(iter(check_dataset(dataset)))
        assert finding.level == "error" and "by a newer CarotidLandmark (schema 3, this one reads 2)" in finding.message
        with pytest.raises(DatasetError, match="by a newer CarotidLandmark"):
            dataset.annotated_cases()

    def test_a_case_of_no_group_is_an_error_and_not_a_patient(self, dataset):
        path = dataset.path / "cases" / "c1" / "case.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "group": ""}))
        (finding,) = check_dataset(dataset)
        assert finding.level == "error" and "group is empty" in finding.message

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"schema_version": 2, "landmarks": []}', '{"schema_version": 2']
    )
    def test_a_damaged_dataset_is_refused(self, dataset, content):
        (dataset.path / "dataset.json").write_text(content)
        with pytest.raises(DatasetError, match="damaged"):
            Dataset.open(dataset.path)

    @pytest.mark.parametrize(
        "content",
        ['{"labels": {"0": "background"}, "numTraining": 2}', '{"name": "Task01", "training": []}', "{}", "[1"],
    )
    def test_the_dataset_of_another_program_is_called_so_and_ours_never(self, dataset, tmp_path, content):
        other = tmp_path / "Task01"
        other.mkdir()
        (other / "dataset.json").write_text(content)
        with pytest.raises(DatasetError, match="Task01 is not a dataset of CarotidLandmark"):
            Dataset.open(other)
        assert is_dataset(dataset.path) and not is_dataset(other) and not is_dataset(tmp_path)
        (dataset.path / "dataset.json").write_text('{"schema_version": 2')
        assert is_dataset(dataset.path)

    def test_a_folder_that_is_no_dataset_is_refused(self, tmp_path):
        with pytest.raises(DatasetError, match=re.escape("has no dataset.json); choose one or create it.")):
            Dataset.open(tmp_path)

    def test_a_folder_with_something_in_it_does_not_become_a_dataset(self, dataset):
        with pytest.raises(DatasetError, match="set exists and is not an empty folder"):
            Dataset.create(dataset.path, NAMES)
        with pytest.raises(DatasetError, match="A dataset needs landmark names"):
            Dataset.create(dataset.path.parent / "b", ["a", "a"])

    def test_a_dataset_whose_making_was_killed_is_made_by_the_same_command(self, tmp_path, monkeypatch):
        def killed(self):
            raise KeyboardInterrupt

        monkeypatch.setattr(Dataset, "write_version", killed)
        with pytest.raises(KeyboardInterrupt):
            Dataset.create(tmp_path / "set", NAMES)
        monkeypatch.undo()
        assert can_become_dataset(tmp_path / "set")
        assert Dataset.create(tmp_path / "set", NAMES).case_ids() == [] and not can_become_dataset(tmp_path / "set")
        (tmp_path / "mine" / "cases" / "one").mkdir(parents=True)
        with pytest.raises(DatasetError, match="mine exists and is not an empty folder"):
            Dataset.create(tmp_path / "mine", NAMES)

    def test_other_landmarks_need_no_other_code(self, tmp_path, case_volume):
        made = Dataset.create(tmp_path / "set", ["nasion"])
        made.add_case(case_volume, "c1")
        made.save_annotation("c1", "anna", {"nasion": (0.0, 0.0, 0.0)}, {"nasion": "corrected"})
        assert check_dataset(made) == [] and made.case("c1").truth_annotations["anna"].points == {
            "nasion": (0.0, 0.0, 0.0)
        }


class TestAnnotations:
    def test_an_annotation_comes_back_with_its_facts(self, dataset, make_detection):
        dataset.save_prediction("c1", make_detection())
        points = {LEFT: (30.0, 3.0, 4.0), RIGHT: None}
        dataset.save_annotation("c1", "ben", points, {LEFT: "corrected", RIGHT: "missing"}, comment="stent")
        annotation = Dataset.open(dataset.path).case("c1").truth_annotations["ben"]
        assert (annotation.points, annotation.status) == (points, {LEFT: "corrected", RIGHT: "missing"})
        assert annotation.moved_mm == {LEFT: 5.0, RIGHT: None}
        assert annotation.model == ModelInfo("carotid", "1.0", "0" * 64) and annotation.comment == "stent"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", annotation.time)

    def test_one_file_is_the_truth_of_one_annotation(self, dataset):
        folder = dataset.path / "cases/c1/annotations"
        assert [path.name for path in folder.iterdir()] == ["anna.json"]
        write_markups(folder / "anna.mrk.json", POINTS)  # as version 1 did
        dataset.save_annotation("c1", "anna", {**POINTS, LEFT: (20.0, 0.0, 0.0)}, ACCEPTED)
        assert [path.name for path in folder.iterdir()] == ["anna.json"]

    def test_two_annotators_keep_their_own_words_and_a_second_save_replaces_the_first(self, dataset):
        dataset.save_annotation("c1", "ben", {**POINTS, LEFT: (20.0, 0.0, 0.0)}, ACCEPTED)
        dataset.save_annotation("c1", "ben", {**POINTS, LEFT: (25.0, 0.0, 0.0)}, ACCEPTED)
        annotations = dataset.case("c1").truth_annotations
        assert {who: annotations[who].points[LEFT][0] for who in annotations} == {"anna": 30.0, "ben": 25.0}

    def test_many_writers_at_once_lose_nothing(self, dataset, other_volumes, make_detection):
        def work(annotator: str, volume: Volume) -> None:
            mine = Dataset.open(dataset.path)
            for number in range(8):
                mine.save_annotation("c1", annotator, POINTS, ACCEPTED, comment=str(number))
                mine.save_prediction("c1", make_detection())
                assert Dataset.open(dataset.path).case("c1").truth_annotations
            mine.add_case(volume, f"of-{annotator}")

        people = ["anna", "ben", "cleo", "dan"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, people, other_volumes))
        annotations = dataset.case("c1").truth_annotations
        assert {who: annotations[who].comment for who in annotations} == dict.fromkeys(people, "7")
        assert len(dataset.case_ids()) == 5 and check_dataset(dataset) == []
        assert dataset.temporary_files() == []

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            (
                {"annotator": "Dr. No"},
                "The annotator's name 'Dr. No' must be English letters (a-z, A-Z), digits, '_' and '-' (64 at most).",
            ),
            ({"points": {LEFT: (0, 0, 0)}}, f"An annotation must speak of each landmark: {LEFT}, {RIGHT}."),
            (
                {"points": {LEFT: (0, 0, math.nan), RIGHT: (0, 0, 0)}},
                f"The position of {LEFT} is not three finite numbers; place it again.",
            ),
            (
                {"points": {LEFT: None, RIGHT: (0, 0, 0)}},
                f"{LEFT} has status accepted: a missing landmark has no point, any other has one.",
            ),
            (
                {"status": {LEFT: "missing", RIGHT: "accepted"}},
                f"{LEFT} has status missing: a missing landmark has no point, any other has one.",
            ),
            (
                {"status": {LEFT: "seen", RIGHT: "accepted"}},
                "'seen' is not a status; choose one of accepted, corrected, missing.",
            ),
            ({"case_id": "c9"}, "There is no case c9 in set; choose one of its cases."),
        ],
    )
    def test_an_annotation_that_makes_no_sense_is_refused_and_the_old_one_stays(self, dataset, changes, sentence):
        arguments = {"case_id": "c1", "annotator": "anna", "points": POINTS, "status": ACCEPTED} | changes
        with pytest.raises(DatasetError) as refusal:
            dataset.save_annotation(**arguments)
        assert str(refusal.value) == sentence
        assert dataset.case("c1").truth_annotations["anna"].points == POINTS and check_dataset(dataset) == []

    def test_a_prediction_comes_back_and_one_for_other_landmarks_is_refused(self, dataset, make_detection):
        detection = make_detection()
        assert dataset.case("c1").prediction() is None
        dataset.save_prediction("c1", detection)
        prediction = dataset.case("c1").prediction()
        assert prediction == replace(detection, volume=replace(detection.volume, path="c1"))
        with pytest.raises(DatasetError, match="choose a model for these landmarks"):
            dataset.save_prediction("c1", replace(detection, landmarks=detection.landmarks[:1]))


class TestNames:
    @pytest.mark.parametrize("name", ["con", "NUL", "Aux", "com1", "LPT9"])
    def test_names_of_devices_are_refused(self, dataset, case_volume, name):
        with pytest.raises(DatasetError, match=f"'{name}' is the name of a device on Windows"):
            check_annotator(name)
        with pytest.raises(DatasetError, match="is the name of a device"):
            dataset.add_case(case_volume, name)

    @pytest.mark.parametrize("name", ["Müller", "an na", "", "-anna", "a" * 65, "anna.draft", "anna\n"])
    def test_names_that_not_every_file_system_has_are_refused_and_the_letters_are_said(self, name):
        with pytest.raises(DatasetError, match=r"must be English letters \(a-z, A-Z\), digits"):
            check_annotator(name)

    @pytest.mark.parametrize("case_id", ["c1", "c2"])
    def test_a_second_annotator_in_other_capitals_is_refused_in_every_case(self, dataset, case_volume, case_id):
        dataset.add_case(case_volume, "c2")
        with pytest.raises(DatasetError, match="'Anna' is there already as 'anna'"):
            dataset.save_annotation(case_id, "Anna", POINTS, ACCEPTED)
        with pytest.raises(DatasetError, match="'Anna' is there already as 'anna'"):
            write_draft(dataset.case("c1"), "Anna", {}, "")
        assert dataset.annotator_names() == {"anna"}

    def test_a_save_looks_through_the_dataset_only_for_a_name_that_is_new_to_the_case(
        self, dataset, case_volume, monkeypatch
    ):
        for case_id in ("c2", "c3", "c4", "c5", "c6"):
            dataset.add_case(case_volume, case_id, group="p1")
        listed: list[str] = []
        listdir = os.listdir
        monkeypatch.setattr(os, "listdir", lambda folder: listed.append(str(folder)) or listdir(folder))
        dataset.save_annotation("c1", "anna", POINTS, ACCEPTED)
        write_draft(dataset.case("c1"), "ben", {}, "")
        listed.clear()
        dataset.save_annotation("c1", "ben", POINTS, ACCEPTED)
        assert set(listed) == {str(dataset.path / "cases" / "c1" / "annotations")}
        listed.clear()
        dataset.save_annotation("c1", "cleo", POINTS, ACCEPTED)
        assert len(set(listed)) == 1 + 6

    def test_two_annotators_that_differ_in_capitals_are_named(self, dataset, other_volumes):
        dataset.add_case(next(other_volumes), "c2")
        folder = dataset.path / "cases/c2/annotations"
        folder.mkdir()
        (folder / "Anna.json").write_bytes((dataset.path / "cases/c1/annotations/anna.json").read_bytes())
        assert [str(finding) for finding in check_dataset(dataset)] == [
            "error: cases: Annotators Anna and anna differ in capitals alone; rename the files of one."
        ]
