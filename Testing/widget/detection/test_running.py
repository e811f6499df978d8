"""Detections that really run, in their child process: progress, results, cancel, and what may go wrong meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.bundle import BundleError
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.job import DetectionCancelled, DetectionFailed, DetectionJob, JobProgress, JobSettings
from CarotidLandmarkLib.job.job import sweep
from CarotidLandmarkLib.panel import logic as logic_module
from CarotidLandmarkLib.panel.results import progress_words
from CarotidLandmarkLib.scene.review import review_of
from CarotidLandmarkLib.volume import Volume
from panel_steps import cells, children, show
from scene_cases import LEFT, RIGHT, neck_volume


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch, tmp_path):
    """Other tests may be running detections of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def volume(widget):
    node = scene.add_volume(slicer.mrmlScene, neck_volume(5.0))
    widget.ui.inputSelector.setCurrentNode(node)
    widget.ui.deviceComboBox.setCurrentText("cpu")
    widget.ui.passesSpinBox.setValue(2)
    return node


def node_ids():
    return {slicer.mrmlScene.GetNthNode(n).GetID() for n in range(slicer.mrmlScene.GetNumberOfNodes())}


def job_folders():
    return set(Path(tempfile.gettempdir()).glob("carotid-landmark-*/job.json"))


def run_until(application, widget, words, timeout_s=60.0):
    application.wait_until(lambda: words in widget.ui.statusLabel.text, timeout_s)


def test_detect_tells_its_steps_and_puts_points_ellipsoids_and_table_into_the_scene(widget, volume, application):
    texts = []
    widget.ui.detectButton.click()
    assert widget.ui.detectButton.text == "Cancel"
    assert widget.ui.progressBar.visible
    while widget.logic.running:
        application.processEvents()
        texts.append(widget.ui.statusLabel.text)
        time.sleep(0.005)
    steps = [words.split(",")[0] for words in dict.fromkeys(texts)]
    order = ["reading", "starting", "resampling", "coarse", "brighter", "enlarged", "pass 1 of 2", "done", "Done."]
    assert steps == [step for step in order if step in steps]  # a quick step may be over before it is shown
    assert len(steps) > 2 and steps[-1] == "Done."
    assert any("s left" in words for words in texts)
    assert widget.ui.detectButton.text == "Detect"
    assert not widget.ui.progressBar.visible
    nodes = scene.find_detection(volume)
    assert [landmark.status for landmark in nodes.detection.landmarks] == ["detected", "detected"]
    assert nodes.detection.passes == 2
    assert nodes.detection.volume.path == "neck"
    assert widget.ui.resultsTable.rowCount == 2
    assert cells(widget, 0)["Status"] in ("ok", "review", "reject")
    assert review_of(nodes).status == {LEFT: "predicted", RIGHT: "predicted"}
    assert widget.table.row() == 0
    assert children() == []


@pytest.mark.parametrize(
    ("step", "remaining_s", "words"),
    [
        ("reading", None, "reading"),
        ("coarse", 12.4, "coarse, about 12 s left"),
        ("pass 12 of 50", 3.0, "pass 12 of 50, about 3 s left"),
        ("0.5 mm", 0.2, "0.5 mm, about 1 s left"),
    ],
)
def test_progress_is_told_in_words_and_remaining_time(step, remaining_s, words):
    assert progress_words(JobProgress(step, 0.5, remaining_s)) == words


def test_cancel_returns_within_a_second_and_leaves_the_scene_as_it_was(widget, volume, application):
    before, folders = node_ids(), job_folders()
    widget.ui.passesSpinBox.setValue(500)
    widget.ui.detectButton.click()
    run_until(application, widget, "pass ")
    assert len(children()) == 1
    began = time.monotonic()
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert time.monotonic() - began < 1.0
    assert node_ids() == before
    assert children() == []
    assert job_folders() == folders
    assert widget.ui.statusLabel.text == "Cancelled. The scene is as it was."


