"""The command line: what it writes, what it refuses, how it ends. The model is tiny and untrained."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib import __version__, cli
from CarotidLandmarkLib.bundle import resources_directory
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.markups import read_markups, write_markups
from CarotidLandmarkLib.volume import Volume, write_volume

from .commands import LABELS, LEFT, RIGHT, scan_volume, tiny_bundle, without_timing


def test_help_answers_without_importing_anything_heavy():
    program = (
        "import sys\nfrom CarotidLandmarkLib import cli\n"
        "try: cli.main(['detect', '--help'])\n"
        "finally: print([m for m in ('torch', 'numpy', 'SimpleITK', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--passes" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_the_version_is_the_library_s(run):
    assert run("--version") == (0, f"{__version__}\n", [])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_place_that_can_not_be_written_to_is_named(run, scan, model):
    code, _, err = run("detect", scan, "-o", "/proc/results", "--model", model)
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith("/proc/results can not be used")


def test_detect_writes_three_files_that_agree_and_json_prints_the_same_and_nothing_else(run, scan, model, tmp_path):
    output = tmp_path / "new" / "results"
    code, out, err = run("detect", scan, "--output", output, "--model", model, "--passes", 4, "--json")
    assert (code, err) == (0, [])
    assert sorted(path.name for path in output.iterdir()) == ["detection.json", "landmarks.mrk.json", "report.html"]
    assert out == (output / "detection.json").read_text()
    detection = Detection.from_json(out)
    points = read_markups(output / "landmarks.mrk.json", LABELS)
    assert points == {landmark.name: landmark.position_lps_mm for landmark in detection.landmarks}
    assert all(position is not None for position in points.values())
    assert detection.passes == 4
    assert detection.volume.path == "scan.nrrd"
    assert set(detection.timing_s) == {"load", "pyramid", "coarse", "passes", "total"}
    assert str(scan.parent) not in (output / "report.html").read_text()


def test_without_json_the_points_the_verdict_and_the_files_are_shown(run, scan, model, tmp_path):
    code, out, _ = run("detect", scan, "-o", tmp_path / "r", "--model", model, "--passes", 4, "--level", 0.945)
    assert code == 0
    for words in ("± at 94.5% (mm)", "L bifurcation", "R bifurcation", "Verdict", str(tmp_path / "r" / "report.html")):
        assert words in out


def test_the_seed_decides_the_result(run, scan, model, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("detect", scan, "-o", tmp_path / name, "--model", model, "--passes", 4, "--seed", seed)
    a, b, c = (without_timing(tmp_path / name / "detection.json") for name in "abc")
    assert a == b
    assert a["landmarks"] != c["landmarks"]


def test_a_missing_landmark_is_a_finding_not_an_error(run, scan, tmp_path):
    blind = tiny_bundle(tmp_path / "blind", presence_bias=-4.0).path
    code, _, _ = run("detect", scan, "-o", tmp_path / "r", "--model", blind, "--passes", 4)
    assert code == 0
    assert read_markups(tmp_path / "r" / "landmarks.mrk.json", LABELS) == {LEFT: None, RIGHT: None}
    assert (tmp_path / "r" / "report.html").read_text().count("Not found in this scan.") == 2


def bad_file(folder: Path, name: str, content: bytes | np.ndarray | None) -> Path:
    path = folder / name
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_volume(Volume(content, np.eye(4), name), path)
    return path


BAD_INPUTS = {
    "absent": ("nowhere.nrrd", b"", "does not exist"),
    "not an image": ("notes.nrrd", b"buy milk\n", "notes.nrrd"),
    "unknown type": ("notes.docx", b"PK", "unknown type"),
    "empty folder": ("series", None, "series"),
    "too small": ("small.nrrd", np.full((8, 32, 32), 40, np.int16), "at least 16"),
    "not HU": ("grey.nrrd", np.linspace(0, 1, 32**3, dtype=np.float32).reshape(32, 32, 32), "Hounsfield"),
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_a_bad_scan_ends_with_2_and_one_line_and_leaves_nothing(run, model, tmp_path, kind):
    name, content, words = BAD_INPUTS[kind]
    path = tmp_path / name if kind == "absent" else bad_file(tmp_path, name, content)
    before = sorted(tmp_path.iterdir())
    code, out, err = run("detect", path, "-o", tmp_path / "deep" / "results", "--model", model)
    assert (code, out, len(err)) == (2, "", 1)
    assert words in err[0]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--passes", "1"], "--passes"),
        (["--level", "1.5"], "between 0 and 1"),
        (["--device", "abacus"], "abacus"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--series", "3"], "no series"),
        (["--colour", "red"], "--colour"),
        (["--model", "nowhere"], "no model bundle"),
    ],
)
def test_a_bad_argument_ends_with_2_and_one_line_and_leaves_nothing(run, scan, model, tmp_path, arguments, words):
    given = [] if "--model" in arguments else ["--model", model]
    code, out, err = run("detect", scan, "-o", tmp_path / "results", *given, *arguments)
    assert (code, out, len(err)) == (2, "", 1)
    assert words in err[0]
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused_and_left_alone(run, scan, model, tmp_path):
    (tmp_path / "results").write_text("mine")
    code, _, err = run("detect", scan, "-o", tmp_path / "results", "--model", model)
    assert (code, len(err)) == (2, 1)
    assert (tmp_path / "results").read_text() == "mine"


def test_a_run_that_fails_leaves_earlier_results_and_other_files_as_they_were(run, scan, model, tmp_path):
    output = tmp_path / "results"
    run("detect", scan, "-o", output, "--model", model, "--passes", 4)
    (output / "notes.txt").write_text("seen by me")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert run("detect", tmp_path / "nowhere.nrrd", "-o", output, "--model", model)[0] == 2
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert run("detect", scan, "-o", output, "--model", model, "--passes", 4, "--seed", 5)[0] == 0
    after = {path.name: path.read_bytes() for path in output.iterdir()}
    assert after["notes.txt"] == before["notes.txt"]
    assert after["detection.json"] != before["detection.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.skipif(os.name != "posix", reason="sends signals as terminals and schedulers do")
@pytest.mark.parametrize("number", [2, 15, 1], ids=["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_ctrl_c_and_its_like_end_with_3_and_leave_nothing(scan, model, tmp_path, number):
    command = [sys.executable, "-m", "CarotidLandmarkLib.cli", "detect", scan, "-o", tmp_path / "new" / "results"]
    started = subprocess.Popen(
        [*map(str, command), "--model", str(model), "--passes", "10000"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # ignored in the background, or under nohup
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("new/.tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(4)  # into the passes
    started.send_signal(number)
    _, err = started.communicate(timeout=240)
    assert (started.returncode, err.splitlines()) == (3, ["Cancelled; nothing is left half-written."])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_a_library_is_imported_ends_with_3_too(scan, tmp_path):
    program = f"""
