"""The annotator's loop through a dataset, with mouse and keys: open, correct, save and next; nothing is ever lost."""

from __future__ import annotations

import json
import math
import types

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detection import Quality
from CarotidLandmarkLib.scene_review import review_of
from panel_steps import cells, drag, pixel_of, press, show
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, make_detection, neck_volume

SURE, UNSURE, ALARMED = "sure", "unsure", "alarmed"


@pytest.fixture
def dataset(tmp_path):
    """Three predicted cases: the region of `UNSURE` is wide, the verdict on `ALARMED` is not ok."""
    dataset = Dataset.create(tmp_path / "necks", (LEFT, RIGHT))
    for case_id, scale, quality in ((SURE, 1, "ok"), (UNSURE, 2, "ok"), (ALARMED, 1, "review")):
        dataset.add_case(neck_volume(5.0), case_id)
        dataset.save_prediction(case_id, make_detection(scale=scale, quality=Quality(quality)))
    return dataset


@pytest.fixture
def choose(widget, monkeypatch):
    """Press Open or create and choose a folder."""
    import qt

    def choose(folder):
        chosen = types.SimpleNamespace(getExistingDirectory=lambda *_: str(folder))
        monkeypatch.setattr(qt, "QFileDialog", chosen)
        widget.ui.openDatasetButton.click()

    return choose


@pytest.fixture
def opened_dataset(widget, dataset, choose):
    """The dataset, opened by anna: its most uncertain case is shown."""
    type_name(widget, "anna")
    choose(dataset.path)
    return dataset


def type_name(widget, name):
    line = widget.ui.annotatorLineEdit
    line.clear()
    QTest.keyClicks(line, name)
    QTest.keyClick(line, Qt.Key.Key_Return)


def case_shown(widget):
    return widget.ui.inputSelector.currentNode().GetName()


def nodes_shown(widget):
    return scene.find_detection(widget.ui.inputSelector.currentNode())


def drag_left_point(widget, application):
    """Drag it 40 pixels to the patient's left and 20 backwards in the axial view; returns where it is then."""
    nodes = nodes_shown(widget)
    place = scene.to_ras(scene.position_lps(nodes, 0))
    red = application.layoutManager().widgets["Red"]
    red.view.look_at(place, 90.0)
    red.view.pixels()
    start = pixel_of(red, place)
    drag(application, red, start, start + QPoint(40, 20))
    return scene.position_lps(nodes, 0)


def kill_and_start_again(widget):
    """What a new process finds: an empty scene, no memory of the dataset, only the files."""
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    assert widget.ui.caseLabel.text == "No dataset is open."