def test_the_event_loop_never_stalls_for_half_a_second_with_a_large_scan(widget, application):
    array = np.random.default_rng(0).integers(-1000, 1500, size=(160, 400, 400), dtype=np.int16)
    affine = np.diag([0.25, 0.25, 0.25, 1.0])
    node = scene.add_volume(slicer.mrmlScene, Volume(array, affine, "large"))
    widget.ui.inputSelector.setCurrentNode(node)
    widget.ui.passesSpinBox.setValue(2)
    application.processEvents()
    longest = longest_stall(
        application, widget, lambda: "pass " in widget.ui.statusLabel.text or not widget.logic.running
    )
    widget.logic.cancel()
    assert longest < 0.5


def clock():
    """Seconds, without those in which this thread wanted to run but other programs had the processors (Linux)."""
    schedule = Path("/proc/thread-self/schedstat")
    waited_ns = int(schedule.read_text().split()[1]) if schedule.exists() else 0
    return time.monotonic() - waited_ns * 1e-9


def longest_stall(application, widget, enough):
    """Press Detect and let the event loop turn until ``enough()``: the longest time (s) for which it did not."""
    longest, last = 0.0, clock()
    widget.ui.detectButton.click()
    while not enough():
        application.processEvents()
        now = clock()
        longest, last = max(longest, now - last), now
        time.sleep(0.002)
    return longest


def test_the_event_loop_does_not_stall_when_the_result_arrives(widget, volume, application):
    assert longest_stall(application, widget, lambda: not widget.logic.running) < 0.5
    assert scene.find_detection(volume) is not None


@pytest.mark.parametrize("how", ["removed", "closed"])
def test_a_scan_that_goes_away_meanwhile_ends_the_run_and_says_so(widget, volume, application, how):
    widget.ui.detectButton.click()
    run_until(application, widget, "starting")
    if how == "removed":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        slicer.mrmlScene.Clear(0)
    application.wait_until(lambda: not widget.logic.running, 2.0)
    assert children() == []
    assert scene.find_detections(slicer.mrmlScene) == []
    assert ("was removed" if how == "removed" else "Cancelled") in widget.ui.statusLabel.text


def test_python_callers_wait_for_the_detection_and_get_it(widget, volume):
    detection = widget.logic.detect(volume, passes=2, level=0.5, seed=4, device="cpu")
    assert (detection.passes, detection.seed, detection.device) == (2, 4, "cpu")
    assert detection[LEFT].confidence.level == 0.5
    assert scene.find_detection(volume).detection == detection


def test_the_module_gives_the_answer_of_the_library(widget, volume, tiny):
    from CarotidLandmarkLib.detector import Detector

    there = widget.logic.detect(volume, passes=2, seed=4, device="cpu")
    here = Detector(tiny, "cpu").detect(neck_volume(5.0), DetectionSettings(passes=2, seed=4))
    for name in (LEFT, RIGHT):
        assert there[name].position_lps_mm == pytest.approx(here[name].position_lps_mm, abs=0.01)
        assert there[name].confidence.volume_mm3 == pytest.approx(here[name].confidence.volume_mm3, rel=1e-3)


def test_a_second_run_is_refused_while_one_is_running(widget, volume, application):
    widget.ui.detectButton.click()
    with pytest.raises(DetectionFailed, match="running already"):
        widget.logic.detect(volume)
    assert widget.logic.running
    widget.logic.cancel()


def test_a_run_cancelled_under_a_waiting_caller_raises(widget, volume):
    import qt

    qt.QTimer.singleShot(300, widget.logic.cancel)
    with pytest.raises(DetectionCancelled):
        widget.logic.detect(volume, passes=500)


