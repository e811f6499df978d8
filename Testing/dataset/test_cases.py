"""Cases on disk: nothing lost, nothing that names a patient, and every inconsistency named."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import (
    STALE_AFTER_S,
    Dataset,
    DatasetError,
    check_annotator,
    check_dataset,
    order_cases,
    repair_dataset,
    write_draft,
)
from CarotidLandmarkLib.detection import LandmarkResult, ModelInfo
from CarotidLandmarkLib.markups import write_markups
from CarotidLandmarkLib.volume import VolumeError, write_volume

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
POINTS = {LEFT: (30.0, 3.0, 4.0), RIGHT: (-30.0, 0.0, 0.0)}
ACCEPTED = {LEFT: "accepted", RIGHT: "accepted"}


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """Where this user's image locations are kept: not in the real home."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path, case_volume) -> Dataset:
    """A dataset with one annotated case, ``c1``."""
    made = Dataset.create(tmp_path / "set", NAMES)
    made.add_case(case_volume, "c1", group="p1", split="train")
    made.save_annotation("c1", "anna", POINTS, ACCEPTED)
    return made


class TestCases:
    def test_a_copied_scan_comes_back_the_same(self, dataset, case_volume):
        read = Dataset.open(dataset.path).case("c1").read_volume()
        assert (read.array == case_volume.array).all() and np.allclose(read.affine_lps, case_volume.affine_lps)
        assert read.name == "c1"

    def test_a_case_without_a_given_id_gets_a_random_one_and_a_patient_of_its_own(self, dataset, case_volume):
        first, second = dataset.add_case(case_volume), dataset.add_case(case_volume)
        assert first != second and dataset.case(first).group != dataset.case(second).group
        assert dataset.case_ids() == sorted(["c1", first, second])

    def test_a_referenced_image_stays_where_it_is(self, dataset, case_volume, tmp_path):
        write_volume(case_volume, tmp_path / "scan.nii.gz")
        dataset.add_case(tmp_path / "scan.nii.gz", "c2", copy=False)
        case = Dataset.open(dataset.path).case("c2")
        assert case.image_path == tmp_path / "scan.nii.gz"
        assert (case.read_volume().array == case_volume.array).all()
        assert [file.name for file in case.folder.iterdir()] == ["case.json"]
        assert check_dataset(dataset) == []

    def test_a_referenced_image_is_found_again_elsewhere_by_its_content(self, dataset, case_volume, tmp_path):
        write_volume(case_volume, tmp_path / "scan.nrrd")
        dataset.add_case(tmp_path / "scan.nrrd", "c2", copy=False)
        (tmp_path / "moved" / "deep").mkdir(parents=True)
        (tmp_path / "scan.nrrd").rename(tmp_path / "moved" / "deep" / "other-name.nrrd")
        with pytest.raises(
            DatasetError, match=re.escape("The image of case c2 is not here; restore it, or say where it is")
        ):
            _ = dataset.case("c2").image_path
        assert [str(finding) for finding in check_dataset(dataset)] == [
            "error: cases/c2/case.json: The image of case c2 is not here; restore it, "
            "or say where it is: carotid-landmark locate."
        ]
        assert dataset.locate_images(tmp_path / "moved") == ["c2"]
        assert check_dataset(dataset) == []

    def test_a_refused_scan_leaves_no_case(self, dataset, tmp_path):
        (tmp_path / "broken.nrrd").write_bytes(b"nothing")
        with pytest.raises(VolumeError, match=r"broken\.nrrd is damaged or incomplete"):
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

    def test_of_two_who_add_the_same_id_at_once_the_first_wins(self, dataset, case_volume, monkeypatch):
        def write_while_somebody_else_is_faster(volume, path):
            monkeypatch.undo()
            dataset.add_case(case_volume, "c2", group="faster")
            write_volume(volume, path)

        monkeypatch.setattr("CarotidLandmarkLib.dataset.dataset.write_volume", write_while_somebody_else_is_faster)
        with pytest.raises(DatasetError, match="Somebody else has just added a case c2; choose another id"):
            dataset.add_case(case_volume, "c2", group="slower")
        assert dataset.case("c2").group == "faster" and check_dataset(dataset) == []


