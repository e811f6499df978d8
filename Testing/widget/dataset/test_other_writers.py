"""Others write too: another Slicer, an older scene, a copy. Nothing of theirs or ours is lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import Case, Dataset, read_draft, write_draft
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import case_shown, drag_left_point, load_scene, nodes_shown, press, show, type_name
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from scene_cases import LEFT, LEFT_LPS, RIGHT

SURE, UNSURE, ALARMED = "sure", "unsure", "alarmed"  # the cases of the fixture `dataset`
ELSEWHERE = (33.0, -8.0, 4.0)


def start_again(widget, choose, dataset):
    """What a new process finds."""
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    type_name(widget, "anna")
    choose(dataset.path)


def clone(node):
    """What Data > Clone does."""
    copy = slicer.mrmlScene.AddNewNodeByClass(node.GetClassName(), "copy")
    copy.Copy(node)
    return copy


def test_a_copy_of_the_points_is_not_what_is_kept_and_saved(widget, opened_dataset, application):
    copy = clone(nodes_shown(widget).points)
    copy.SetNthControlPointPosition(0, *scene.to_ras(ELSEWHERE))
    place = drag_left_point(widget, application)
    assert read_draft(opened_dataset.case(ALARMED), "anna").landmarks[LEFT][1] == pytest.approx(place)
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(place)
    assert copy.GetScene() is not None
    assert case_shown(widget) == UNSURE
    assert len(widget.logic.volumes()) == 1


@pytest.mark.parametrize("change", ["value", "warped"])
def test_a_scan_whose_voxels_were_changed_is_not_saved_as_the_case(widget, opened_dataset, application, change):
    image = nodes_shown(widget).volume.GetImageData()
    voxels = slicer.util.arrayFromVolume(nodes_shown(widget).volume)
    voxels[:] = np.roll(voxels, 1, axis=0) if change == "warped" else np.minimum(voxels, 300)
    image.GetPointData().GetScalars().Modified()
    drag_left_point(widget, application)
    press(application, Qt.Key.Key_S)
    assert "its voxels are not those of the dataset's image" in widget.ui.statusLabel.text
    assert opened_dataset.case(ALARMED).annotators() == []
    assert read_draft(opened_dataset.case(ALARMED), "anna") is not None


def test_voxels_that_were_touched_but_are_the_same_are_saved(widget, opened_dataset, application):
    nodes_shown(widget).volume.GetImageData().GetPointData().GetScalars().Modified()
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotators() == ["anna"]


def test_a_draft_that_another_slicer_keeps_under_the_same_name_is_not_replaced(
    widget, opened_dataset, choose, application
):
    case = opened_dataset.case(ALARMED)
    drag_left_point(widget, application)
    write_draft(case, "anna", {LEFT: ("corrected", ELSEWHERE)}, "elsewhere")
    place = drag_left_point(widget, application)
    assert "was written elsewhere meanwhile" in widget.ui.statusLabel.text
    assert "kept on this computer" in widget.ui.statusLabel.text
    assert read_draft(case, "anna").comment == "elsewhere"
    press(application, Qt.Key.Key_S)
    assert case.annotation("anna").points[LEFT] == pytest.approx(place)
    assert read_draft(case, "anna").comment == "elsewhere"


def test_a_damaged_draft_is_put_aside_and_said(widget, opened_dataset, choose, application):
    drag_left_point(widget, application)
    (file,) = opened_dataset.path.rglob("*.draft.json")
    damaged = file.read_text()[:-20]
    file.write_text(damaged)
    start_again(widget, choose, opened_dataset)
    assert "anna.draft.json) is damaged; it was put aside as anna.draft.damaged" in widget.ui.statusLabel.text
    place = drag_left_point(widget, application)
    assert file.with_suffix(".damaged").read_text() == damaged
    assert read_draft(opened_dataset.case(ALARMED), "anna").landmarks[LEFT][1] == pytest.approx(place)


def test_a_draft_that_can_not_be_read_now_is_neither_dropped_nor_replaced(
    widget, opened_dataset, choose, application, monkeypatch
):
    from pathlib import Path

    import qt

    place = drag_left_point(widget, application)
    (file,) = opened_dataset.path.rglob("*.draft.json")
    before, read = file.read_text(), Path.read_bytes

    def share_with_a_cold(path, *arguments, **keywords):
        if path.name == file.name and opened_dataset.path in path.parents:
            raise OSError(5, "Input/output error")
        return read(path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", share_with_a_cold)
        start_again(widget, choose, opened_dataset)
        assert "can not be read (Input/output error)" in widget.ui.statusLabel.text
        scene.set_position(nodes_shown(widget), 1, (-24.0, -8.0, 4.0))
        widget.refresh()
        application.answers = [qt.QMessageBox.No]
        press(application, Qt.Key.Key_N)
        assert case_shown(widget) == UNSURE  # one bad file stops nobody
    assert file.read_text() == before
    widget.dataset.open_case(SURE)
    application.answers = [qt.QMessageBox.Yes]  # of the two drafts the newer one is offered
    start_again(widget, choose, opened_dataset)
    places = {LEFT: place, RIGHT: (-24.0, -8.0, 4.0)}
    assert any(
        scene.position_lps(nodes_shown(widget), index) == pytest.approx(places[name])
        for index, name in enumerate((LEFT, RIGHT))
    )


def test_where_nothing_can_be_written_the_correction_stays_in_the_scene_and_the_case_is_not_left(
    widget, opened_dataset, application, tmp_path, monkeypatch
):
    (opened_dataset.case(ALARMED).folder / "annotations").write_text("in the way")
    (tmp_path / "no-home").write_text("in the way, too")
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "no-home"))
    place = drag_left_point(widget, application)
    for key in (Qt.Key.Key_N, Qt.Key.Key_S):
        assert "The dataset can not be read or written" in widget.ui.statusLabel.text
        widget.ui.statusLabel.setText("")
        press(application, key)
    widget.ui.closeDatasetButton.click()
    assert "The dataset can not be read or written" in widget.ui.statusLabel.text
    assert case_shown(widget) == ALARMED
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)


def test_the_key_escape_does_not_discard_a_draft(widget, opened_dataset, choose, application):
    import qt

    place = drag_left_point(widget, application)
    application.answers = [qt.QMessageBox.Cancel]
    start_again(widget, choose, opened_dataset)
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)


def test_a_draft_stays_on_the_disk_while_the_question_about_it_stands(widget, opened_dataset, choose, application):
    import qt

    drag_left_point(widget, application)
    (file,) = opened_dataset.path.rglob("*.draft.json")
    seen = []

    class Answers(list):
        def pop(self, *_place):  # the event loop turns while the box is open
            widget.refresh()
            seen.append(file.exists())
            return super().pop(0)

    application.answers = Answers([qt.QMessageBox.Yes])
    start_again(widget, choose, opened_dataset)
    assert seen == [True]


@pytest.mark.parametrize("clear", [False, True])
def test_the_name_in_a_scene_that_is_added_does_not_become_that_of_who_sits_here(
    widget, opened_dataset, application, choose, tmp_path, clear
):
    type_name(widget, "ben")
    scene.write_bundle(slicer.mrmlScene, tmp_path / "bens.mrb")
    import qt

    start_again(widget, choose, opened_dataset)
    place = drag_left_point(widget, application)
    application.answers = [qt.QMessageBox.Yes]  # the scene's copy of the case goes on with the draft
    load_scene(widget, tmp_path / "bens.mrb", clear)
    assert widget.ui.annotatorLineEdit.text == "anna"
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(place)
    assert {name for case in opened_dataset.cases() for name in case.annotators()} == {"anna"}


def test_work_in_a_scene_of_a_case_is_not_dropped_where_nobody_is_named(
    widget, opened_dataset, application, choose, tmp_path
):
    drag_left_point(widget, application)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "own.mrb")
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    load_scene(widget, tmp_path / "own.mrb")
    widget.logic.getParameterNode().annotator = ""
    widget.dataset._shown.annotator = ""
    widget.ui.closeDatasetButton.click()
    assert "Type your name" in widget.ui.statusLabel.text
    assert len(widget.logic.volumes()) == 1


def test_the_word_for_a_patient_belongs_to_the_scan_that_it_was_typed_for(widget, opened_dataset):
    show(widget, name="A")
    QTest.keyClicks(widget.ui.patientLineEdit, "Jane")
    show(widget, name="B")
    assert widget.ui.patientLineEdit.text == ""


def test_stepping_through_scans_does_not_sign_the_reviews_of_others(widget, application):
    a, b = show(widget, name="A"), show(widget, name="B")
    for nodes, name in ((a, "anna"), (b, "ben")):
        type_name(widget, name)
        widget.ui.inputSelector.setCurrentNode(nodes.volume)
        widget.table.select(0)
        widget.ui.acceptButton.click()
    for _ in range(3):
        press(application, Qt.Key.Key_N)
    assert [review_of(nodes).annotator for nodes in (a, b)] == ["anna", "ben"]


def test_a_draft_of_a_version_without_questions_is_read(opened_dataset):
    case = opened_dataset.case(ALARMED)
    write_draft(case, "anna", {LEFT: ("corrected", LEFT_LPS)}, "seen", True)
    (file,) = opened_dataset.path.rglob("*.draft.json")
    document = json.loads(file.read_text())
    assert document.pop("ask_colleague") is True
    file.write_text(json.dumps(document))
    assert read_draft(case, "anna").ask_colleague is False


def test_work_that_is_nobodys_yet_belongs_to_whoever_types_a_name_and_until_then_the_panel_says_so(
    widget, opened_dataset, application, tmp_path
):
    widget.parameters.annotator = ""
    scene.write_bundle(slicer.mrmlScene, tmp_path / "nobodys.mrb")
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    load_scene(widget, tmp_path / "nobodys.mrb")
    place = drag_left_point(widget, application)
    assert "Type your name in the field Annotator first" in widget.ui.statusLabel.text
    type_name(widget, "carl")
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx(place)
    assert read_draft(opened_dataset.case(ALARMED), "carl").landmarks[LEFT][1] == pytest.approx(place)


def test_without_a_dataset_the_name_in_a_scene_that_is_added_does_not_become_that_of_who_sits_here(
    widget, application, tmp_path
):
    show(widget)
    type_name(widget, "ben")
    scene.write_bundle(slicer.mrmlScene, tmp_path / "bens.mrb")
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    show(widget)
    type_name(widget, "anna")
    load_scene(widget, tmp_path / "bens.mrb")
    assert widget.ui.annotatorLineEdit.text == "anna"


@pytest.mark.parametrize("clear", [False, True])
def test_whoever_closes_the_scene_or_opens_another_in_its_place_still_sits_here(widget, application, tmp_path, clear):
    show(widget)
    type_name(widget, "ben")
    scene.write_bundle(slicer.mrmlScene, tmp_path / "bens.mrb")
    type_name(widget, "anna")
    slicer.mrmlScene.Clear(0)
    application.processEvents()
    assert widget.ui.annotatorLineEdit.text == "anna"
    load_scene(widget, tmp_path / "bens.mrb", clear)
    assert widget.ui.annotatorLineEdit.text == "anna"
    widget.table.select(0)
    widget.ui.acceptButton.click()
    assert scene.review_of(widget.nodes).annotator == "anna"


@pytest.mark.parametrize("away", ["image", "dataset"])
def test_what_one_has_done_does_not_become_the_work_of_another_where_the_case_is_out_of_reach(
    widget, opened_dataset, application, away
):
    place = drag_left_point(widget, application)
    case = opened_dataset.case(ALARMED)
    lost = case.image_path if away == "image" else opened_dataset.path
    lost.rename(lost.with_name("gone"))
    type_name(widget, "ben")
    application.processEvents()
    widget.table.select(1)
    widget.ui.acceptButton.click()
    lost.with_name("gone").rename(lost)
    press(application, Qt.Key.Key_S)
    application.processEvents()
    assert opened_dataset.case(ALARMED).annotators() == []
    assert read_draft(case, "ben") is None
    assert read_draft(case, "anna").landmarks[LEFT][1] == pytest.approx(place)


@pytest.mark.parametrize("clear", [False, True])
def test_a_scene_of_before_the_last_save_replaces_it_only_when_asked(
    widget, opened_dataset, application, tmp_path, clear
):
    import qt

    drag_left_point(widget, application)
    application.processEvents()
    scene.write_bundle(slicer.mrmlScene, tmp_path / "old.mrb")
    nodes_shown(widget).points.SetNthControlPointPosition(0, -31.0, 7.0, 3.0)
    press(application, Qt.Key.Key_S)
    slicer.mrmlScene.Clear(0)
    load_scene(widget, tmp_path / "old.mrb", clear)
    application.asked, application.answers = [], [qt.QMessageBox.No]
    press(application, Qt.Key.Key_S)
    assert "Replace that with what is shown?" in application.asked[0]
    assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx((31.0, -7.0, 3.0))


@pytest.mark.parametrize(("answer", "saved"), [("Yes", False), ("No", True)])
def test_an_older_draft_is_offered_before_a_scene_that_has_just_come_is_saved(
    widget, opened_dataset, application, tmp_path, answer, saved
):
    import qt

    scene.write_bundle(slicer.mrmlScene, tmp_path / "old.mrb")
    place = drag_left_point(widget, application)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "old.mrb"), True)
    application.answers = [getattr(qt.QMessageBox, answer)]
    widget.ui.saveNextButton.click()  # before the event loop has turned
    assert f"Work on case {ALARMED} of 20" in application.asked[0]
    assert opened_dataset.case(ALARMED).has_annotation("anna") is saved
    if not saved:  # what is shown now was not looked at yet
        assert widget.ui.statusLabel.text == "Not saved."
        press(application, Qt.Key.Key_S)
        assert opened_dataset.case(ALARMED).annotation("anna").points[LEFT] == pytest.approx(place)


def test_what_a_file_manager_leaves_in_a_new_folder_does_not_count(widget, choose, application, tmp_path):
    import qt

    (tmp_path / "fresh").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "fresh" / name).write_text("x")
    application.answers = [qt.QMessageBox.Yes]
    choose(tmp_path / "fresh")
    assert Dataset.open(tmp_path / "fresh").landmarks == (LEFT, RIGHT)


def test_a_remark_without_a_name_is_not_added_half(widget, choose, tmp_path):
    dataset = Dataset.create(tmp_path / "new", (LEFT, RIGHT))
    show(widget)
    choose(dataset.path)
    widget.ui.commentLineEdit.setFocus()
    QTest.keyClicks(widget.ui.commentLineEdit, "plaque")
    widget.ui.addCaseButton.click()
    assert "Type your name in the field Annotator first" in widget.ui.statusLabel.text
    assert dataset.case_ids() == []
    type_name(widget, "anna")
    widget.ui.addCaseButton.click()
    (case_id,) = dataset.case_ids()
    assert read_draft(dataset.case(case_id), "anna").comment == "plaque"


def test_an_empty_folder_is_not_made_a_dataset_while_a_detection_runs(widget, application, tmp_path, choose):
    show(widget)
    type_name(widget, "anna")
    widget.ui.detectButton.click()
    choose(tmp_path)
    assert application.asked == []
    assert "A detection is running" in widget.ui.statusLabel.text


def test_a_scene_that_is_closed_while_a_case_is_read_stays_closed(widget, opened_dataset, application, monkeypatch):
    read = Case.read_volume

    def read_while_the_scene_is_closed(case):
        slicer.mrmlScene.Clear(0)
        return read(case)

    monkeypatch.setattr(Case, "read_volume", read_while_the_scene_is_closed)
    widget.ui.nextCaseButton.click()
    assert widget.ui.statusLabel.text == "Case unsure can not be opened: the scene was closed meanwhile."
    assert widget.logic.volumes() == []
    assert widget.ui.caseLabel.text == "No dataset is open."
