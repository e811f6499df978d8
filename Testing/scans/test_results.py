"""Where the results of many scans go, what counts as done, and where none are put."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from CarotidLandmarkLib.detection import Detection, DetectionSettings, ModelInfo
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.markups import read_markups, write_markups
from CarotidLandmarkLib.scans import Scan, plan_results, tasks_of
from CarotidLandmarkLib.scans.results import _state_of
from CarotidLandmarkLib.volume import write_volume

from ..volume.writers import directory

MODEL, SETTINGS = ModelInfo("carotid", "1.0", "0" * 64), DetectionSettings()


@pytest.fixture
def scans(tmp_path) -> list[Scan]:
    """Three files, two of which have one name."""
    paths = [tmp_path / "in" / name for name in ("a/scan.nrrd", "b/scan.nrrd", "c/Übersicht 1.nrrd")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"NRRD0004")
    return [Scan(path, path.stem) for path in paths]


def folders(results) -> list[str]:
    return [Path(task.folder).name for task in results.tasks]


def test_scans_of_one_name_get_folders_of_their_own_and_keep_them_when_others_come(tmp_path, scans):
    output = tmp_path / "out"
    first = plan_results(output, scans[:1], MODEL, SETTINGS)
    assert folders(first) == ["scan"]
    assert not output.exists()
    first.begin()
    later = plan_results(output, scans, MODEL, SETTINGS)
    assert folders(later) == ["scan", "b_scan", "Übersicht_1"]
    assert [task.scan for task in later.tasks] == [str(scan.path) for scan in scans]
    later.begin()
    assert folders(plan_results(output, scans[::-1], MODEL, SETTINGS)) == folders(later)[::-1]
    few = plan_results(output, scans[1:2], MODEL, SETTINGS)
    assert {task.name for task in few.all_tasks()} == {"scan", "b_scan", "Übersicht_1"}


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, scans):
    (tmp_path / "out" / "SCAN").mkdir(parents=True)
    assert folders(plan_results(tmp_path / "out", scans[:1], MODEL, SETTINGS)) == ["scan-2"]


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/etc", "con:x", "summary.csv", "a" * 300, "頸動脈" * 80, "\udcff", "a\nb"]
)
def test_every_name_becomes_one_folder_inside_the_results(tmp_path, name):
    (task,) = plan_results(tmp_path / "out", [Scan(tmp_path / "x.nrrd", name)], MODEL, SETTINGS).tasks
    folder = Path(task.folder)
    assert folder.parent == tmp_path / "out"
    assert folder.name not in ("summary.csv", ".", "..") and not folder.name.startswith(".")
    folder.mkdir(parents=True)
    (tmp_path / "out" / f".tmp-{'0' * 12}-{folder.name}").mkdir()  # as it is written before it is there


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("con", "scan_con"),
        ("NUL", "scan_NUL"),
        ("aux.x", "scan_aux.x"),
        ("a" * 99 + ".b", "a" * 99),
        ("console", "console"),
    ],
)
def test_no_folder_is_called_as_windows_calls_a_device_or_ends_with_a_dot(tmp_path, name, expected):
    assert folders(plan_results(tmp_path / "out", [Scan(tmp_path / "x.nrrd", name)], MODEL, SETTINGS)) == [expected]


def test_results_of_another_model_or_other_settings_are_not_mixed(tmp_path, scans):
    plan_results(tmp_path / "out", scans, MODEL, SETTINGS).begin()
    others = {
        "passes 50, not passes 5": (MODEL, DetectionSettings(5)),
        "level 0.9, not level 0.5": (MODEL, DetectionSettings(level=0.5)),
        "seed 0, not seed 1": (MODEL, DetectionSettings(seed=1)),
        "carotid 1.0": (ModelInfo("carotid", "1.0", "1" * 64), SETTINGS),
    }
    for words, (model, settings) in others.items():
        with pytest.raises(UserError, match=words):
            plan_results(tmp_path / "out", scans, model, settings)


def test_a_record_that_is_damaged_is_named(tmp_path, scans):
    (tmp_path / "out").mkdir()
    for content in (b"{", b"\xff", json.dumps({"model": 3}).encode()):
        (tmp_path / "out" / "scans.json").write_bytes(content)
        with pytest.raises(UserError, match=r"scans\.json is damaged"):
            plan_results(tmp_path / "out", scans, MODEL, SETTINGS)


def test_no_results_are_put_into_a_scan_or_a_file(tmp_path, scans):
    folder = tmp_path / "dicom"
    folder.mkdir()
    for output in (folder, folder / "results", folder / "deep" / "results"):
        with pytest.raises(UserError, match="inside the scan"):
            plan_results(output, [Scan(folder, "dicom"), *scans], MODEL, SETTINGS)
    with pytest.raises(UserError, match="is a file"):
        plan_results(scans[0].path, scans, MODEL, SETTINGS)


@pytest.fixture
def detector(case_volume, make_detection):
    """What a detector would be that has found something in `case_volume`."""
    return SimpleNamespace(detect=lambda volume, settings, step, load_s: make_detection())


def run(task, detector):
    task.run(detector, lambda words, share: None)


def replaced_with_its_date(file: Path) -> None:
    """As ``cp -p`` and ``rsync -a`` replace a file: another one of the same size and date."""
    about, before = file.stat(), file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_scan_is_done_when_its_results_are_by_this_model_and_of_its_files_as_they_are(
    tmp_path, scans, case_volume, detector
):
    results = plan_results(tmp_path / "out", scans, MODEL, SETTINGS)
    results.begin()
    task, other = results.tasks[:2]
    write_volume(case_volume, task.scan)
    assert not task.is_done()
    run(task, detector)
    assert task.is_done() and not other.is_done()
    assert not plan_results(tmp_path / "new", scans, MODEL, DetectionSettings(7)).tasks[0].is_done()
    replaced_with_its_date(Path(task.scan))
    assert not task.is_done()
    write_volume(case_volume, task.scan)
    run(task, detector)
    Path(task.folder, "detection.json").write_text("{")
    assert not task.is_done()


def test_a_scan_is_another_when_its_detached_voxels_are_or_a_link_leads_to_another(tmp_path, case_volume, detector):
    for name, volume in (("one", case_volume), ("other", replace(case_volume, array=case_volume.array[::-1]))):
        write_volume(volume, tmp_path / f"{name}.mha")
    link = tmp_path / "scan.mha"
    link.symlink_to(tmp_path / "one.mha")
    start, _, voxels = (tmp_path / "one.mha").read_bytes().partition(b"ElementDataFile = LOCAL\n")
    (tmp_path / "apart.mhd").write_bytes(start + b"ElementDataFile = voxels.raw\n")
    (tmp_path / "voxels.raw").write_bytes(voxels)
    scans = [Scan(link, "link"), Scan(tmp_path / "apart.mhd", "apart")]
    linked, apart = plan_results(tmp_path / "out", scans, MODEL, SETTINGS).tasks
    run(linked, detector)
    run(apart, detector)
    assert linked.is_done() and apart.is_done()
    link.unlink()
    link.symlink_to(tmp_path / "other.mha")
    replaced_with_its_date(tmp_path / "voxels.raw")
    assert not linked.is_done() and not apart.is_done()


@pytest.mark.parametrize("scan", ["in", "linked", "in/DICOMDIR"])
def test_a_dicom_scan_is_another_when_files_that_are_read_came_went_or_were_replaced(tmp_path, scan):
    folder = tmp_path / "in" / "study" / "series"
    folder.mkdir(parents=True)
    directory(tmp_path / "in")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "here").symlink_to(tmp_path / "in")
    (tmp_path / "linked" / "nowhere").symlink_to("not-there")
    states = [_state_of(str(tmp_path / scan))]
    for change in (
        lambda: (folder / "1.dcm").write_bytes(b"one"),
        lambda: (folder / "2.dcm").write_bytes(b"two"),
        lambda: replaced_with_its_date(folder / "1.dcm"),
        lambda: (folder / "1.dcm").unlink(),
    ):
        change()
        states.append(_state_of(str(tmp_path / scan)))
    assert len(set(states)) == len(states)
    assert _state_of(str(tmp_path / scan)) == states[-1]


def test_a_scan_is_the_same_after_what_changes_no_voxel(tmp_path, write_dicom, case_volume, detector):
    folder = write_dicom(case_volume, tmp_path / "dicom")
    (task,) = plan_results(tmp_path / "out", [Scan(folder, "dicom")], MODEL, SETTINGS).tasks
    run(task, detector)
    some = next(folder.iterdir())
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", f"._{some.name}"):
        (folder / name).write_bytes(b"left by a system")
    assert task.is_done()
    os.link(some, tmp_path / "backup.dcm")
    some.chmod(0o600)
    os.utime(some)
    assert task.is_done() and task.has_changed() is False
    replaced_with_its_date(some)
    assert task.has_changed() and not task.is_done()


@pytest.mark.parametrize("hidden", [False, True])
def test_what_earlier_versions_noted_of_a_scans_files_still_counts(
    tmp_path, write_dicom, case_volume, detector, hidden
):
    folder = write_dicom(case_volume, tmp_path / "dicom")
    (task,) = plan_results(tmp_path / "out", [Scan(folder, "dicom")], MODEL, SETTINGS).tasks
    run(task, detector)
    if hidden:
        (folder / ".DS_Store").write_bytes(b"left by a system")
    noted = Path(task.folder, "scan.sha256")
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        about = file.stat()
        digest.update(os.fsencode(file) + b"\0" + repr((about.st_size, about.st_mtime_ns, about.st_ctime_ns)).encode())
    noted.write_text(digest.hexdigest() + "\n")
    assert task.is_done()
    os.utime(next(folder.iterdir()))
    assert not task.is_done()


def test_corrected_points_are_not_replaced_nor_those_that_are_corrected_meanwhile(
    tmp_path, scans, case_volume, detector
):
    (task,) = plan_results(tmp_path / "out", scans[:1], MODEL, SETTINGS).tasks
    write_volume(case_volume, task.scan)
    run(task, detector)
    run(task, detector)  # as a detection left them
    file = Path(task.folder, "landmarks.mrk.json")

    def correct() -> None:
        detection = Detection.from_json(Path(task.folder, "detection.json").read_bytes())
        points = read_markups(file, detection.labels)
        name = next(name for name, point in points.items() if point is not None)
        points[name] = (points[name][0] + 1.0, *points[name][1:])
        write_markups(file, points, detection.labels)

    correct_meanwhile = SimpleNamespace(detect=lambda *asked: (correct(), detector.detect(*asked))[1])
    before = []
    for each in (correct_meanwhile, detector):
        with pytest.raises(UserError, match="is not as a detection left it"):
            run(task, each)
        before.append(file.read_bytes())
    assert before[0] == before[1]
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "detection.json", "landmarks.mrk.json", "report.html", "scan.sha256", "thumbnail.png",
    ]  # fmt: skip


def test_of_two_commands_that_begin_at_once_neither_takes_the_others_folder_nor_its_place_in_the_record(
    tmp_path, scans
):
    first = plan_results(tmp_path / "out", scans[:1], MODEL, SETTINGS)
    second = plan_results(tmp_path / "out", scans[1:2], MODEL, SETTINGS)
    third = plan_results(tmp_path / "out", scans[2:], MODEL, SETTINGS)
    assert folders(first) == folders(second) == ["scan"]
    first.begin()
    with pytest.raises(UserError, match="its scan is another scan; give the same command again"):
        second.begin()
    third.begin()
    assert [task.scan for task in first.all_tasks()] == [str(scans[0].path), str(scans[2].path)]
    assert folders(plan_results(tmp_path / "out", scans, MODEL, SETTINGS)) == ["scan", "b_scan", "Übersicht_1"]


def test_of_commands_that_begin_at_the_same_moment_each_is_in_the_record_and_no_folder_is_of_two(tmp_path, scans):
    output, others = tmp_path / "out", [Scan(tmp_path / f"{number}.nrrd", f"{number}") for number in range(6)]
    plans = [plan_results(output, [scan], MODEL, SETTINGS) for scan in (*others, *scans[:2])]
    together = threading.Barrier(len(plans))

    def begin(plan) -> str:
        together.wait()
        try:
            plan.begin()
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(plans)) as pool:
        refusals = list(filter(None, pool.map(begin, plans)))
    assert len(refusals) == 1 and "its scan is another scan; give the same command again" in refusals[0]
    assert {task.name for task in tasks_of(output)} == {*"012345", "scan"}


def test_of_commands_that_begin_with_other_settings_the_second_is_refused(tmp_path, scans):
    first = plan_results(tmp_path / "out", scans[:1], MODEL, SETTINGS)
    second = plan_results(tmp_path / "out", scans[1:], MODEL, DetectionSettings(7))
    first.begin()
    with pytest.raises(UserError, match="holds results with passes 50, not passes 7"):
        second.begin()


@pytest.mark.parametrize("ahead_s", [0, 7200, -7200])
def test_what_a_killed_program_left_is_removed_and_what_is_being_written_is_not_whatever_the_clock_here_says(
    tmp_path, scans, monkeypatch, ahead_s
):
    output = tmp_path / "out"
    old, new, begun = (f".tmp-{digit * 12}-scan" for digit in "012")
    for name, age, last in (
        (old, 7200, 7200), (new, 5, 5), (begun, 7200, 5), ("mine", 7200, 7200), (".tmp-backup", 7200, 7200),
    ):  # fmt: skip
        (output / name).mkdir(parents=True)
        (output / name / "report.html").write_text("half")
        os.utime(output / name / "report.html", (time.time() - last,) * 2)
        os.utime(output / name, (time.time() - age,) * 2)
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() + ahead_s)
    plan_results(output, scans, MODEL, SETTINGS).begin()
    names = {path.name for path in output.iterdir()}
    assert names - {".scans.lock"} == {new, begun, ".tmp-backup", "mine", "scans.json"}


def test_one_key_is_one_result(tmp_path, scans):
    keys = {task.key for task in plan_results(tmp_path / "out", scans, MODEL, SETTINGS).tasks}
    assert len(keys) == 3
    assert keys == {task.key for task in plan_results(tmp_path / "out", scans, MODEL, SETTINGS).tasks}
    assert keys.isdisjoint(task.key for task in plan_results(tmp_path / "new", scans, MODEL, SETTINGS).tasks)