class TestOpening:
    def test_a_newer_dataset_is_refused(self, dataset):
        (dataset.path / "dataset.json").write_text('{"schema_version": 3, "landmarks": ["a"], "new": true}')
        with pytest.raises(DatasetError) as refusal:
            Dataset.open(dataset.path)
        assert str(refusal.value) == (
            "set was written by a newer CarotidLandmark (schema 3, this one reads 2); update CarotidLandmark."
        )

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"schema_version": 2, "landmarks": []}', '{"schema_version": 2']
    )
    def test_a_damaged_dataset_is_refused(self, dataset, content):
        (dataset.path / "dataset.json").write_text(content)
        with pytest.raises(DatasetError, match="damaged"):
            Dataset.open(dataset.path)

    def test_a_folder_that_is_no_dataset_is_refused(self, tmp_path):
        with pytest.raises(DatasetError, match=re.escape("has no dataset.json); choose one or create it.")):
            Dataset.open(tmp_path)

    def test_a_folder_with_something_in_it_does_not_become_a_dataset(self, dataset):
        with pytest.raises(DatasetError, match="set exists and is not an empty folder"):
            Dataset.create(dataset.path, NAMES)
        with pytest.raises(DatasetError, match="A dataset needs landmark names"):
            Dataset.create(dataset.path.parent / "b", ["a", "a"])

    def test_other_landmarks_need_no_other_code(self, tmp_path, case_volume):
        made = Dataset.create(tmp_path / "set", ["nasion"])
        made.add_case(case_volume, "c1")
        made.save_annotation("c1", "anna", {"nasion": (0.0, 0.0, 0.0)}, {"nasion": "corrected"})
        assert check_dataset(made) == [] and made.annotations("c1")["anna"].points == {"nasion": (0.0, 0.0, 0.0)}


class TestAnnotations:
    def test_an_annotation_comes_back_with_its_facts(self, dataset, make_detection):
        dataset.save_prediction("c1", make_detection())
        points = {LEFT: (30.0, 3.0, 4.0), RIGHT: None}
        dataset.save_annotation("c1", "ben", points, {LEFT: "corrected", RIGHT: "missing"}, comment="stent")
        found = Dataset.open(dataset.path).annotations("c1")["ben"]
        assert (found.points, found.status) == (points, {LEFT: "corrected", RIGHT: "missing"})
        assert found.moved_mm == {LEFT: 5.0, RIGHT: None}
        assert found.model == ModelInfo("carotid", "1.0", "0" * 64) and found.comment == "stent"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found.time)

    def test_one_file_is_the_truth_of_one_annotation(self, dataset):
        folder = dataset.path / "cases/c1/annotations"
        assert [path.name for path in folder.iterdir()] == ["anna.json"]
        write_markups(folder / "anna.mrk.json", POINTS)  # as version 1 did
        dataset.save_annotation("c1", "anna", {**POINTS, LEFT: (20.0, 0.0, 0.0)}, ACCEPTED)
        assert [path.name for path in folder.iterdir()] == ["anna.json"]

    def test_two_annotators_keep_their_own_words_and_a_second_save_replaces_the_first(self, dataset):
        dataset.save_annotation("c1", "ben", {**POINTS, LEFT: (20.0, 0.0, 0.0)}, ACCEPTED)
        dataset.save_annotation("c1", "ben", {**POINTS, LEFT: (25.0, 0.0, 0.0)}, ACCEPTED)
        found = dataset.annotations("c1")
        assert {who: found[who].points[LEFT][0] for who in found} == {"anna": 30.0, "ben": 25.0}

    def test_many_writers_at_once_lose_nothing(self, dataset, case_volume, make_detection):
        def work(annotator: str) -> None:
            mine = Dataset.open(dataset.path)
            for number in range(8):
                mine.save_annotation("c1", annotator, POINTS, ACCEPTED, comment=str(number))
                mine.save_prediction("c1", make_detection())
                Dataset.open(dataset.path).annotations("c1")
            mine.add_case(case_volume, f"of-{annotator}")

        people = ["anna", "ben", "cleo", "dan"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, people))
        found = dataset.annotations("c1")
        assert {who: found[who].comment for who in found} == dict.fromkeys(people, "7")
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
        assert dataset.annotations("c1")["anna"].points == POINTS and check_dataset(dataset) == []

    def test_a_prediction_comes_back_and_one_for_other_landmarks_is_refused(self, dataset, make_detection):
        detection = make_detection()
        assert dataset.case("c1").prediction() is None
        dataset.save_prediction("c1", detection)
        found = dataset.case("c1").prediction()
        assert found == replace(detection, volume=replace(detection.volume, path="c1"))
        with pytest.raises(DatasetError, match="choose a model for these landmarks"):
            dataset.save_prediction("c1", replace(detection, landmarks=detection.landmarks[:1]))


