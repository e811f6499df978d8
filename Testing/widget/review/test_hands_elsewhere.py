"""What is done to points, volumes and files elsewhere while a scan is reviewed: nothing is lost, nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import Case, read_draft
from CarotidLandmarkLib.scene import review as scene_review
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import (
    case_shown,
    cells,
    drag,
    drag_left_point,
    load_scene,
    nodes_shown,
    pixel_of,
    press,
    show,
    type_name,
)
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, make_detection

ELSEWHERE = (33.0, -8.0, 4.0)
SURE, UNSURE, ALARMED = "sure", "unsure", "alarmed"  # the cases of the fixture `dataset`


def type_place(nodes, position_lps, index=0):
    """What the table of the Markups module does."""
    nodes.points.SetNthControlPointPosition(index, *scene.to_ras(position_lps))


def drafts(dataset):
    return [path.name for path in dataset.path.rglob("*.draft.json")]


def turn(application):
    for _ in range(5):
        application.processEvents()


def test_coordinates_typed_in_another_module_are_shown_and_kept_as_a_draft_at_once(widget, opened_dataset, application):
    type_place(nodes_shown(widget), ELSEWHERE)
    turn(application)
    assert drafts(opened_dataset) == ["anna.draft.json"]
    assert cells(widget, 0)["Landmark"].startswith("L bifurcation")
    assert cells(widget, 0)["R A S (mm)"] == "-33.0 8.0 4.0\nslice 13"
    assert review_of(nodes_shown(widget)).status[LEFT] == "corrected"
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(ELSEWHERE)


def test_a_point_that_is_moved_while_many_nodes_change_at_once_counts_when_they_have(widget, application):
    nodes = show(widget)
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    type_place(nodes, ELSEWHERE)
    turn(application)
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    turn(application)
    assert review_of(nodes).status[LEFT] == "corrected"


def test_detect_asks_before_it_replaces_a_point_that_was_typed(widget, application):
    import qt

    nodes = show(widget)
    type_place(nodes, ELSEWHERE)
    application.answers = [qt.QMessageBox.Cancel]
    widget.ui.detectButton.click()
    assert "L bifurcation (corrected)" in application.asked[0]
    assert scene.position_lps(nodes, 0) == pytest.approx(ELSEWHERE)


def test_only_the_points_of_the_scan_that_is_shown_can_be_dragged(widget, application):
    a = show(widget, name="A")
    b = show(widget, make_detection(left=(27.0, -11.0, 20.0)), name="B")
    slicer.util.setSliceViewerLayers(background=b.volume, fit=True)
    place, red = scene.to_ras(LEFT_LPS), application.layoutManager().widgets["Red"]
    red.view.look_at(place, 90.0)
    red.view.pixels()
    drag(application, red, pixel_of(red, place), pixel_of(red, place) + QPoint(40, 20))
    assert scene.position_lps(a, 0) == pytest.approx(LEFT_LPS)
    widget.ui.inputSelector.setCurrentNode(a.volume)
    assert [nodes.points.GetLocked() for nodes in (a, b)] == [0, 1]


def test_undo_on_one_scan_leaves_another_alone(widget, application):
    a, b = show(widget, name="A"), show(widget, name="B")
    type_place(b, ELSEWHERE)
    turn(application)
    widget.ui.inputSelector.setCurrentNode(a.volume)
    assert not widget.ui.undoButton.enabled
    widget.table.select(0)
    widget.ui.acceptButton.click()
    widget.ui.undoButton.click()
    assert scene.position_lps(scene.find_detection(b.volume), 0) == pytest.approx(ELSEWHERE)


def test_points_in_another_order_are_saved_under_their_own_names(widget, opened_dataset, application):
    nodes_shown(widget).points.SwapControlPoints(0, 1)
    turn(application)
    press(application, Qt.Key.Key_S)
    saved = opened_dataset.case(ALARMED).annotation("anna")
    assert saved.points == {LEFT: pytest.approx(LEFT_LPS), RIGHT: pytest.approx(RIGHT_LPS)}


@pytest.mark.parametrize(("answer", "saved"), [("Yes", True), ("No", False)])
def test_a_left_point_on_the_right_is_saved_only_after_a_question(widget, opened_dataset, application, answer, saved):
    import qt

    nodes = nodes_shown(widget)
    type_place(nodes, RIGHT_LPS, 0)
    type_place(nodes, LEFT_LPS, 1)
    application.answers = [getattr(qt.QMessageBox, answer)]
    press(application, Qt.Key.Key_S)
    assert application.asked == ["L bifurcation is not on the patient's left of R bifurcation. Save them so?"]
    assert bool(opened_dataset.case(ALARMED).annotators()) is saved


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((900.0, 0.0, 0.0), "L bifurcation lies outside the scan. Save it so?"),
        (RIGHT_LPS, "L bifurcation is not on the patient's left of R bifurcation. Save them so?"),
    ],
)
def test_what_a_check_of_the_dataset_would_call_an_error_is_asked_about(
    widget, opened_dataset, application, place, words
):
    import qt

    type_place(nodes_shown(widget), place)
    application.answers = [qt.QMessageBox.No]
    press(application, Qt.Key.Key_S)
    assert application.asked == [words]
    assert opened_dataset.case(ALARMED).annotators() == []


def test_what_is_done_while_another_module_is_open_is_a_draft_at_once(widget, opened_dataset, application):
    nodes = nodes_shown(widget)
    widget.exit()
    widget.parent.isEntered = False
    try:
        type_place(nodes, ELSEWHERE)
        turn(application)
        draft = read_draft(opened_dataset.case(ALARMED), "anna")
    finally:
        widget.parent.isEntered = True
        widget.initializeParameterNode()
        widget.review.install_keys(application.mainWindow())
    assert draft.landmarks == {LEFT: ("corrected", pytest.approx(ELSEWHERE))}
    assert cells(widget, 0)["Status"].startswith("reviewed by anna")


def test_a_point_that_is_half_placed_is_not_saved_as_missing(widget, opened_dataset, application):
    nodes_shown(widget).points.ResetNthControlPointPosition(0)
    turn(application)
    assert cells(widget, 0)["R A S (mm)"] == "not placed"
    press(application, Qt.Key.Key_S)
    assert "L bifurcation is not placed: press Undo" in widget.ui.statusLabel.text
    assert opened_dataset.case(ALARMED).annotators() == []
    press(application, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(LEFT_LPS)


def test_a_list_of_points_that_was_deleted_takes_its_ellipsoids_along_and_the_draft_waits(
    widget, opened_dataset, application
):
    import qt

    drag_left_point(widget, application)
    nodes = nodes_shown(widget)
    slicer.mrmlScene.RemoveNode(nodes.points)
    turn(application)
    assert widget.ui.resultsTable.rowCount == 0
    assert [node.GetScene() for node in nodes.all()] == [None] * 4
    assert drafts(opened_dataset) == ["anna.draft.json"]
    application.answers = [qt.QMessageBox.Yes]
    widget.dataset.open_case(ALARMED)
    assert "Work on case alarmed" in application.asked[0]
    assert cells(widget, 0)["Landmark"].startswith("L bifurcation")
    assert len(widget.logic.volumes()) == 1


def test_a_scan_that_was_centred_is_saved_in_the_frame_of_its_image(widget, opened_dataset, application):
    nodes = nodes_shown(widget)
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (10.0, 0.0, 25.0)))
    turn(application)
    type_place(nodes, np.add(LEFT_LPS, (-10.0, 0.0, 25.0)))  # where the bifurcation is drawn now
    turn(application)
    press(application, Qt.Key.Key_S)
    saved = opened_dataset.case(ALARMED).annotation("anna")
    assert saved.points == {LEFT: pytest.approx(LEFT_LPS), RIGHT: pytest.approx(RIGHT_LPS)}


def test_a_scan_that_was_centred_is_not_detected_as_the_case(widget, opened_dataset):
    nodes = nodes_shown(widget)
    nodes.volume.SetOrigin(0.0, 0.0, 0.0)
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert "was moved since it was opened; open it again" in widget.ui.statusLabel.text


def test_a_scan_whose_voxels_were_edited_is_not_detected_as_the_case(widget, opened_dataset):
    voxels = nodes_shown(widget).volume.GetImageData().GetPointData().GetScalars()
    voxels.Fill(7)
    voxels.Modified()
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert "its voxels are not those of the dataset's image" in widget.ui.statusLabel.text


def test_a_scan_that_was_cropped_is_not_saved(widget, opened_dataset, application):
    import vtk

    nodes = nodes_shown(widget)
    crop = vtk.vtkExtractVOI()
    crop.SetInputData(nodes.volume.GetImageData())
    crop.SetVOI(0, 5, 0, 5, 0, 5)
    crop.Update()
    nodes.volume.SetAndObserveImageData(crop.GetOutput())
    press(application, Qt.Key.Key_S)
    assert "was cropped, resampled, or detected again" in widget.ui.statusLabel.text
    assert opened_dataset.case(ALARMED).annotators() == []


def test_a_copy_that_the_user_made_of_the_case_stays(widget, opened_dataset, application):
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    mine.Copy(nodes_shown(widget).volume)
    mine.SetName("mine")
    press(application, Qt.Key.Key_N)
    assert mine.GetScene() is not None
    assert case_shown(widget) == UNSURE


def test_a_comment_belongs_to_the_scan_that_it_was_typed_for_wherever_the_focus_stays(widget, application):
    a, b = show(widget, name="A"), show(widget, name="B")
    widget.ui.inputSelector.setCurrentNode(a.volume)
    field = widget.ui.commentLineEdit
    field.setFocus()
    application.mainWindow().activateWindow()
    application.processEvents()
    QTest.keyClicks(field, "plaque")
    widget.stepCase(1)
    assert field.text == ""
    field.clearFocus()
    turn(application)
    assert [review_of(nodes).comment for nodes in (a, b)] == ["plaque", ""]


def test_after_the_name_and_return_the_keys_are_those_of_the_review(widget, opened_dataset, application):
    application.mainWindow().activateWindow()
    type_name(widget, "anna")
    press(application, Qt.Key.Key_N)
    press(application, Qt.Key.Key_A)
    assert widget.ui.annotatorLineEdit.text == "anna"
    assert case_shown(widget) == UNSURE
    assert review_of(nodes_shown(widget)).status[LEFT] == "accepted"


@pytest.mark.parametrize("key", ["S", "A", "N"])
def test_a_key_pressed_while_a_case_is_read_is_not_meant_for_that_case(
    widget, opened_dataset, application, monkeypatch, key
):
    window, read = application.mainWindow(), Case.read_volume
    impatient = [QEvent.KeyPress, QEvent.KeyRelease]

    def read_slowly(case):
        volume = read(case)
        while impatient:  # arrives while the window stands still
            event = QKeyEvent(impatient.pop(0), getattr(Qt, f"Key_{key}"), Qt.NoModifier, key.lower())
            QApplication.postEvent(window.windowHandle(), event)
        return volume

    monkeypatch.setattr(Case, "read_volume", read_slowly)
    press(application, Qt.Key.Key_S)
    turn(application)
    assert case_shown(widget) == UNSURE
    assert review_of(nodes_shown(widget)).reviewed == ()
    assert [opened_dataset.case(case_id).annotators() for case_id in (ALARMED, UNSURE)] == [["anna"], []]


def test_while_the_folder_is_out_of_reach_work_is_kept_on_this_computer_and_comes_back(
    widget, opened_dataset, application, choose
):
    import qt

    away = opened_dataset.path.with_name("away")
    opened_dataset.path.rename(away)
    place = drag_left_point(widget, application)
    assert "is kept on this computer meanwhile" in widget.ui.statusLabel.text
    press(application, Qt.Key.Key_S)
    assert "is out of reach: nothing is saved" in widget.ui.statusLabel.text
    application.answers = [qt.QMessageBox.Cancel]
    widget.ui.closeDatasetButton.click()
    assert "Your work on case alarmed is not saved" in application.asked[0]
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)
    slicer.mrmlScene.Clear(0)  # the program ends, the folder is back, the program starts
    away.rename(opened_dataset.path)
    widget.initializeParameterNode()
    application.answers = [qt.QMessageBox.Yes]
    type_name(widget, "anna")
    choose(opened_dataset.path)
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(place)


@pytest.mark.parametrize(("answer", "comment"), [("Yes", ""), ("No", "elsewhere")])
def test_an_annotation_saved_elsewhere_meanwhile_is_replaced_only_after_a_question(
    widget, opened_dataset, application, answer, comment
):
    import qt

    points = {LEFT: (20.0, -8.0, 4.0), RIGHT: None}
    opened_dataset.save_annotation(ALARMED, "anna", points, {LEFT: "corrected", RIGHT: "missing"}, comment="elsewhere")
    application.answers = [getattr(qt.QMessageBox, answer)]
    press(application, Qt.Key.Key_S)
    assert "Case alarmed is saved as anna, and not as it was shown here" in application.asked[0]
    assert opened_dataset.case(ALARMED).annotation("anna").comment == comment


def test_saving_ones_own_annotation_again_asks_nothing(widget, opened_dataset, application):
    press(application, Qt.Key.Key_S)
    press(application, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    drag_left_point(widget, application)
    press(application, Qt.Key.Key_S)
    assert application.asked == []
    assert opened_dataset.case(ALARMED).annotation("anna").status[LEFT] == "corrected"


def test_a_scene_of_another_case_that_is_added_costs_neither_case_its_corrections(
    widget, opened_dataset, application, choose, tmp_path
):
    import qt

    press(application, Qt.Key.Key_N)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "own.mrb")
    press(application, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    first = drag_left_point(widget, application)
    load_scene(widget, tmp_path / "own.mrb")
    assert case_shown(widget) == UNSURE
    second = drag_left_point(widget, application)
    assert len(drafts(opened_dataset)) == 2
    application.answers = [qt.QMessageBox.Yes, qt.QMessageBox.Yes]
    press(application, Qt.Key.Key_N)
    assert len(application.asked) == 2
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(first, abs=1e-3)
    assert opened_dataset.case(UNSURE).annotation("anna").points[LEFT] == pytest.approx(second, abs=1e-3)
    assert len(widget.logic.volumes()) == 1


def test_a_case_with_a_damaged_prediction_is_named_and_can_be_annotated_by_hand(widget, opened_dataset, application):
    (opened_dataset.case(UNSURE).folder / "prediction.json").write_text("{")
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == UNSURE
    assert f"prediction.json of case {UNSURE} can not be read" in widget.ui.statusLabel.text
    scene_review.bring_back(nodes_shown(widget), 0, ELSEWHERE)
    scene_review.accept(nodes_shown(widget), 1)
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(UNSURE).annotation("anna").points[LEFT] == pytest.approx(ELSEWHERE)


def test_what_can_not_be_read_of_a_dataset_is_named_when_it_is_opened(widget, dataset, choose):
    (dataset.path / "cases" / SURE / "case.json").write_text("")
    type_name(widget, "anna")
    choose(dataset.path)
    assert case_shown(widget) == ALARMED
    assert "case.json of case sure is damaged" in widget.ui.statusLabel.text
    assert widget.ui.caseLabel.text == "necks: case 1 of 2, 0 reviewed."


def test_the_case_list_shows_the_queue_and_opens_what_is_clicked(widget, opened_dataset, application):
    cases = widget.ui.caseList
    assert [cases.item(n).text() for n in range(cases.count)] == [ALARMED, UNSURE, SURE]
    press(application, Qt.Key.Key_S)
    assert [cases.item(n).text() for n in range(cases.count)] == [f"{ALARMED} (reviewed)", UNSURE, SURE]
    assert cases.currentRow == 1
    widget.ui.onlyUnreviewedCheckBox.click()
    assert [cases.item(n).text() for n in range(cases.count)] == [UNSURE, SURE]
    widget.ui.datasetSection.collapsed = False
    place = cases.visualItemRect(cases.item(1)).center()
    QTest.mouseClick(cases.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert case_shown(widget) == SURE
    widget.ui.onlyUnreviewedCheckBox.click()