import CarotidLandmarkLib.bundle
from CarotidLandmarkLib.cli import main

def interrupted(*arguments):
    exec("raise KeyboardInterrupt")  # a library is imported, and makes a dataclass

CarotidLandmarkLib.bundle.open_bundle = interrupted
main(["detect", {str(scan)!r}, "-o", {str(tmp_path / "results")!r}])
"""
    (tmp_path / "interrupted.py").write_text(program)
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.splitlines()) == (3, ["Cancelled; nothing is left half-written."])


@pytest.mark.parametrize("module", ["CarotidLandmarkLib.cli", "carotid_training.cli"])
def test_an_interrupt_before_a_command_begins_ends_with_3_in_silence(tmp_path, module):
    (tmp_path / "asyncio.py").write_text('exec("raise KeyboardInterrupt")')
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_an_interrupt_while_the_arguments_are_read_ends_with_3_in_silence(run, monkeypatch):
    monkeypatch.setattr(cli.Command, "parse_args", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("info") == (3, "", [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info"]])
def test_a_stdout_that_takes_nothing_is_told_in_one_line(arguments):
    command = [sys.executable, "-m", "CarotidLandmarkLib.cli", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    words = "A file or the output can not be used (No space left on device); check the path and the disk."
    assert (done.returncode, done.stderr.splitlines()) == (2, [words])


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed otherwise elsewhere")
@pytest.mark.parametrize("arguments", [["--help"], ["info"]])
def test_a_reader_that_has_left_ends_it_in_silence(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "CarotidLandmarkLib.cli", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_dicom_report_of_an_earlier_detection_does_not_stay_beside_another(run, scan, model, tmp_path, write_dicom):
    write_dicom(scan_volume(), tmp_path / "ct")
    settings = ("-o", tmp_path / "r", "--model", model, "--passes", 2)
    assert run("detect", tmp_path / "ct", "--sr", *settings)[0] == 0
    assert (tmp_path / "r" / "landmarks.dcm").exists()
    code, _, err = run("detect", scan, *settings)
    assert code == 0 and "Note: landmarks.dcm of an earlier detection was removed" in err[-1]
    assert not (tmp_path / "r" / "landmarks.dcm").exists()


def test_a_fault_of_ours_ends_with_1_and_names_the_log(run, scan, model, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("division by zero in M\udcfcller.nrrd")

    monkeypatch.setattr(Detector, "_results", fail)
    code, out, err = run("detect", scan, "-o", tmp_path / "results", "--model", model)
    assert (code, out, len(err)) == (1, "", 1)
    log = Path(err[0].split()[-1].rstrip("."))
    text = log.read_text()
    log.unlink()
    assert "Traceback" in text
    assert "division by zero in M\\udcfcller.nrrd" in text
    assert not (tmp_path / "results").exists()


def test_a_model_whose_calibration_lacks_a_factor_is_refused_before_anything_runs(run, scan, model, tmp_path):
    shutil.copytree(model, tmp_path / "broken")
    metadata = tmp_path / "broken" / "metadata.json"
    document = json.loads(metadata.read_text())
    document["calibration"] = {"0.9": {LEFT: {"n": 20}}}
    metadata.write_text(json.dumps(document))
    code, _, err = run("detect", scan, "-o", tmp_path / "results", "--model", metadata.parent)
    assert (code, len(err)) == (2, 1)
    assert "calibration has no factor" in err[0]


def test_notes_are_in_every_result_and_on_stderr(run, model, tmp_path):
    undirected = tmp_path / "undirected.nrrd"
    volume = scan_volume()
    sizes = " ".join(map(str, volume.size))
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nspacings: 2 2 2\nencoding: raw\nendian: little\n\n"
    undirected.write_bytes(header.encode() + volume.array.astype("<i2").tobytes())
    code, out, err = run("detect", undirected, "-o", tmp_path / "r", "--model", model, "--passes", 2, "--json")
    assert code == 0
    notes = json.loads(out)["notes"]
    assert sum("does not say which side is left" in note for note in notes) == 1
    assert err == [f"Note: {note}" for note in notes]
    assert run("report", undirected, tmp_path / "r" / "detection.json", "-o", tmp_path / "again.html")[0] == 0
    for page in (tmp_path / "r" / "report.html", tmp_path / "again.html"):
        assert all(note in page.read_text() for note in notes)


def test_the_settings_are_checked_before_the_model_is_opened(run, scan, model, tmp_path):
    code, _, err = run("detect", scan, "-o", tmp_path / "r", "--model", model, "--level", 1.5)
    assert (code, err) == (2, ["A confidence level lies between 0 and 1, for example 0.9; not at 1.5."])


def test_the_demo_finds_the_sample_s_bifurcations_and_names_its_files(run, tmp_path):
    code, out, _ = run("demo", "-o", tmp_path / "demo", "--device", "cpu")
    assert code == 0
    (truth_file,) = (resources_directory() / "SampleData").glob("*.truth.mrk.json")
    truth = read_markups(truth_file, LABELS)
    points = read_markups(tmp_path / "demo" / "landmarks.mrk.json", LABELS)
    errors = {name: math.dist(points[name], truth[name]) for name in LABELS}
    assert max(errors.values()) < 5
    for name, error in errors.items():
        (row,) = [line for line in out.splitlines() if LABELS[name] in line and "detected" in line]
        assert row.split()[-1] == f"{error:.1f}"
    for name in ("landmarks.mrk.json", "detection.json", "report.html", "scene.mrb", "scene-3d.png"):
        assert (tmp_path / "demo" / name).stat().st_size > 100
        assert str(tmp_path / "demo" / name) in out


def test_corrected_points_and_what_detect_has_not_written_are_not_replaced(run, scan, model, tmp_path):
    arguments = ("detect", scan, "-o", tmp_path / "r", "--model", model, "--passes", 4)
    assert run(*arguments)[0] == 0
    file = tmp_path / "r" / "landmarks.mrk.json"
    points = read_markups(file, LABELS)
    write_markups(file, points, LABELS)  # saved again, not moved
    assert run(*arguments)[0] == 0
    write_markups(file, {**points, LEFT: None}, LABELS)
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    code, _, err = run(*arguments)
    assert (code, len(err)) == (2, 1) and "landmarks.mrk.json in" in err[0] and "move it away" in err[0]
    assert {path: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_a_report_does_not_replace_what_is_no_page(run, scan, model, tmp_path):
    run("detect", scan, "-o", tmp_path / "r", "--model", model, "--passes", 4)
    before = scan.read_bytes()
    code, _, err = run("report", scan, tmp_path / "r" / "detection.json", "--output", scan)
    assert (code, len(err)) == (2, 1) and "ends with .html" in err[0]
    assert scan.read_bytes() == before


def test_results_do_not_go_into_a_dataset_and_not_into_a_folder_called_tilde(run, scan, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("add", "set", scan)[0] == 0
    for output, words in (("set/cases/r", "lies in the dataset set"), ("~/r", "begins with ~, which is your home")):
        code, _, err = run("detect", scan, f"--output={output}", "--model", model)
        assert (code, len(err)) == (2, 1) and words in err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["set"] and not (tmp_path / "set" / "cases" / "r").exists()


def test_results_of_which_one_can_not_be_replaced_stay_as_they_were(run, scan, model, tmp_path):
    (tmp_path / "r" / "report.html").mkdir(parents=True)
    code, _, err = run("detect", scan, "-o", tmp_path / "r", "--model", model, "--passes", 4)
    assert (code, len(err)) == (2, 1) and "report.html" in err[0]
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    "arguments",
    ["detect |", "detect a --output |", "detect a --output=", "detect a -o b --model=", "check |", "info |",
     "export a -o b --scan |", "cohort a --csv="],
)  # fmt: skip
def test_a_path_that_is_empty_is_not_taken_for_the_present_folder(run, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*(word.strip("|") for word in arguments.split()))
    assert (code, out, len(err)) == (2, "", 1) and "a path is empty: perhaps a variable that is not set" in err[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")
@pytest.mark.parametrize("closing", [">&-", "2>&-"])
def test_a_closed_stream_is_no_fault(scan, model, tmp_path, closing):
    command = [sys.executable, "-m", "CarotidLandmarkLib.cli", "detect", scan, "-o", tmp_path / "r", "--model", model]
    words = " ".join(shlex.quote(str(word)) for word in [*command, "--passes", 4, "--json"])
    done = subprocess.run(["sh", "-c", f"{words} {closing}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("" if closing == ">&-" else (tmp_path / "r" / "detection.json").read_text())


def test_who_has_no_home_folder_is_told_how_to_name_one(run, scan, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("CAROTID_LANDMARK_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    told = "You have no home folder here; name a folder of yours in CAROTID_LANDMARK_HOME."
    code, out, _ = run("info")  # the models that came with the program are there all the same
    assert code == 0 and "carotid-small" in out and told in caplog.text
    code, _, err = run("detect", scan, "--output", tmp_path / "out", "--model", "mine")
    assert (code, err) == (2, [told])


def test_the_report_can_be_made_again_and_not_from_another_scan(run, scan, model, tmp_path):
    run("detect", scan, "-o", tmp_path / "r", "--model", model, "--passes", 4)
    page = tmp_path / "again.html"
    code, out, _ = run("report", scan, tmp_path / "r" / "detection.json", "-o", page)
    assert (code, out.strip()) == (0, str(page))
    assert page.read_text() == (tmp_path / "r" / "report.html").read_text()
    other = scan_volume()
    moved = other.affine_lps + np.array([[0, 0, 0, 1.0], *np.zeros((3, 4))])
    turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ other.affine_lps
    for array, affine in ((other.array[:-4], other.affine_lps), (other.array, moved), (other.array, turned)):
        write_volume(Volume(array, affine), tmp_path / "other.nrrd")
        detection = tmp_path / "r" / "detection.json"
        code, _, err = run("report", tmp_path / "other.nrrd", detection, "-o", tmp_path / "no.html")
        assert (code, len(err)) == (2, 1) and "was made on another scan" in err[0]
        assert not (tmp_path / "no.html").exists()
    (tmp_path / "cut.json").write_text('{"schema_version": 1')
    assert run("report", scan, tmp_path / "cut.json", "-o", tmp_path / "no.html")[0] == 2
