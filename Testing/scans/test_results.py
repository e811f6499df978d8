"""Where the results of many scans go, what counts as done, and where none are put."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from CarotidLandmarkLib.detection import DetectionSettings, ModelInfo
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.report import write_results
from CarotidLandmarkLib.scans import Scan, plan_results

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
    assert {task.name for task in few.all_tasks} == {"scan", "b_scan", "Übersicht_1"}


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


def test_a_scan_is_done_when_its_results_are_by_this_model_and_newer_than_it(
    tmp_path, scans, case_volume, make_detection
):
    results = plan_results(tmp_path / "out", scans, MODEL, SETTINGS)
    results.begin()
    task, other = results.tasks[:2]
    assert not task.is_done()
    Path(task.folder).mkdir()
    write_results(Path(task.folder), case_volume, make_detection())
    assert task.is_done() and not other.is_done()
    assert not plan_results(tmp_path / "new", scans, MODEL, DetectionSettings(7)).tasks[0].is_done()
    later = os.stat(Path(task.folder, "detection.json")).st_mtime + 10
    os.utime(task.scan, (later, later))
    assert not task.is_done()
    os.utime(task.scan, (0, 0))
    Path(task.folder, "detection.json").write_text("{")
    assert not task.is_done()


def test_a_dicom_folder_is_newer_when_files_came_to_any_folder_below_it(tmp_path, case_volume, make_detection):
    (tmp_path / "in" / "study" / "series").mkdir(parents=True)
    results = plan_results(tmp_path / "out", [Scan(tmp_path / "in", "in")], MODEL, SETTINGS)
    (task,) = results.tasks
    Path(task.folder).mkdir(parents=True)
    write_results(Path(task.folder), case_volume, make_detection())
    assert task.is_done()
    later = os.stat(Path(task.folder, "detection.json")).st_mtime + 10
    os.utime(tmp_path / "in" / "study" / "series", (later, later))
    assert not task.is_done()


def test_what_a_killed_program_left_is_removed_and_what_is_being_written_is_not(tmp_path, scans):
    output = tmp_path / "out"
    for name, age in ((".tmp-old-scan", 7200), (".tmp-new-scan", 5), ("mine", 7200)):
        (output / name).mkdir(parents=True)
        (output / name / "report.html").write_text("half")
        os.utime(output / name, (time.time() - age,) * 2)
    plan_results(output, scans, MODEL, SETTINGS).begin()
    assert sorted(path.name for path in output.iterdir()) == [".tmp-new-scan", "mine", "scans.json"]


def test_one_key_is_one_result(tmp_path, scans):
    keys = {task.key for task in plan_results(tmp_path / "out", scans, MODEL, SETTINGS).tasks}
    assert len(keys) == 3
    assert keys == {task.key for task in plan_results(tmp_path / "out", scans, MODEL, SETTINGS).tasks}
    assert keys.isdisjoint(task.key for task in plan_results(tmp_path / "new", scans, MODEL, SETTINGS).tasks)