class TestKills:
    def test_killing_the_writer_loses_nothing_that_was_saved(self):
        script = Path(__file__).parents[2] / "benchmarks" / "kill_while_saving.py"
        result = subprocess.run(
            [sys.executable, script, "--kills", "12"], capture_output=True, text=True, timeout=120, check=False
        )
        report = json.loads(result.stdout)
        assert report["wrong"] == [] and result.returncode == 0
        assert report["saves"] > 12 and report["kills_inside_a_save"] > 0  # or the kills have tested nothing


class TestRepair:
    def stale(self, *paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("half")
            os.utime(path, (time.time() - 2 * STALE_AFTER_S,) * 2)
            if path.parent.name.startswith(".tmp-"):
                os.utime(path.parent, (time.time() - 2 * STALE_AFTER_S,) * 2)

    def test_stale_temporary_files_go_and_those_of_a_running_save_stay(self, dataset):
        cases = dataset.path / "cases"
        self.stale(
            dataset.path / ".tmp-1-dataset.json", cases / "c1/annotations/.tmp-2-anna.json", cases / ".tmp-3-c7/image"
        )
        running = cases / "c1/.tmp-4-prediction.json"
        running.write_text("half")
        assert len(Dataset.open(dataset.path).temporary_files()) == 4
        assert len(repair_dataset(dataset)) == 3
        assert dataset.temporary_files() == [running]
        assert dataset.case_ids() == ["c1"]

    def test_a_folder_that_is_being_written_to_stays_whatever_the_clock_of_the_server_says(self, dataset):
        folder = dataset.path / "cases/.tmp-1-c7"
        folder.mkdir()
        (folder / "image.nrrd").write_text("half")
        os.utime(folder, (time.time() - 7200,) * 2)
        assert repair_dataset(dataset) == []
        assert (folder / "image.nrrd").exists()

    def test_opening_listing_and_checking_change_nothing(self, dataset):
        self.stale(dataset.path / "cases/.tmp-3-c7/image")
        write_markups(dataset.path / "cases/c1/annotations/anna.mrk.json", POINTS)

        def state() -> dict[Path, float]:
            return {path: path.stat().st_mtime_ns for path in (dataset.path, *dataset.path.rglob("*"))}

        before = state()
        opened = Dataset.open(dataset.path)
        order_cases(opened)
        assert len(check_dataset(opened)) == 1
        assert state() == before

    def test_a_dataset_of_version_1_is_read_and_becomes_one_of_version_2(self, dataset):
        (dataset.path / "dataset.json").write_text(json.dumps({"schema_version": 1, "landmarks": list(NAMES)}))
        annotation = dataset.path / "cases/c1/annotations/anna.json"
        document = json.loads(annotation.read_text())
        annotation.write_text(json.dumps({**document, "schema_version": 1, "replaces_markups_sha256": None}))
        case = dataset.path / "cases/c1/case.json"
        document = json.loads(case.read_text())
        del document["image"]["voxels_sha256"]
        case.write_text(json.dumps({**document, "schema_version": 1}))
        twin = write_markups(annotation.with_suffix(".mrk.json"), POINTS)
        opened = Dataset.open(dataset.path)
        assert opened.annotations("c1")["anna"].points == POINTS and check_dataset(opened) == []
        assert [line.split(":")[0] for line in repair_dataset(opened)] == [
            "cases/c1/annotations/anna.mrk.json",
            "dataset.json",
        ]
        assert not twin.exists() and Dataset.open(dataset.path).version() == 2
        assert check_dataset(dataset) == [] and repair_dataset(dataset) == []

    @pytest.mark.parametrize("annotator", ["anna", "ben"])
    def test_points_that_no_annotation_repeats_are_not_removed(self, dataset, annotator):
        twin = write_markups(
            dataset.path / f"cases/c1/annotations/{annotator}.mrk.json", {**POINTS, LEFT: (31.0, 0.0, 0.0)}
        )
        assert repair_dataset(dataset) == [] and twin.exists()


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
        dataset.add_case(case_volume)
        assert check_dataset(dataset) == []

    @pytest.mark.parametrize(
        ("points", "level", "message"),
        [
            ({LEFT: (20, 65, 0)}, "error", f"{LEFT} lies outside the image."),
            (
                {LEFT: (-30, 0, 0), RIGHT: (30, 0, 0)},
                "error",
                "The sides of carotid_bifurcation are swapped: left lies to the right of right.",
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
                "The image is not the one that was added (size or sha256 differs); restore it.",
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

    def test_a_patient_in_two_splits_is_named(self, dataset, case_volume):
        dataset.add_case(case_volume, "c2", group="p2", split="test")
        path = dataset.path / "cases/c2/case.json"
        path.write_text(path.read_text().replace("p2", "p1"))
        assert [str(f) for f in check_dataset(dataset)] == [
            "error: cases: Group p1 is spread over several splits: test, train."
        ]

    def test_a_temporary_file_is_named(self, dataset):
        (dataset.path / "cases/c1/.tmp-1-prediction.json").write_text("half")
        assert [str(finding) for finding in check_dataset(dataset)] == [
            "warning: cases/c1/.tmp-1-prediction.json: "
            "A save under way, or what a killed one has left: `carotid-landmark repair` knows which."
        ]


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

    def test_two_annotators_that_differ_in_capitals_are_named(self, dataset, case_volume):
        dataset.add_case(case_volume, "c2")
        folder = dataset.path / "cases/c2/annotations"
        folder.mkdir()
        (folder / "Anna.json").write_bytes((dataset.path / "cases/c1/annotations/anna.json").read_bytes())
        assert [str(finding) for finding in check_dataset(dataset)] == [
            "error: cases: Annotators Anna and anna differ in capitals alone; rename the files of one."
        ]


class TestReviewQueue:
    @pytest.fixture
    def queue(self, dataset, case_volume, make_detection) -> Dataset:
        """Cases a to e, e without a prediction; c1 is reviewed by anna."""
        for case_id, result in {
            "a": make_detection(volume_mm3=20, presence=0.9),
            "b": make_detection(volume_mm3=400, presence=0.99),
            "c": make_detection(volume_mm3=10, presence=0.93, verdict="review"),
            "d": make_detection(volume_mm3=30, presence=0.5),
            "c1": make_detection(volume_mm3=9000, presence=0.5, verdict="reject"),
        }.items():
            if case_id != "c1":
                dataset.add_case(case_volume, case_id)
            dataset.save_prediction(case_id, result)
        dataset.add_case(case_volume, "e")
        return dataset

    def test_the_most_uncertain_unreviewed_case_comes_first(self, queue):
        # b has regions of 4.6 mm (10.3 mm of expected cost), d one of 1.9 mm whose presence is open (14.9 mm).
        assert order_cases(queue) == ["c", "d", "b", "a", "e", "c1"]

    def test_a_landmark_called_missing_is_reviewed_before_points_found_well_the_less_sure_first(
        self, queue, make_detection, case_volume
    ):
        for case_id, presence in (("sure", 0.01), ("unsure", 0.3)):
            found = make_detection(volume_mm3=8)
            missing = LandmarkResult("left_carotid_bifurcation", "missing", presence)
            queue.add_case(case_volume, case_id)
            queue.save_prediction(case_id, replace(found, landmarks=(missing, found.landmarks[1])))
        assert order_cases(queue) == ["c", "d", "unsure", "sure", "b", "a", "e", "c1"]

    def test_the_most_doubtful_presence_comes_first(self, queue):
        assert order_cases(queue, "doubtful") == ["d", "a", "c", "b", "e", "c1"]

    def test_a_second_annotator_still_has_the_case_of_the_first_to_do(self, queue):
        assert order_cases(queue, annotator="ben")[0] == "c1"
        assert order_cases(queue, annotator="anna")[-1] == "c1"

    def test_a_random_order_follows_its_seed_and_stays_when_cases_are_added(self, queue, case_volume):
        order = order_cases(queue, "random", seed=1)
        assert order == order_cases(queue, "random", seed=1) and sorted(order) == queue.case_ids()
        assert len({tuple(order_cases(queue, "random", seed=seed)) for seed in range(10)}) > 3
        queue.add_case(case_volume, "new")
        assert [case for case in order_cases(queue, "random", seed=1) if case != "new"] == order

    def test_another_order_is_refused(self, queue):
        with pytest.raises(ValueError, match="'best' is not an order"):
            order_cases(queue, "best")
