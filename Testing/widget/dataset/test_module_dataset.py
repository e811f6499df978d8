"""The annotator's loop through a dataset, with mouse and keys: open, correct, save and next, add scans."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import Case, Dataset, check_dataset, order_cases
from panel_steps import case_shown, cells, drag_left_point, nodes_shown, press, show, type_name
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, make_detection, neck_volume

SURE, UNSURE, ALARMED = "sure", "unsure", "alarmed"  # the cases of the fixture `dataset`


def test_opening_shows_the_most_uncertain_case_first_and_next_goes_down_the_queue(widget, opened_dataset, application):
    assert case_shown(widget) == ALARMED
    assert widget.ui.caseLabel.text == "necks: case 1 of 3, 0 reviewed."
    assert cells(widget, 0)["Status"] == "ok"
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
    assert widget.table.row() == 0
    red = application.layoutManager().slices["Red"].node.GetSliceToRAS()
    assert red.GetElement(2, 3) == pytest.approx(LEFT_LPS[2], abs=1e-3)
    assert widget.ui.caseLabel.text == "necks: case 2 of 3, 1 reviewed."
    assert check_dataset(opened_dataset) == []


def test_keys_pressed_while_a_case_is_read_do_nothing(widget, opened_dataset, application, monkeypatch):
    read = Case.read_volume

    def read_while_an_impatient_hand_presses_again(case):
        press(application, Qt.Key.Key_S)
        return read(case)

    monkeypatch.setattr(Case, "read_volume", read_while_an_impatient_hand_presses_again)
    press(application, Qt.Key.Key_S)
    assert case_shown(widget) == UNSURE
    assert opened_dataset.case(ALARMED).annotators() == ["anna"]
    assert opened_dataset.case(UNSURE).annotators() == []
    assert len(widget.logic.volumes()) == 1


def test_after_the_last_case_save_and_next_says_that_all_are_reviewed(widget, opened_dataset, application):
    for _ in range(3):
        press(application, Qt.Key.Key_S)
    assert widget.ui.statusLabel.text == "Saved. You have reviewed all 3 cases."
    assert case_shown(widget) == SURE
    assert [opened_dataset.case(case_id).annotators() for case_id in opened_dataset.case_ids()] == [["anna"]] * 3
    assert cells(widget, 0)["Status"] == "accepted by anna"


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
    assert not widget.ui.undoButton.enabled


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


def test_closing_a_dataset_chooses_none_of_the_other_scans(widget, opened_dataset):
    case = widget.parameters.inputVolume
    show(widget, name="mine")
    widget.ui.inputSelector.setCurrentNode(case)
    widget.ui.closeDatasetButton.click()
    assert [node.GetName() for node in widget.logic.volumes()] == ["mine"]
    assert widget.parameters.inputVolume is None


def test_the_order_can_be_changed_and_is_kept_with_the_scene(widget, opened_dataset, application):
    combo = widget.ui.orderComboBox
    combo.setCurrentIndex(2)
    shuffled = order_cases(opened_dataset, "random")
    place = shuffled.index(ALARMED) + 1
    assert widget.ui.caseLabel.text == f"necks: case {place} of 3, 0 reviewed."
    assert widget.logic.getParameterNode().order == "random"
    rest = [case_id for case_id in shuffled if case_id != ALARMED]
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == rest[0]


@pytest.mark.parametrize(("trouble", "words"), [("no dataset", "is not a dataset"), ("gone", "is not there")])
def test_a_folder_that_can_not_be_used_is_refused_in_a_sentence_and_the_case_stays(
    widget, opened_dataset, choose, tmp_path, trouble, words
):
    folder = tmp_path / "other"
    if trouble == "no dataset":
        folder.mkdir()
        (folder / "notes.txt").write_text("notes")
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
    assert widget.ui.statusLabel.text == (
        f"Added as {case_id}, the last of the queue, as a patient of its own: none is named."
    )
    assert not any(b"Jane" in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    widget.ui.addCaseButton.click()
    assert "in the dataset already" in widget.ui.statusLabel.text
    widget.ui.nextCaseButton.click()
    assert case_shown(widget) == case_id
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx((20.0, -8.0, 4.0))
    assert slicer.util.getNode("Jane Doe") is nodes.volume
    widget.ui.saveNextButton.click()
    assert Dataset.open(folder).case(case_id).annotation("anna").status == {LEFT: "corrected", RIGHT: "accepted"}
    assert check_dataset(Dataset.open(folder)) == []


def test_a_scan_for_which_there_is_no_memory_is_not_added_and_the_panel_says_why(widget, choose, tmp_path, monkeypatch):
    dataset = Dataset.create(tmp_path / "new", (LEFT, RIGHT))
    choose(dataset.path)
    show(widget)
    monkeypatch.setattr(Dataset, "add_case", lambda *_what, **_how: np.empty(10**15))
    widget.ui.addCaseButton.click()
    assert widget.ui.statusLabel.text.startswith("There is too little memory for this; close other programs")
    assert dataset.case_ids() == []


def test_scans_of_one_patient_are_added_as_such_by_dicom_or_by_a_typed_word(widget, choose, tmp_path, monkeypatch):
    ids = {("1.2.3", "0010,0020"): "Jane"}
    database = types.SimpleNamespace(instanceValue=lambda instance, tag: ids[instance, tag])
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)  # only the application has one
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    dataset = Dataset.create(tmp_path / "new", (LEFT, RIGHT))
    choose(dataset.path)
    groups = []
    for spacing, instances, word, words in (
        (5.0, "1.2.3 1.2.4", "", "scan 1 of this patient."),
        (6.0, "", "Jane", "scan 2 of this patient."),
        (7.0, "", "", "as a patient of its own: none is named."),
        (7.5, "1.2.3", "p07", "scan 1 of this patient."),
    ):
        show(widget, spacing=spacing).volume.SetAttribute("DICOM.instanceUIDs", instances)
        QTest.keyClicks(widget.ui.patientLineEdit, word)
        widget.ui.addCaseButton.click()
        status = widget.ui.statusLabel.text
        assert status.endswith(words), status
        assert widget.ui.patientLineEdit.text == ""
        groups.append(dataset.case(status.split()[2].rstrip(",")).group)
    assert groups[0] == groups[1] and len(set(groups)) == 3
    assert not any(b"Jane" in file.read_bytes() for file in dataset.path.rglob("*.json"))


def test_no_to_that_question_leaves_the_folder_empty(widget, choose, tmp_path, application):
    import qt

    application.answers = [qt.QMessageBox.No]
    choose(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert widget.ui.caseLabel.text == "No dataset is open."


def place_left_and_miss_right(widget, application):
    """By hand, in a case that no model has looked at: the left at LPS (20, -5, 12), then saved."""
    widget.table.select(0)
    application.layoutManager().slices["Red"].look_at((-20.0, 5.0, 12.0), 100.0)
    press(application, Qt.Key.Key_M)
    widget.table.select(1)
    press(application, Qt.Key.Key_A)
    press(application, Qt.Key.Key_S)


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
    place_left_and_miss_right(widget, application)
    saved = dataset.case(case_id).annotation("anna")
    assert saved.status == {LEFT: "corrected", RIGHT: "missing"}
    assert saved.points[LEFT] == pytest.approx((20.0, -5.0, 12.0), abs=1e-3)
    assert saved.moved_mm == {LEFT: None, RIGHT: None}
    assert saved.model is None


def test_landmarks_that_no_model_has_learnt_are_annotated_by_hand_and_not_detected(
    widget, choose, tmp_path, application
):
    names = ("left_vertebral_origin", "right_vertebral_origin")
    dataset = Dataset.create(tmp_path / "vertebral", names)
    dataset.add_case(neck_volume(5.0), "one")
    type_name(widget, "anna")
    choose(dataset.path)
    assert "No model here finds left_vertebral_origin, right_vertebral_origin" in widget.ui.statusLabel.text
    assert [cells(widget, row)["Landmark"] for row in (0, 1)] == ["L vertebral origin", "R vertebral origin"]
    widget.ui.detectButton.click()
    assert not widget.logic.running and "left_vertebral_origin" in widget.ui.statusLabel.text
    widget.ui.detectAllButton.click()
    assert not widget.logic.running and "left_vertebral_origin" in widget.ui.statusLabel.text
    place_left_and_miss_right(widget, application)
    saved = dataset.case("one").annotation("anna")
    assert saved.points[names[0]] == pytest.approx((20.0, -5.0, 12.0), abs=1e-3)
    assert saved.status == {names[0]: "corrected", names[1]: "missing"} and saved.model is None


def test_detecting_on_a_case_stores_its_prediction(widget, dataset, choose, application):
    for case_id in dataset.case_ids():
        (dataset.case(case_id).folder / "prediction.json").unlink()
    type_name(widget, "anna")
    choose(dataset.path)
    case_id = case_shown(widget)
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.detectButton.click()
    press(application, Qt.Key.Key_N)
    assert "A detection is running" in widget.ui.statusLabel.text
    application.wait_until(lambda: not widget.logic.running, 120)
    stored = dataset.case(case_id).prediction()
    assert stored is not None, widget.ui.statusLabel.text
    assert stored.model.name == "tiny"
    assert stored.volume.path == case_id
    assert application.asked == []


@pytest.mark.parametrize("how", ["order", "name"])
def test_a_folder_that_is_away_for_a_moment_does_not_empty_the_queue(widget, opened_dataset, application, how):
    away = opened_dataset.path.rename(opened_dataset.path.with_name("gone"))
    press(application, Qt.Key.Key_N)
    assert widget.ui.statusLabel.text == "The folder necks is not there; connect its disk, or choose another."
    if how == "order":
        widget.ui.orderComboBox.setCurrentIndex(2)
    else:
        type_name(widget, "ben")
    assert widget.ui.statusLabel.text == "The folder necks is not there; connect its disk, or choose another."
    away.rename(opened_dataset.path)
    press(application, Qt.Key.Key_N)
    order = order_cases(opened_dataset, "random" if how == "order" else "uncertain")
    listed = [widget.ui.caseList.item(row).text() for row in range(3)]
    assert listed == order
    assert "of 3, 0 reviewed" in widget.ui.caseLabel.text
    press(application, Qt.Key.Key_S)
    assert [case.annotators() for case in opened_dataset.cases()].count(["ben" if how == "name" else "anna"]) == 1


def test_the_list_marks_the_case_that_is_shown_after_a_click_that_was_refused(widget, opened_dataset, application):
    widget.ui.datasetSection.collapsed = False
    application.processEvents()
    widget.ui.detectButton.click()
    cases = widget.ui.caseList
    QTest.mouseClick(cases.viewport(), Qt.MouseButton.LeftButton, pos=cases.visualItemRect(cases.item(2)).center())
    assert "A detection is running" in widget.ui.statusLabel.text
    assert cases.item(cases.currentRow).text() == case_shown(widget) == ALARMED


def test_a_case_that_no_model_has_seen_is_added_to_another_dataset_without_a_prediction(
    widget, opened_dataset, application, choose, tmp_path
):
    other = Dataset.create(tmp_path / "other", (LEFT, RIGHT))
    other.add_case(neck_volume(6.0), "unseen")
    choose(other.path)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "unseen.mrb")
    choose(opened_dataset.path)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "unseen.mrb"))
    widget.ui.addCaseButton.click()
    (added,) = set(opened_dataset.case_ids()) - {SURE, UNSURE, ALARMED}
    assert opened_dataset.case(added).prediction() is None


def test_keys_typed_into_the_name_are_text(widget, opened_dataset, application):
    application.mainWindow().activateWindow()
    line = widget.ui.annotatorLineEdit
    line.setFocus()
    line.clear()
    QTest.keyClicks(line, "susann")
    assert line.text == "susann"
    assert opened_dataset.case(ALARMED).annotators() == []