def test_opening_shows_the_most_uncertain_case_first_and_next_goes_down_the_queue(widget, opened_dataset, application):
    assert case_shown(widget) == ALARMED
    assert widget.ui.caseLabel.text == "necks: case 1 of 3, 0 reviewed."
    assert cells(widget, 0)["Status"] == "predicted"
    assert widget.table.row() == 0
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == UNSURE
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == SURE
    assert widget.ui.caseLabel.text == "necks: case 3 of 3, 0 reviewed."
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == ALARMED
    press(application, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert case_shown(widget) == SURE
    assert application.asked == []


def test_save_and_next_by_one_key_writes_what_is_shown_and_opens_the_next_case(widget, opened_dataset, application):
    press(application, Qt.Key.Key_S)
    saved = opened_dataset.case(ALARMED).annotation("anna")
    assert saved.status == {LEFT: "accepted", RIGHT: "accepted"}
    assert saved.points[LEFT] == pytest.approx(LEFT_LPS)
    assert saved.points[RIGHT] == pytest.approx(RIGHT_LPS)
    assert saved.moved_mm == {LEFT: 0.0, RIGHT: 0.0}
    assert saved.model == make_detection().model
    assert case_shown(widget) == UNSURE
    assert widget.ui.caseLabel.text == "necks: case 2 of 3, 1 reviewed."
    assert opened_dataset.check() == []


def test_after_the_last_case_save_and_next_says_that_all_are_reviewed(widget, opened_dataset, application):
    for _ in range(3):
        press(application, Qt.Key.Key_S)
    assert widget.ui.statusLabel.text == "Saved. You have reviewed all 3 cases."
    assert case_shown(widget) == SURE
    assert [opened_dataset.case(case_id).annotators() for case_id in opened_dataset.case_ids()] == [["anna"]] * 3
    assert cells(widget, 0)["Status"] == "accepted"


def test_a_moved_point_lands_in_the_annotation_with_its_distance_and_comment(widget, opened_dataset, application):
    place = drag_left_point(widget, application)
    QTest.keyClicks(widget.ui.commentLineEdit, "calcified")
    widget.ui.saveNextButton.click()
    saved = opened_dataset.case(ALARMED).annotation("anna")
    assert saved.status == {LEFT: "corrected", RIGHT: "accepted"}
    assert saved.points[LEFT] == pytest.approx(place)
    distance = math.dist(place, LEFT_LPS)
    assert distance > 5.0
    assert saved.moved_mm[LEFT] == pytest.approx(distance, abs=1e-3)
    assert saved.comment == "calcified"
    assert widget.ui.commentLineEdit.text == ""


def test_a_missing_landmark_and_a_dragged_point_that_was_accepted_are_saved_as_such(
    widget, opened_dataset, application
):
    drag_left_point(widget, application)
    widget.table.select(0)
    press(application, Qt.Key.Key_A)
    widget.table.select(1)
    press(application, Qt.Key.Key_M)
    press(application, Qt.Key.Key_S)
    saved = opened_dataset.case(ALARMED).annotation("anna")
    assert saved.status == {LEFT: "corrected", RIGHT: "missing"}
    assert saved.points[RIGHT] is None


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
    assert cells(widget, 0)["Status"].startswith("corrected, moved")
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


def test_a_day_of_cases_leaves_only_the_present_one_in_the_scene(widget, opened_dataset, application):
    widget.ui.vesselsButton.click()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    for _ in range(4):
        press(application, Qt.Key.Key_N)
        assert widget.ui.vesselsButton.checked
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert len(widget.logic.volumes()) == 1
    assert not widget.ui.undoButton.enabled
    widget.ui.closeDatasetButton.click()
    assert widget.logic.volumes() == []
    assert widget.ui.caseLabel.text == "No dataset is open."


def test_without_a_name_no_case_is_opened_and_with_one_typed_the_first_is(widget, dataset, choose):
    choose(dataset.path)
    assert widget.ui.statusLabel.text == "Type your name in the field Annotator first: your work is kept under it."
    assert widget.ui.caseLabel.text == "necks: 3 cases, 0 reviewed."
    assert widget.logic.volumes() == []
    type_name(widget, "anna")
    assert case_shown(widget) == ALARMED


@pytest.mark.parametrize(("name", "words"), [("", "Type your name"), ("Dr. No", "must be letters, digits")])
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
    both = opened_dataset.annotations(ALARMED)
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
    assert cells(widget, 0)["Status"] == "corrected, moved 8.0 mm"
    assert cells(widget, 1)["Status"] == "missing"
    assert widget.ui.commentLineEdit.text == "seen"


def test_the_order_can_be_changed_and_is_kept_with_the_scene(widget, opened_dataset, application):
    combo = widget.ui.orderComboBox
    combo.setCurrentIndex(2)
    shuffled = opened_dataset.review_queue("random")
    place = shuffled.index(ALARMED) + 1
    assert widget.ui.caseLabel.text == f"necks: case {place} of 3, 0 reviewed."
    assert widget.logic.getParameterNode().order == "random"
    rest = [case_id for case_id in shuffled if case_id != ALARMED]
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == rest[0]


@pytest.mark.parametrize("trouble", ["no dataset", "other landmarks", "gone"])
def test_a_folder_that_can_not_be_used_is_refused_in_a_sentence_and_the_case_stays(
    widget, opened_dataset, choose, tmp_path, trouble
):
    folder = tmp_path / "other"
    if trouble == "no dataset":
        folder.mkdir()
        (folder / "notes.txt").write_text("notes")
    if trouble == "other landmarks":
        Dataset.create(folder, ("hyoid",))
    words = {"other landmarks": "other is about hyoid, which no model here finds"}.get(trouble, "is not a dataset")
    before = slicer.mrmlScene.GetNumberOfNodes()
    choose(folder)
    assert words in widget.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert widget.ui.caseLabel.text == "necks: case 1 of 3, 0 reviewed."


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda image: image.unlink(), "is not here; restore it"),
        (lambda image: image.write_bytes(image.read_bytes()[:-1] + b"x"), "is not the one that was added"),
    ],
)
def test_a_case_whose_image_is_missing_or_another_is_named_and_can_be_passed(
    widget, opened_dataset, application, spoil, words
):
    spoil(opened_dataset.case(UNSURE).image_path)
    before = slicer.mrmlScene.GetNumberOfNodes()
    press(application, Qt.Key.Key_S)
    assert f"Case {UNSURE} can not be opened" in widget.ui.statusLabel.text
    assert words in widget.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert opened_dataset.case(ALARMED).annotators() == ["anna"]
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == SURE


