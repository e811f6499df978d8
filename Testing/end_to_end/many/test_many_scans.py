"""`detect` of many scans in one process: a folder each, one summary, goes on where it was, names what is wrong."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.volume import Volume, write_volume
from CarotidLandmarkLib.work import workers
from pydicom.uid import generate_uid

from ..commands import LEFT, RIGHT, scan_volume, tiny_bundle, without_timing

RESULTS = ["detection.json", "landmarks.mrk.json", "report.html", "scan.sha256", "thumbnail.png"]


@pytest.fixture
def scans(tmp_path):
    """A folder of two scans, not equal."""
    (tmp_path / "scans").mkdir()
    whole = scan_volume()
    for n, name in enumerate(("one.nrrd", "two.nrrd")):
        write_volume(Volume(whole.array + np.int16(n), whole.affine_lps), tmp_path / "scans" / name)
    return tmp_path / "scans"


def summary_of(output):
    with open(output / "summary.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def times(output):
    return {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def test_each_scan_gets_what_it_would_get_alone_and_one_summary(run, scans, tmp_path, tmp_path_factory):
    finds = tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", presence_bias=4.0)
    how = ("--model", finds.path, "--passes", 4)
    code, out, err = run("detect", scans / "one.nrrd", scans / "two.nrrd", "-o", tmp_path / "out", *how)
    assert (code, err) == (0, [])
    assert out.splitlines()[0].startswith("2 scans: 2 ")
    assert out.splitlines()[1] == str(tmp_path / "out" / "summary.html")
    assert {path.name for path in (tmp_path / "out").iterdir()} - {".scans.lock"} == {
        "one", "scans.json", "summary.csv", "summary.html", "two",
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out" / "one").iterdir()) == RESULTS
    assert run("detect", scans / "one.nrrd", "-o", tmp_path / "alone", *how)[0] == 0
    alone, among = (tmp_path / place / "detection.json" for place in ("alone", "out/one"))
    assert without_timing(alone) == without_timing(among)
    rows = summary_of(tmp_path / "out")
    assert {row["folder"]: row["scan"] for row in rows} == {
        name: str(scans / f"{name}.nrrd") for name in ("one", "two")
    }
    detection = Detection.from_json(among.read_text())
    assert {float(row["x_lps_mm"]) for row in rows if row["folder"] == "one"} == {
        landmark.position_lps_mm[0] for landmark in detection.landmarks
    }


def test_the_time_of_a_detection_has_that_of_reading_wherever_it_was_made(run, scans, model, tmp_path):
    how = ("--model", model, "--passes", 2)
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    dataset.add_case(scans / "one.nrrd", case_id="one")
    assert run("detect", scans / "one.nrrd", "-o", tmp_path / "alone", *how)[0] == 0
    assert run("detect", scans, "-o", tmp_path / "out", *how)[0] == 0
    assert run("cohort", dataset.path, "--predict", *how)[0] == 0
    for file in ("alone/detection.json", "out/one/detection.json", "data/cases/one/prediction.json"):
        seconds = Detection.from_json((tmp_path / file).read_bytes()).timing_s
        load, total = seconds.pop("load"), seconds.pop("total")
        assert load > 0 and total >= load + sum(seconds.values()) - 0.005  # each is rounded


def test_a_bad_scan_does_not_stop_the_others_and_is_done_when_it_has_been_mended(run, scans, model, tmp_path):
    good = scans / "bad.nrrd"
    good.write_bytes(b"buy milk\n")
    arguments = ("detect", scans, "-o", tmp_path / "out", "--model", model, "--passes", 4)
    code, out, err = run(*arguments)
    assert code == 2
    assert [line.split(":")[0] for line in err[:-1]] == ["Note", "bad"]
    assert err[-1] == "1 of 3 scans could not be done; summary.html says why."
    assert "1 not done" in out
    first, *others = summary_of(tmp_path / "out")
    assert (first["folder"], first["problem"]) == ("bad", err[1].partition(": ")[2]) and len(others) == 4
    assert not (tmp_path / "out" / "bad").exists()
    before = times(tmp_path / "out" / "one")
    shutil.copy(scans / "one.nrrd", good)
    code, out, err = run(*arguments)
    assert (code, len(err)) == (0, 1)  # the note
    assert times(tmp_path / "out" / "one") == before
    assert {row["problem"] for row in summary_of(tmp_path / "out")} == {""}


def test_the_summary_shows_no_result_of_a_scan_that_is_another_since_but_one_of_a_scan_that_is_away(
    run, scans, model, tmp_path
):
    shutil.copy(scans / "one.nrrd", scans / "three.nrrd")
    how = ("-o", tmp_path / "out", "--model", model, "--passes", 2)
    assert run("detect", scans, *how)[0] == 0
    (scans / "one.nrrd").write_bytes(b"buy milk\n")
    (scans / "two.nrrd").unlink()
    code, out, err = run("detect", scans / "three.nrrd", scans / "three.nrrd", *how)
    assert (code, len(err)) == (0, 1) and "1 not done" in out
    assert {row["folder"]: row["problem"] for row in summary_of(tmp_path / "out")} == {
        "one": "The scan has changed since it was done; give this scan again.", "two": "", "three": "",
    }  # fmt: skip


def test_the_model_is_loaded_once(run, scans, model, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(Detector, "__init__", _counted(Detector.__init__, opened))
    assert run("detect", scans, "-o", tmp_path / "out", "--model", model, "--passes", 2)[0] == 0
    assert len(opened) == 1
    assert run("detect", scans, "-o", tmp_path / "out", "--model", model, "--passes", 2)[0] == 0
    assert len(opened) == 1  # all is done


def _counted(function, calls):
    def counted(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return counted


def test_a_study_is_one_scan_as_before_and_two_are_two(run, model, tmp_path, write_dicom):
    volume = scan_volume()
    for name in ("anna", "bert"):
        write_dicom(volume, tmp_path / "dicom" / name, StudyInstanceUID=generate_uid())
    how = ("--model", model, "--passes", 2)
    code, out, err = run("detect", tmp_path / "dicom" / "anna", "-o", tmp_path / "one", *how, "--json")
    assert (code, err) == (0, [])
    assert Detection.from_json(out).notes == ()
    code, out, err = run("detect", tmp_path / "dicom", "-o", tmp_path / "out", *how)
    assert code == 0 and len(err) == 1 and "folder of 2 scans (2 DICOM folders)" in err[0]
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"anna", "bert"}
    assert "folder of 2 scans" in (tmp_path / "out" / "summary.html").read_text()


def test_images_left_out_of_a_dicom_folder_are_noted_in_the_result_too(run, model, scan, tmp_path, write_dicom):
    write_dicom(scan_volume(), tmp_path / "dicom")
    shutil.copy(scan, tmp_path / "dicom" / "copy.nrrd")
    code, out, err = run(
        "detect", tmp_path / "dicom", "-o", tmp_path / "out", "--model", model, "--passes", 2, "--json"
    )
    assert code == 0 and len(err) == 1 and "copy.nrrd" in err[0]
    assert Detection.from_json(out).notes == (err[0].removeprefix("Note: "),)


def test_names_that_are_not_utf_8_are_marks_in_notes_and_summary_and_what_is_done_stays_done(
    run, scans, model, tmp_path, write_dicom
):
    try:
        scans = scans.rename(tmp_path / os.fsdecode(b"S\xfcd"))
    except OSError:
        pytest.skip("this file system takes no such names")
    how = ("--model", model, "--passes", 2)
    code, out, err = run("detect", scans, "-o", tmp_path / "out", *how)
    assert (code, len(err)) == (0, 1) and "S\ufffdd was taken for a folder of 2 scans" in err[0]
    for name in ("summary.html", "summary.csv"):
        assert "S\ufffdd/two.nrrd" in (tmp_path / "out" / name).read_text(encoding="utf-8")
    before = times(tmp_path / "out" / "one")
    assert run("detect", scans, "-o", tmp_path / "out", *how)[0] == 0 and times(tmp_path / "out" / "one") == before
    write_dicom(scan_volume(), scans)
    code, out, _ = run("detect", scans, "-o", tmp_path / "alone", *how, "--json")
    (note,) = Detection.from_json(out).notes
    assert code == 0 and note.startswith("S\ufffdd holds DICOM images")


def test_a_fault_in_one_scan_names_its_log_ends_with_1_and_the_others_are_done(
    run, scans, model, tmp_path, monkeypatch
):
    whole = Detector.detect

    def faulty(self, volume, *args, **kwargs):
        return 1 / 0 if volume.name == "one.nrrd" else whole(self, volume, *args, **kwargs)

    monkeypatch.setattr(Detector, "detect", faulty)
    code, _, err = run("detect", scans, "-o", tmp_path / "out", "--model", model, "--passes", 2)
    assert code == 1
    (line,) = [line for line in err if line.startswith("one: ")]
    log = line.split()[-1].rstrip(".")
    with open(log) as stream:
        assert "division by zero" in stream.read()
    assert (tmp_path / "out" / "two" / "detection.json").exists()


BAD_ARGUMENTS = {
    "no such scheduler": (["--scheduler", "tcp://127.0.0.1:1"], "No dask scheduler answers at tcp://127.0.0.1:1"),
    "no address": (["--scheduler", "somewhere"], "No dask scheduler answers at somewhere"),
    "no workers": (["--workers", "0"], "--workers"),
    "less than none": (["--workers", "-2"], "--workers"),
    "no number": (["--workers", "many"], "--workers"),
    "both": (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "not both"),
    "json": (["--json"], "--json is for one scan"),
    "series": (["--series", "1"], "--series is for one scan"),
    "model": (["--model", "nowhere"], "no model bundle"),
    "device": (["--device", "abacus"], "abacus"),
    "level": (["--level", "2"], "between 0 and 1"),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_a_bad_argument_ends_with_2_and_one_line_and_leaves_nothing(run, scans, model, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_S", 1.0)
    arguments, words = BAD_ARGUMENTS[kind]
    given = [] if "--model" in arguments else ["--model", model]
    code, out, err = run("detect", scans, "-o", tmp_path / "out", *given, *arguments)
    assert (code, out, len(err)) == (2, "", 1)
    assert words in err[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans"]


def test_results_of_other_settings_and_a_file_in_the_way_are_refused_and_left_as_they_were(run, scans, model, tmp_path):
    arguments = ("detect", scans, "-o", tmp_path / "out", "--model", model)
    assert run(*arguments, "--passes", 2)[0] == 0
    before = times(tmp_path / "out")
    code, out, err = run(*arguments, "--passes", 3)
    assert (code, out, len(err)) == (2, "", 1) and "passes 2, not passes 3" in err[0]
    assert times(tmp_path / "out") == before
    code, out, err = run("detect", scans, "-o", scans / "one.nrrd", "--model", model)
    assert (code, out, len(err)) == (2, "", 1) and "is a file" in err[0]


def test_only_bad_scans_are_all_named_in_a_summary(run, model, tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("a.nrrd", "b.nii"):
        (tmp_path / "scans" / name).write_bytes(b"")
    code, out, err = run("detect", tmp_path / "scans", "-o", tmp_path / "out", "--model", model)
    assert code == 2 and out.startswith("2 scans: 2 not done")
    assert err[-1].startswith("2 of 2 scans could not be done")
    assert [row["problem"] != "" for row in summary_of(tmp_path / "out")] == [True, True]


def test_an_empty_folder_is_refused_as_before(run, model, tmp_path):
    (tmp_path / "scans").mkdir()
    code, out, err = run("detect", tmp_path / "scans", "-o", tmp_path / "out", "--model", model)
    assert (code, out) == (2, "") and err == ["scans is an empty folder; give a folder with the DICOM files of one CT."]
    assert not (tmp_path / "out").exists()


def test_without_workers_nothing_of_dask_is_imported_and_where_it_is_missing_a_sentence_says_what_to_install(
    scans, model, tmp_path
):
    program = (
        "import sys\nfrom CarotidLandmarkLib import cli\n{first}\n"
        "try: cli.main(sys.argv[1:])\n"
        "finally: print([m for m in ('dask', 'distributed') if sys.modules.get(m)])"
    )
    missing = "sys.modules['distributed'] = None"
    words = ["detect", str(scans), "-o", str(tmp_path / "out"), "--model", str(model), "--passes", "2"]
    command = [sys.executable, "-c", program.format(first=""), *words]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert (plain.returncode, plain.stdout.splitlines()[-1]) == (0, "[]")
    command = [sys.executable, "-c", program.format(first=missing), *words[:3], str(tmp_path / "new"), *words[4:]]
    lacking = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True)
    assert lacking.returncode == 2
    assert lacking.stderr.splitlines() == [
        "Workers need dask.distributed, which is not installed; install it: pip install 'dask[distributed]'."
    ]
    assert not (tmp_path / "new").exists()
