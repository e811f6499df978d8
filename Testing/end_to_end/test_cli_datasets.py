"""The commands that work on a dataset: what they write, what they name, how they end."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import Dataset, patient_group
from CarotidLandmarkLib.detection import CSV_COLUMNS
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.volume import Volume, read_volume, write_volume
from CarotidLandmarkLib.work import workers

from ..volume.test_bad_scans import not_root
from .commands import LEFT, RIGHT, scan_volume


def test_a_cohort_is_predicted_resumed_tabulated_and_queued(run, scan, model, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    for case_id in ("one", "two", "lost"):
        dataset.add_case(scan, case_id=case_id)
    (dataset.case("lost").folder / "image.nrrd").unlink()
    arguments = ("cohort", dataset.path, "--predict", "--model", model, "--passes", 4)
    code, _, err = run(*arguments)
    assert code == 2
    assert [line.split(":")[0] for line in err] == ["lost", "1 cases could not be predicted; the lines above say why."]
    written = {
        case_id: (dataset.case(case_id).folder / "prediction.json").stat().st_mtime_ns for case_id in ("one", "two")
    }
    (dataset.case("lost").folder / "image.nrrd").write_bytes(scan.read_bytes())
    code, out, err = run(*arguments, "--csv", tmp_path / "table.csv")
    assert (code, err) == (0, [])
    assert "3 cases, 3 predicted, 0 reviewed" in out
    assert {name: (dataset.case(name).folder / "prediction.json").stat().st_mtime_ns for name in written} == written
    with open(tmp_path / "table.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["volume"], row["landmark"]) for row in rows] == [
        (case_id, name) for case_id in ("lost", "one", "two") for name in (LEFT, RIGHT)
    ]
    assert tuple(rows[0]) == (*CSV_COLUMNS, "annotator", "ask_colleague", "comment")
    prediction = dataset.case("one").prediction()
    assert prediction is not None
    assert float(rows[2]["x_lps_mm"]) == prediction[LEFT].position_lps_mm[0]
    code, out, _ = run("queue", dataset.path)
    assert code == 0
    listed = [line for line in out.splitlines() if any(case_id in line for case_id in ("lost", "one", "two"))]
    assert len(listed) == 3
    assert run(*arguments, "--seed", 3)[0] == 0  # other settings: predicted again
    assert (dataset.case("one").folder / "prediction.json").stat().st_mtime_ns != written["one"]


def test_a_folder_of_several_scans_is_added_as_they_are_and_what_was_taken_is_said(run, tmp_path, write_dicom):
    """Of two patients one was added, and five sound files were called damaged."""
    volume = scan_volume()
    for n, name in enumerate(("anna", "bert")):
        write_dicom(Volume(volume.array + np.int16(n), volume.affine_lps), tmp_path / "cd" / name, PatientID=name)
    write_volume(Volume(volume.array + np.int16(2), volume.affine_lps), tmp_path / "cd" / "cleo.nii.gz")
    code, _, err = run("add", tmp_path / "data", tmp_path / "cd")
    assert code == 0 and "was taken for a folder of 3 scans (1 file and 2 DICOM folders)" in err[0]
    dataset = Dataset.open(tmp_path / "data")
    assert len(dataset.case_ids()) == len({case.group for case in dataset.cases()}) == 3
    assert "a folder of such" in " ".join(run("add", "--help")[1].split())
    code, _, err = run("series", tmp_path / "cd" / "cleo.nii.gz")
    assert (code, err) == (2, ["cleo.nii.gz holds no DICOM images; give a folder with the DICOM files of one CT."])


def test_settings_of_a_detection_without_predict_are_refused_and_a_missing_argument_names_its_help(run, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    for option in (["--passes", 7], ["--level", 0.8], ["--device", "cpu"], ["--seed", 4]):
        code, _, err = run("cohort", dataset.path, *option)
        assert code == 2 and err[0].endswith("are for predictions; add --predict.")
    assert run("cohort")[2] == ["Missing argument 'DATASET'. See carotid-landmark cohort --help."]


def test_workers_are_for_predictions_and_bad_ones_are_refused_before_anything_is_done(
    run, scan, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "CONNECT_S", 1.0)
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    dataset.add_case(scan, case_id="one")
    for arguments, words in (
        (["--workers", 2], "add --predict"),
        (["--scheduler", "tcp://127.0.0.1:1"], "add --predict"),
        (["--predict", "--workers", 0], "--workers"),
        (["--predict", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1"], "not both"),
        (["--predict", "--scheduler", "tcp://127.0.0.1:1"], "No dask scheduler answers at tcp://127.0.0.1:1"),
    ):
        code, out, err = run("cohort", dataset.path, "--model", model, *arguments)
        assert (code, out, len(err)) == (2, "", 1) and words in err[0]
    assert dataset.case("one").prediction() is None


def test_a_fault_in_one_case_ends_with_1_after_the_others_and_the_table(run, scan, model, tmp_path, monkeypatch):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    for case_id in ("one", "two"):
        dataset.add_case(scan, case_id=case_id)
    whole = Detector.detect

    def faulty(self, volume, *args, **kwargs):
        return 1 / 0 if volume.name == "one" else whole(self, volume, *args, **kwargs)

    monkeypatch.setattr(Detector, "detect", faulty)
    code, out, err = run(
        "cohort", dataset.path, "--predict", "--model", model, "--passes", 2, "--csv", tmp_path / "table.csv"
    )
    assert code == 1 and "2 cases, 1 predicted" in out and (tmp_path / "table.csv").exists()
    assert len(err) == 1 and err[0].startswith("one: A fault of this program (ZeroDivisionError).")


def test_the_table_of_a_reviewed_dataset_has_what_annotators_said_too(run, scan, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    dataset.add_case(scan, "one")
    points = {LEFT: (20.0, 2.0, 150.0), RIGHT: None}
    dataset.save_annotation("one", "anna", points, {LEFT: "corrected", RIGHT: "missing"})
    assert run("cohort", dataset.path, "--csv", tmp_path / "table.csv")[0] == 0
    with open(tmp_path / "table.csv", newline="") as stream:
        left, right = csv.DictReader(stream)
    assert (left["annotator"], left["status"], float(left["x_lps_mm"])) == ("anna", "corrected", 20.0)
    assert (right["status"], right["x_lps_mm"], right["presence"]) == ("missing", "", "")


def test_cases_about_which_somebody_asks_a_colleague_are_counted_marked_and_listed_alone(run, scan, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    for case_id in ("clear", "doubtful"):
        dataset.add_case(scan, case_id)
    points, status = {LEFT: (20.0, 2.0, 150.0), RIGHT: None}, {LEFT: "corrected", RIGHT: "missing"}
    dataset.save_annotation("doubtful", "anna", points, status, ask_colleague=True)
    dataset.save_annotation("clear", "anna", points, status)
    assert "2 cases, 0 predicted, 2 reviewed, 1 with a question to a colleague" in run("cohort", dataset.path)[1]
    code, listed, _ = run("queue", dataset.path, "--asked")
    assert code == 0 and "doubtful" in listed and "clear" not in listed
    every = run("queue", dataset.path)[1]
    assert "asks" in every and "clear" in every
    assert "anna asks a colleague about this case" in run("check", dataset.path)[1]


def test_what_can_not_be_read_is_named_once_and_the_rest_is_listed(run, scan, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    for case_id in ("one", "two"):
        dataset.add_case(scan, case_id)
    (dataset.path / "cases" / "two" / "case.json").write_text("{")
    code, out, err = run("queue", dataset.path)
    assert code == 0 and "one" in out and "two" not in out
    assert err == ["Left out: cases/two: case.json of case two is damaged (it is not JSON); restore it from a backup."]
    code, out, err = run("cohort", dataset.path, "--csv", tmp_path / "table.csv")
    assert code == 2 and "1 cases, 0 predicted" in out
    assert len(err) == 1 and "case two is damaged" in err[0]


def test_a_scan_that_is_referred_to_and_was_moved_is_located_by_command_and_recognised_when_added_again(
    run, scan, tmp_path, monkeypatch
):
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    folder, dataset = tmp_path / "scans", tmp_path / "data"
    folder.mkdir()
    shutil.copy(scan, folder / "a.nrrd")
    _, out, _ = run("add", dataset, folder / "a.nrrd", "--reference")
    case_id = out.split(":")[0]
    moved = folder.rename(tmp_path / "archive") / "a.nrrd"
    code, out, err = run("check", dataset)
    assert code == 2 and "carotid-landmark locate" in out
    code, _, err = run("locate", dataset, tmp_path / "home")
    assert (code, len(err)) == (2, 1) and case_id in err[0]
    code, out, err = run("locate", dataset, tmp_path)
    assert (code, err) == (0, [])
    assert out == f"{case_id}: {moved}\n1 of 1 scans that the dataset refers to are here.\n"
    assert run("check", dataset)[0] == 0
    again = moved.rename(tmp_path / "b.nrrd")
    for arguments in (("--reference",), ()):
        code, out, _ = run("add", dataset, again, *arguments)
        assert (code, out) == (0, f"{case_id}: b.nrrd was there already\n")
    assert run("check", dataset)[0] == 0
    assert run("locate", dataset, again)[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="rights are others there")
def test_a_file_that_may_not_be_read_is_named_and_the_others_are_located_and_added(run, scan, tmp_path, monkeypatch):
    content = scan.read_bytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path))
        run("add", tmp_path / "first", scan, "--landmark", "nasion")  # what is imported late, nobody may read
        monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(folder / "home"))
        with not_root():
            for file in ("a.nrrd", "closed.nrrd"):
                (folder / file).write_bytes(content)
            volume = read_volume(folder / "a.nrrd")
            write_volume(replace(volume, array=volume.array + 1), folder / "z.nrrd")
            assert run("add", folder / "data", folder / "a.nrrd", "--reference", "--landmark", "nasion")[0] == 0
            (folder / "closed.nrrd").chmod(0)
            code, out, err = run("add", folder / "data", folder / "closed.nrrd", folder / "z.nrrd")
            assert code == 2 and "z.nrrd, patient-" in out
            assert err[0].endswith("closed.nrrd can not be used (Permission denied); check the path and the disk.")
            (folder / "a.nrrd").rename(folder / "moved.nrrd")
            code, out, err = run("locate", folder / "data", folder)
            assert code == 0 and "moved.nrrd" in out and "closed.nrrd can not be used (Permission denied)" in err[0]


def test_a_reference_is_to_the_whole_file_and_another_series_of_it_is_another_scan(
    run, tmp_path, monkeypatch, make_volume, write_dicom
):
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    small, large = make_volume(), make_volume(size=(24, 20, 30))
    write_dicom(small, tmp_path / "study", SeriesNumber=4, PatientID="small")
    write_dicom(large, tmp_path / "study", SeriesNumber=5, PatientID="large")
    file = shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "study")
    code, out, err = run("add", tmp_path / "set", file, "--reference", "--series", "4")
    assert (code, out) == (2, "") and not (tmp_path / "set").exists()
    (sentence,) = err
    assert sentence.endswith("--series chooses a part of one; leave --reference out, and the series is copied.")
    code, out, err = run("add", tmp_path / "set", file, "--reference")
    assert code == 0 and "study.zip holds 2 CT series or parts of series; series 5 (30 slices) was read" in err[0]
    code, out, _ = run("add", tmp_path / "set", file, "--series", "4")
    assert code == 0 and "was there already" not in out
    assert "was there already" in run("add", tmp_path / "set", file, "--series", "5")[1]
    cases = {case.size[2]: case for case in Dataset.open(tmp_path / "set").cases()}
    assert {size: (case.copied, case.group) for size, case in cases.items()} == {
        18: (True, patient_group("small")),
        30: (False, patient_group("large")),
    }
    assert (cases[18].read_volume().array == small.array).all()


def test_repair_says_what_it_did(run, scan, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    assert run("repair", dataset.path) == (0, "There is nothing to repair.\n", [])
    (dataset.path / "dataset.json").write_text(json.dumps({"schema_version": 1, "landmarks": [LEFT, RIGHT]}))
    code, out, err = run("repair", dataset.path)
    assert (code, err) == (0, []) and out.startswith("dataset.json: version 2 now")


def test_a_cohort_about_other_landmarks_is_refused(run, model, tmp_path):
    dataset = Dataset.create(tmp_path / "data", ["bregma"])
    code, _, err = run("cohort", dataset.path, "--predict", "--model", model)
    assert (code, len(err)) == (2, 1)
    assert "bregma" in err[0]


def test_scans_are_added_once_each_and_grouped_by_patient(run, scan, tmp_path, monkeypatch):
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    other, third = (tmp_path / name for name in ("Jane Doe.nrrd", "third.nrrd"))
    whole = scan_volume()
    write_volume(Volume(whole.array[:-4], whole.affine_lps), other)
    write_volume(Volume(whole.array + np.int16(1), whole.affine_lps), third)
    code, out, err = run("add", tmp_path / "data", scan, tmp_path / "nowhere.nrrd", other, "--patient", "Jane")
    assert code == 2
    assert err == [
        "nowhere.nrrd does not exist; check the path.",
        "1 of 3 scans could not be added; the lines above say why.",
    ]
    assert out.splitlines()[1].endswith("scan 2 of this patient")
    code, out, err = run("add", tmp_path / "data", scan, third, "--reference")
    assert (code, err) == (0, [])
    dataset = Dataset.open(tmp_path / "data")
    known, new = (dataset.case(line.split(":")[0]) for line in out.splitlines())
    assert "was there already" in out.splitlines()[0] and known.copied and not new.copied
    cases = [dataset.case(case_id) for case_id in dataset.case_ids()]
    assert sorted(sum(case.group == each.group for case in cases) for each in cases) == [1, 2, 2]
    assert dataset.landmarks == (LEFT, RIGHT)
    assert not [file for file in dataset.path.rglob("*.json") if "Jane" in file.read_text()]


def test_a_name_with_a_line_break_or_an_escape_in_it_is_one_line_without_it(run, scan, tmp_path):
    try:
        shutil.copy(scan, named := tmp_path / "a\n\x1b[31mb.nrrd")
    except OSError:
        pytest.skip("this file system takes no such names")
    for words in ("a\ufffd\ufffd[31mb.nrrd, patient-", "a\ufffd\ufffd[31mb.nrrd was there already"):
        code, out, _ = run("add", tmp_path / "data", named)
        assert code == 0 and words in out.splitlines()[0]


def test_a_list_of_annotators_that_names_nobody_is_refused(run, scan, tmp_path):
    assert run("add", tmp_path / "data", scan)[0] == 0
    for names in (",", "", " , "):
        code, _, err = run("agreement", tmp_path / "data", "--annotators", names, "-o", tmp_path / "out")
        assert code == 2 and "--annotators names nobody" in err[0] and not (tmp_path / "out").exists()


def test_a_new_dataset_is_about_the_landmarks_that_are_named_and_stays_so(run, scan, tmp_path):
    names = ("left_vertebral_origin", "right_vertebral_origin")
    chosen = [word for name in names for word in ("--landmark", name)]
    code, out, _ = run("add", tmp_path / "data", scan, *chosen)
    assert code == 0 and "data is a new dataset about left_vertebral_origin, right_vertebral_origin" in out
    assert Dataset.open(tmp_path / "data").landmarks == names
    assert run("add", tmp_path / "data", scan)[0] == 0
    code, _, err = run("add", tmp_path / "data", scan, "--landmark", "nasion")
    assert code == 2
    assert err == [
        "data is about left_vertebral_origin, right_vertebral_origin; leave --landmark out, or name a new folder."
    ]
    for words in ((scan, "--landmark", "a/b"), (tmp_path / "nowhere.nrrd", *chosen)):
        assert run("add", tmp_path / "bad", *words)[0] == 2
        assert not (tmp_path / "bad").exists()
    (tmp_path / "mine").mkdir()
    assert run("add", tmp_path / "mine", tmp_path / "nowhere.nrrd")[0] == 2
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_present_folder_has_a_name_in_sentences(run, tmp_path, monkeypatch):
    (tmp_path / "necks").mkdir()
    monkeypatch.chdir(tmp_path / "necks")
    for command in ("check", "queue", "cohort", "export"):
        _, _, err = run(command, ".", *(["--output", "../x"] if command == "export" else []))
        assert err[0].startswith("necks is "), err


def test_a_table_does_not_replace_the_dataset(run, scan, tmp_path):
    assert run("add", tmp_path / "set", scan)[0] == 0
    before = (tmp_path / "set" / "dataset.json").read_bytes()
    code, _, err = run("cohort", tmp_path / "set", "--csv", tmp_path / "set" / "dataset.json")
    assert (code, len(err)) == (2, 1) and "ends with .csv" in err[0]
    assert (tmp_path / "set" / "dataset.json").read_bytes() == before


@pytest.mark.parametrize(
    ("table", "words"), [("nowhere/x.csv", "There is no folder nowhere for x.csv"), ("x.csv", "x.csv is a folder")]
)
def test_a_place_for_a_table_that_is_none_is_refused_before_anything_is_predicted(
    run, scan, model, tmp_path, table, words
):
    (tmp_path / "x.csv").mkdir()
    assert run("add", tmp_path / "set", scan)[0] == 0
    code, _, err = run("cohort", tmp_path / "set", "--predict", "--model", model, "--csv", tmp_path / table)
    assert (code, len(err)) == (2, 1) and words in err[0]
    assert list((tmp_path / "set").rglob("prediction.json")) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_scan_whose_place_can_not_be_kept_is_not_added(run, scan, tmp_path, monkeypatch):
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", "/proc/home")
    assert run("add", tmp_path / "set", scan, "--reference")[0] == 2
    assert not (tmp_path / "set").exists()


def test_scans_are_not_added_to_a_folder_of_something_else(run, scan, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, out, err = run("add", tmp_path, scan)
    assert (code, out, len(err)) == (2, "", 1)
    assert "is not a dataset" in err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_check_names_what_is_wrong_and_ends_with_2_only_for_errors(run, scan, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    dataset.add_case(scan, "one")
    assert run("check", dataset.path) == (0, "1 cases, 0 errors, 0 warnings\n", [])
    near = {LEFT: (5.0, 0.0, 150.0), RIGHT: (-5.0, 0.0, 150.0)}
    dataset.save_annotation("one", "anna", near, dict.fromkeys(near, "accepted"))
    code, out, _ = run("check", dataset.path)
    assert (code, out.splitlines()[-1]) == (0, "1 cases, 0 errors, 1 warnings")
    (dataset.case("one").folder / "image.nrrd").unlink()
    code, out, err = run("check", dataset.path)
    assert (code, err) == (2, ["data has errors; mend them before you train on it."])
    assert out.splitlines()[0].startswith("error: cases/one/image.nrrd: The image of case one is not here;")
