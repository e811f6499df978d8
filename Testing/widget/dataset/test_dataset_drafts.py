"""Nothing that an annotator does to a case is lost: not by a kill, not by stepping on, not by another annotator."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import check_dataset
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import case_shown, cells, drag_left_point, load_scene, nodes_shown, press, type_name
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from scene_cases import LEFT, LEFT_LPS, RIGHT

SURE, UNSURE, ALARMED = "sure", "unsure", "alarmed"  # the cases of the fixture `dataset`


def kill_and_start_again(widget):
    """What a new process finds: an empty scene, no memory of the dataset, only the files."""
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    assert widget.ui.caseLabel.text == "No dataset is open."


def test_a_correction_that_was_not_saved_when_the_program_was_killed_is_offered_and_comes_back(
    widget, opened_dataset, choose, application
):
    import qt

    place = drag_left_point(widget, application)
    assert widget.ui.caseLabel.text.endswith("This one is not saved yet.")
    kill_and_start_again(widget)
    assert opened_dataset.case(ALARMED).annotators() == []
    application.answers = [qt.QMessageBox.Yes]
    type_name(widget, "anna")
    choose(opened_dataset.path)
    assert f"Work on case {ALARMED} of 20" in application.asked[0]
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)
    assert cells(widget, 0)["Status"].startswith("reviewed by anna, moved")
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(place)
    assert list(opened_dataset.path.rglob("*.draft.json")) == []


def test_a_comment_that_is_being_typed_when_the_program_is_killed_comes_back(
    widget, opened_dataset, choose, application
):
    import qt

    QTest.keyClicks(widget.ui.commentLineEdit, "plaq")
    kill_and_start_again(widget)
    application.answers = [qt.QMessageBox.Yes]
    type_name(widget, "anna")
    choose(opened_dataset.path)
    assert widget.ui.commentLineEdit.text == "plaq"


def test_work_that_is_not_wanted_back_is_discarded(widget, opened_dataset, choose, application):
    import qt

    drag_left_point(widget, application)
    kill_and_start_again(widget)
    application.answers = [qt.QMessageBox.No]
    type_name(widget, "anna")
    choose(opened_dataset.path)
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(LEFT_LPS)
    assert list(opened_dataset.path.rglob("*.draft.json")) == []


def test_a_kill_between_annotation_and_the_end_of_its_draft_asks_nothing(widget, opened_dataset, choose, application):
    drag_left_point(widget, application)
    press(application, Qt.Key.Key_L)
    folder = opened_dataset.case(ALARMED).folder / "annotations"
    drafts = []
    save = widget.dataset._shown.dataset.save_annotation

    def save_and_note(*arguments):
        drafts.append((folder / "anna.draft.json").read_text())
        return save(*arguments)

    widget.dataset._shown.dataset.save_annotation = save_and_note
    press(application, Qt.Key.Key_S)
    (folder / "anna.draft.json").write_text(drafts[0])
    kill_and_start_again(widget)
    type_name(widget, "anna")
    choose(opened_dataset.path)
    widget.ui.previousCaseButton.click()
    assert case_shown(widget) == ALARMED
    assert application.asked == []
    assert not (folder / "anna.draft.json").exists()


def test_undoing_every_change_leaves_nothing_unsaved(widget, opened_dataset, application):
    drag_left_point(widget, application)
    assert len(list(opened_dataset.path.rglob("*.draft.json"))) == 1
    press(application, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert list(opened_dataset.path.rglob("*.draft.json")) == []
    assert widget.ui.caseLabel.text == "necks: case 1 of 3, 0 reviewed."


@pytest.mark.parametrize(
    ("answer", "shown", "annotators", "drafts"),
    [("Yes", UNSURE, ["anna"], 0), ("No", UNSURE, [], 1), ("Cancel", ALARMED, [], 1)],
)
def test_an_unsaved_correction_does_not_leave_the_scene_without_a_question(
    widget, opened_dataset, application, answer, shown, annotators, drafts
):
    import qt

    drag_left_point(widget, application)
    application.answers = [getattr(qt.QMessageBox, answer)]
    press(application, Qt.Key.Key_N)
    assert f"Your work on case {ALARMED} is not saved" in application.asked[0]
    assert case_shown(widget) == shown
    assert opened_dataset.case(ALARMED).annotators() == annotators
    assert len(list(opened_dataset.path.rglob("*.draft.json"))) == drafts


def test_without_a_name_no_case_is_opened_and_with_one_typed_the_first_is(widget, dataset, choose):
    choose(dataset.path)
    assert widget.ui.statusLabel.text == "Type your name in the field Annotator first: your work is kept under it."
    assert widget.ui.caseLabel.text == "necks: 3 cases, 0 reviewed."
    assert widget.logic.volumes() == []
    type_name(widget, "anna")
    assert case_shown(widget) == ALARMED


@pytest.mark.parametrize(("name", "words"), [("", "Type your name"), ("Dr. No", "must be English letters")])
def test_a_name_that_is_missing_or_unfit_saves_nothing_and_says_so(widget, opened_dataset, application, name, words):
    place = drag_left_point(widget, application)
    type_name(widget, name)
    press(application, Qt.Key.Key_S)
    assert words in widget.ui.statusLabel.text
    assert case_shown(widget) == ALARMED
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)
    assert opened_dataset.case(ALARMED).annotators() == []


def test_two_annotators_do_not_see_or_overwrite_each_other(widget, opened_dataset, application):
    place = drag_left_point(widget, application)
    press(application, Qt.Key.Key_S)
    type_name(widget, "ben")
    assert widget.ui.caseLabel.text.endswith("of 3, 0 reviewed.")
    widget.ui.previousCaseButton.click()
    assert case_shown(widget) == ALARMED
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(LEFT_LPS)
    assert review_of(nodes_shown(widget)).status == {LEFT: "predicted", RIGHT: "predicted"}
    press(application, Qt.Key.Key_S)
    both = opened_dataset.case(ALARMED).truth_annotations
    assert both["anna"].points[LEFT] == pytest.approx(place)
    assert both["ben"].points[LEFT] == pytest.approx(LEFT_LPS)


def test_another_name_while_work_is_unsaved_leaves_it_to_the_one_who_did_it(widget, opened_dataset, application):
    import qt

    place = drag_left_point(widget, application)
    type_name(widget, "ben")
    assert case_shown(widget) == ALARMED
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(LEFT_LPS)
    application.answers = [qt.QMessageBox.Yes]
    type_name(widget, "anna")
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)


def test_ones_own_annotation_is_shown_on_top_of_the_prediction(widget, dataset, choose):
    points = {LEFT: (20.0, -8.0, 4.0), RIGHT: None}
    dataset.save_annotation(ALARMED, "anna", points, {LEFT: "corrected", RIGHT: "missing"}, comment="seen")
    type_name(widget, "anna")
    choose(dataset.path)
    assert case_shown(widget) == UNSURE
    assert widget.ui.caseLabel.text == "necks: case 1 of 3, 1 reviewed."
    widget.ui.previousCaseButton.click()
    assert case_shown(widget) == ALARMED
    assert cells(widget, 0)["Status"] == "reviewed by anna, moved 8.0 mm"
    assert cells(widget, 1)["Status"] == "missing, says anna"
    assert widget.ui.commentLineEdit.text == "seen"


@pytest.mark.parametrize("clear", [False, True])
def test_a_saved_scene_knows_its_dataset_and_its_case(widget, opened_dataset, application, tmp_path, clear):
    place = drag_left_point(widget, application)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "saved.mrb")
    kill_and_start_again(widget)
    load_scene(widget, tmp_path / "saved.mrb", clear)
    assert widget.ui.caseLabel.text == "necks: case 1 of 3, 0 reviewed. This one is not saved yet."
    assert application.asked == []
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(place, abs=1e-3)


def test_a_disk_that_can_not_be_written_is_named_and_the_correction_stays(widget, opened_dataset, application):
    folder = opened_dataset.case(ALARMED).folder / "annotations"
    folder.write_text("in the way")
    place = drag_left_point(widget, application)
    assert "The dataset can not be read or written" in widget.ui.statusLabel.text
    press(application, Qt.Key.Key_S)
    assert "The folder annotations of alarmed can not be listed" in widget.ui.statusLabel.text
    assert case_shown(widget) == ALARMED
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)


def test_a_draft_holds_no_name_of_the_scan_or_of_its_folder(opened_dataset, widget, application):
    drag_left_point(widget, application)
    (file,) = opened_dataset.path.rglob("*.draft.json")
    document = json.loads(file.read_text())
    assert set(document) == {"time", "comment", "ask_colleague", "landmarks"}
    assert np.isfinite(document["landmarks"][LEFT]["position_lps_mm"]).all()


CHILD = """
import os, signal, sys, types
sys.path[:0] = sys.argv[1:3]
import conftest, panel_steps, qt
application = conftest.APPLICATION
widget = application.open_module(conftest.MODULE)
panel_steps.type_name(widget, "anna")
widget.dataset.open_folder(sys.argv[3])
place = panel_steps.drag_left_point(widget, application)
print(*place, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_program_killed_right_after_a_drag_has_lost_nothing(widget, dataset, choose, application):
    import qt

    here = Path(__file__).parents[1]
    arguments = [sys.executable, "-c", CHILD, str(here), str(here.parent / "scene"), str(dataset.path)]
    child = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert child.returncode == -9, child.stderr
    place = [float(word) for word in child.stdout.split()]
    assert check_dataset(dataset) == []
    application.answers = [qt.QMessageBox.Yes]
    type_name(widget, "anna")
    choose(dataset.path)
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)
    assert math.dist(place, LEFT_LPS) > 5.0