def test_an_empty_folder_becomes_a_dataset_after_a_question_and_scans_are_added_with_their_points(
    widget, choose, tmp_path, application
):
    import qt

    folder = tmp_path / "new"
    folder.mkdir()
    application.answers = [qt.QMessageBox.Yes, qt.QMessageBox.Yes]
    type_name(widget, "anna")
    nodes = show(widget, name="Jane Doe")
    choose(folder)
    assert application.asked == ["new is empty. Make it a new dataset?"]
    assert "no case in this dataset yet" in widget.ui.statusLabel.text
    scene.set_position(nodes, 0, (20.0, -8.0, 4.0))
    widget.table.select(0)
    widget.ui.acceptButton.click()
    widget.ui.addCaseButton.click()
    (case_id,) = Dataset.open(folder).case_ids()
    assert widget.ui.statusLabel.text == f"Added as {case_id}, the last of the queue."
    assert not any(b"Jane" in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    widget.ui.addCaseButton.click()
    assert "in the dataset already" in widget.ui.statusLabel.text
    widget.ui.nextCaseButton.click()
    assert case_shown(widget) == case_id
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx((20.0, -8.0, 4.0))
    assert slicer.util.getNode("Jane Doe") is nodes.volume
    widget.ui.saveNextButton.click()
    assert Dataset.open(folder).case(case_id).annotation("anna").status == {LEFT: "corrected", RIGHT: "accepted"}
    assert Dataset.open(folder).check() == []


def test_no_to_that_question_leaves_the_folder_empty(widget, choose, tmp_path, application):
    import qt

    application.answers = [qt.QMessageBox.No]
    choose(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert widget.ui.caseLabel.text == "No dataset is open."


def test_a_case_without_a_prediction_can_be_annotated_by_hand_but_not_saved_unseen(
    widget, dataset, choose, application
):
    for case_id in dataset.case_ids():
        (dataset.case(case_id).folder / "prediction.json").unlink()
    type_name(widget, "anna")
    choose(dataset.path)
    case_id = case_shown(widget)
    assert "No model has looked at this case: press Detect" in widget.ui.statusLabel.text
    assert cells(widget, 0)["Presence"] == ""
    press(application, Qt.Key.Key_S)
    assert "L bifurcation: place it (Bring back), or accept that it is missing." in widget.ui.statusLabel.text
    assert dataset.case(case_id).annotators() == []
    application.layoutManager().slices["Red"].look_at((-20.0, 5.0, 12.0), 100.0)
    widget.table.select(0)
    application.layoutManager().slices["Red"].look_at((-20.0, 5.0, 12.0), 100.0)
    press(application, Qt.Key.Key_M)
    widget.table.select(1)
    press(application, Qt.Key.Key_A)
    press(application, Qt.Key.Key_S)
    saved = dataset.case(case_id).annotation("anna")
    assert saved.status == {LEFT: "corrected", RIGHT: "missing"}
    assert saved.points[LEFT] == pytest.approx((20.0, -5.0, 12.0), abs=1e-3)
    assert saved.moved_mm == {LEFT: None, RIGHT: None}
    assert saved.model is None


def test_detecting_on_a_case_stores_its_prediction(widget, dataset, choose, application):
    (dataset.case(ALARMED).folder / "prediction.json").unlink()
    (dataset.case(UNSURE).folder / "prediction.json").unlink()
    (dataset.case(SURE).folder / "prediction.json").unlink()
    type_name(widget, "anna")
    choose(dataset.path)
    case_id = case_shown(widget)
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.detectButton.click()
    application.wait_until(lambda: not widget.logic.running, 120)
    stored = dataset.case(case_id).prediction()
    assert stored is not None, widget.ui.statusLabel.text
    assert stored.model.name == "tiny"
    assert stored.volume.path == case_id
    assert application.asked == []


def test_a_saved_scene_knows_its_dataset_and_its_case(widget, opened_dataset, application, tmp_path):
    place = drag_left_point(widget, application)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "saved.mrb")
    kill_and_start_again(widget)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "saved.mrb"))
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
    assert "The dataset can not be read or written" in widget.ui.statusLabel.text
    assert case_shown(widget) == ALARMED
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)


def test_keys_typed_into_the_name_are_text(widget, opened_dataset, application):
    application.mainWindow().activateWindow()
    line = widget.ui.annotatorLineEdit
    line.setFocus()
    line.clear()
    QTest.keyClicks(line, "susann")
    assert line.text == "susann"
    assert opened_dataset.case(ALARMED).annotators() == []


def test_a_draft_holds_no_name_of_the_scan_or_of_its_folder(opened_dataset, widget, application):
    drag_left_point(widget, application)
    (file,) = opened_dataset.path.rglob("*.draft.json")
    document = json.loads(file.read_text())
    assert set(document) == {"time", "comment", "landmarks"}
    assert np.isfinite(document["landmarks"][LEFT]["position_lps_mm"]).all()