def test_what_can_not_be_used_is_refused_in_one_sentence(widget, volume):
    with pytest.raises(scene.SceneError, match="No volume"):
        widget.logic.detect(None)
    with pytest.raises(BundleError, match="no model 'absent 9'"):
        widget.logic.detect(volume, model="absent 9")
    bend = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    bend.SetAndObserveTransformToParent(slicer.vtkOrientedBSplineTransform())
    volume.SetAndObserveTransformNodeID(bend.GetID())
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert "nonlinear transform" in widget.ui.statusLabel.text


def test_a_scan_that_is_no_ct_is_refused_by_the_detector_in_one_sentence(widget, application):
    node = scene.add_volume(slicer.mrmlScene, Volume(np.ones((20, 20, 20), np.float32).cumsum(0), np.eye(4), "grey"))
    widget.ui.inputSelector.setCurrentNode(node)
    widget.ui.detectButton.click()
    application.wait_until(lambda: not widget.logic.running)
    assert "can not be Hounsfield units" in widget.ui.statusLabel.text
    assert scene.find_detection(node) is None


def test_a_detector_that_is_killed_for_memory_takes_nothing_along(widget, volume, application):
    widget.ui.passesSpinBox.setValue(500)
    widget.ui.detectButton.click()
    run_until(application, widget, "reading")
    application.wait_until(lambda: len(children()) == 1)
    os.kill(children()[0].pid, signal.SIGKILL)
    application.wait_until(lambda: not widget.logic.running)
    assert "lack of memory" in widget.ui.statusLabel.text
    assert widget.ui.detectButton.text == "Detect"


LAUNCHER = """#!{python}
import subprocess, sys
code = subprocess.call([{python!r}, *sys.argv[1:]])
if code < 0:
    sys.stderr.write("error: [python-real] exit abnormally - Report the problem.\\n")
sys.exit(1 if code < 0 else code)
"""


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """As PythonSlicer in the application: a program that starts the interpreter as a child and waits for it."""
    path = tmp_path / "PythonSlicer"
    path.write_text(LAUNCHER.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setattr(logic_module, "pythonExecutable", lambda: str(path))
    return path


def grandchildren():
    every = psutil.Process().children(recursive=True)
    return [child for child in every if child.status() != "zombie" and "job.worker" in " ".join(child.cmdline())]


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
def test_cancel_ends_the_interpreter_behind_a_launcher_before_its_folder_goes(widget, volume, application, launcher):
    widget.ui.passesSpinBox.setValue(500)
    widget.ui.detectButton.click()
    run_until(application, widget, "pass ")
    assert len(grandchildren()) == 2
    (folder,) = {place.parent for place in job_folders()}
    worker = grandchildren()[-1]
    widget.ui.detectButton.click()
    assert not psutil.pid_exists(worker.pid) or worker.status() == "zombie"
    assert not folder.exists()
    assert widget.ui.statusLabel.text == "Cancelled. The scene is as it was."


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
def test_a_detector_killed_for_memory_behind_a_launcher_is_told_as_such(widget, volume, application, launcher):
    widget.ui.passesSpinBox.setValue(500)
    widget.ui.detectButton.click()
    run_until(application, widget, "pass ")
    os.kill(grandchildren()[-1].pid, signal.SIGKILL)
    application.wait_until(lambda: not widget.logic.running)
    assert "lack of memory" in widget.ui.statusLabel.text


LACKING = """#!{python}
import runpy, sys
import torch
from CarotidLandmarkLib import detector
detector.Pyramid = lambda *_: torch.empty(10**15)
sys.argv = sys.argv[-2:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
def test_a_detector_that_is_refused_memory_says_so(widget, volume, application, launcher):
    launcher.write_text(LACKING.format(python=sys.executable))
    widget.ui.detectButton.click()
    application.wait_until(lambda: not widget.logic.running, 120)
    assert widget.ui.statusLabel.text.startswith("There is too little memory for this; close other programs")


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
def test_what_a_library_prints_is_no_word_of_the_detector(widget, volume, application, launcher):
    launcher.write_text(f"#!/bin/sh\necho 'MKL WARNING: hello'\nexec {sys.executable} \"$@\"\n")
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.detectButton.click()
    application.wait_until(lambda: not widget.logic.running, 120)
    assert widget.ui.statusLabel.text == "Done."


def test_a_folder_that_can_not_be_removed_yet_goes_later(tiny, monkeypatch):
    voxels = neck_volume(5.0)
    job = DetectionJob(voxels.array, voxels.affine_lps, "neck", JobSettings(tiny.path))
    (folder,) = {place.parent for place in job_folders()}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_arguments, **_how: None)  # as while Windows holds a file open
        job.cancel()
    assert folder.exists()
    sweep()
    assert not folder.exists()


@pytest.mark.parametrize("when", ["at the start", "while voxels are written"])
def test_a_full_disk_ends_a_detection_in_a_sentence_and_leaves_no_folder(tiny, monkeypatch, when):
    voxels, write = neck_volume(5.0), Path.write_text

    def full(*_arguments, **_keywords):
        raise OSError(28, "No space left on device")

    with pytest.raises(DetectionFailed, match=r"can not be written \(No space left on device\); free some space"):
        if when == "at the start":
            monkeypatch.setattr(Path, "write_text", full)
        job = DetectionJob(voxels.array, voxels.affine_lps, "neck", JobSettings(tiny.path))
        monkeypatch.setattr(Path, "open", full)
        job.poll()
    monkeypatch.setattr(Path, "write_text", write)
    assert job_folders() == set()
    assert list(Path(tempfile.gettempdir()).glob("carotid-landmark-*")) == []


def test_an_interpreter_that_is_not_there_is_said(tiny, tmp_path):
    voxels = neck_volume(5.0)
    job = DetectionJob(voxels.array, voxels.affine_lps, "neck", JobSettings(tiny.path), str(tmp_path / "no-python"))
    with pytest.raises(DetectionFailed, match=r"own Python can not be started \(No such file"):
        for _ in range(5):
            job.poll()
    assert job_folders() == set()


def test_the_detector_ends_well_though_the_application_is_too_busy_to_look(tiny):
    voxels = neck_volume(5.0)
    job = DetectionJob(voxels.array, voxels.affine_lps, "neck", JobSettings(tiny.path, passes=2))
    try:
        while job._process is None:
            job.poll()
        assert job._process.wait(60) == 0
        assert job.poll() is not None
    finally:
        job.cancel()


def test_the_detector_ends_when_the_application_does(tiny):
    voxels = neck_volume(5.0)
    job = DetectionJob(voxels.array, voxels.affine_lps, "neck", JobSettings(tiny.path, passes=500))
    while not children():
        job.poll()
    child = children()[0]
    job._process.stdin.close()  # what the end of the application does to a pipe
    child.wait(20)
    job.cancel()


def test_a_new_detection_takes_the_place_of_an_older_one_of_the_same_scan(widget, application):
    nodes = show(widget)
    widget.table.select(0)
    widget.ui.acceptButton.click()
    detection = widget.logic.detect(nodes.volume, passes=2, device="cpu")
    (again,) = scene.find_detections(slicer.mrmlScene)
    assert again.points is nodes.points
    assert again.detection == detection
    assert review_of(again).status == {LEFT: "accepted", RIGHT: "predicted"}
    assert scene.position_lps(again, 0) != pytest.approx(detection[LEFT].position_lps_mm)
    assert scene.position_lps(again, 1) == pytest.approx(detection[RIGHT].position_lps_mm)


def test_the_level_that_is_chosen_while_a_detection_runs_is_that_of_its_regions(widget, volume, application):
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.detectButton.click()
    widget.ui.levelSlider.setValue(0.5)
    application.wait_until(lambda: not widget.logic.running, 120)
    regions = [landmark.confidence for landmark in widget.nodes.detection.landmarks]
    assert {region.level for region in regions if region} == {0.5}
