"""What was done stays with whoever did it, and with its case: other names, other datasets, two drafts of one name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import Dataset, read_draft, write_draft
from panel_steps import case_shown, cells, load_scene, nodes_shown, press, type_name
from PySide6.QtCore import Qt
from scene_cases import LEFT, LEFT_LPS, RIGHT, make_detection, neck_volume

ALARMED = "alarmed"  # the first case of the fixture `dataset`
ELSEWHERE, FARTHER = (33.0, -8.0, 4.0), (31.0, -9.0, 4.0)


def move(widget, application, place=ELSEWHERE):
    """The left point of the scan shown."""
    nodes_shown(widget).points.SetNthControlPointPosition(0, *scene.to_ras(place))
    turn(application)


def turn(application):
    for _ in range(5):
        application.processEvents()


def place_of_left(widget):
    return pytest.approx(scene.position_lps(nodes_shown(widget), 0), abs=1e-3)


def answer(application, *answers):
    import qt

    application.answers, application.asked = [getattr(qt.QMessageBox, each) for each in answers], []


@pytest.fixture
def other(tmp_path):
    """Another dataset, of one case."""
    other = Dataset.create(tmp_path / "others", (LEFT, RIGHT))
    other.add_case(neck_volume(6.0), "o1")
    other.save_prediction("o1", make_detection())
    return other


@pytest.fixture
def moved_in_other(widget, opened_dataset, application, choose, tmp_path, other):
    """``opened_dataset`` is open, and a scene of ``other`` was added; a point of its case was moved."""
    choose(other.path)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "other.mrb")
    choose(opened_dataset.path)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "other.mrb"))
    turn(application)
    move(widget, application)


def test_work_in_a_scene_whose_dataset_was_away_is_a_draft_when_it_is_opened(
    widget, opened_dataset, application, choose, tmp_path
):
    scene.write_bundle(slicer.mrmlScene, tmp_path / "own.mrb")
    slicer.mrmlScene.Clear(0)
    moved = opened_dataset.path.rename(opened_dataset.path.with_name("other-drive"))
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "own.mrb"))
    turn(application)
    assert "The folder necks is not there" in widget.ui.statusLabel.text
    move(widget, application)
    answer(application, "Yes")
    choose(moved)
    turn(application)
    assert f"Work on case {ALARMED} of 20" in application.asked[0]
    assert place_of_left(widget) == ELSEWHERE
    assert read_draft(Dataset.open(moved).case(ALARMED), "anna").landmarks[LEFT][1] == pytest.approx(ELSEWHERE)


@pytest.mark.parametrize("older", [None, FARTHER])
def test_work_on_a_case_of_another_dataset_is_kept_on_this_computer_and_offered_there(
    widget, application, choose, tmp_path, other, moved_in_other, older
):
    if older:
        case = other.case("o1")
        folder = tmp_path / "home" / "drafts" / f"o1-{case.image_sha256[:16]}"
        (folder / "annotations").mkdir(parents=True)
        write_draft(replace(case, folder=folder), "anna", {LEFT: ("corrected", older)}, "older")
    press(application, Qt.Key.Key_N)
    assert "work on case o1, which is not of this dataset, is kept on this computer" in widget.ui.statusLabel.text
    assert [volume.GetName() for volume in widget.logic.volumes()] == [case_shown(widget)]
    aside = list((tmp_path / "home").rglob("*.draft.aside"))
    assert ["older" in file.read_text() for file in aside] == ([True] if older else [])
    answer(application, "Yes")
    choose(other.path)
    assert "Work on case o1 of 20" in application.asked[0]
    assert place_of_left(widget) == ELSEWHERE


def test_closing_a_dataset_leaves_the_case_of_another_one_in_the_scene(widget, moved_in_other):
    widget.ui.closeDatasetButton.click()
    assert [volume.GetName() for volume in widget.logic.volumes()] == ["o1"]
    assert place_of_left(widget) == ELSEWHERE


def test_a_scene_of_a_copy_of_the_dataset_is_of_the_copy(widget, opened_dataset, application, choose, tmp_path):
    copy = shutil.copytree(opened_dataset.path, tmp_path / "copy")
    choose(copy)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "copy.mrb")
    points, status = {LEFT: FARTHER, RIGHT: None}, {LEFT: "corrected", RIGHT: "missing"}
    Dataset.open(copy).save_annotation(ALARMED, "anna", points, status, comment="unseen")
    choose(opened_dataset.path)
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "copy.mrb"))
    turn(application)
    move(widget, application)
    assert len(list(copy.rglob("*.draft.json"))) == 1
    assert list(opened_dataset.path.rglob("*.draft.json")) == []
    answer(application, "No")
    press(application, Qt.Key.Key_S)
    assert "Replace that with what is shown?" in application.asked[0]
    assert Dataset.open(copy).case(ALARMED).annotation("anna").comment == "unseen"


@pytest.mark.parametrize("name", ["", "Ben K."])
def test_what_is_done_under_a_name_that_can_not_be_is_theirs_who_are_named_next(
    widget, opened_dataset, application, name
):
    case = opened_dataset.case(ALARMED)
    nodes_shown(widget).points.SetNthControlPointPosition(1, *scene.to_ras((-24.0, -8.0, 4.0)))
    turn(application)
    type_name(widget, name)
    move(widget, application)
    assert ("Type your name" if not name else "must be English letters") in widget.ui.statusLabel.text
    assert "anna" not in cells(widget, 0)["Status"]
    widget.ui.closeDatasetButton.click()
    assert case_shown(widget) == ALARMED
    answer(application, "Yes")
    type_name(widget, "ben")
    assert f"Work on case {ALARMED} of 20" in application.asked[0]
    assert place_of_left(widget) == ELSEWHERE
    assert set(read_draft(case, "ben").landmarks) == {LEFT}
    assert set(read_draft(case, "anna").landmarks) == {RIGHT}


def test_what_was_done_goes_on_being_ones_own_when_the_name_is_mended(widget, opened_dataset, application):
    type_name(widget, "ann a")
    move(widget, application)
    type_name(widget, "anna")
    assert place_of_left(widget) == ELSEWHERE
    assert read_draft(opened_dataset.case(ALARMED), "anna").landmarks[LEFT][1] == pytest.approx(ELSEWHERE)


def test_a_name_that_is_typed_while_a_detection_runs_is_taken_over_when_it_ends(widget, opened_dataset, application):
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.detectButton.click()
    type_name(widget, "ben")
    assert "A detection is running" in widget.ui.statusLabel.text
    application.wait_until(lambda: not widget.logic.running, 100)
    turn(application)
    move(widget, application)
    assert [file.name for file in opened_dataset.path.rglob("*.draft.json")] == ["ben.draft.json"]
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).annotators() == ["ben"]


def test_a_name_in_other_capitals_is_refused_before_any_work(widget, dataset, choose):
    dataset.save_annotation("sure", "anna", {LEFT: LEFT_LPS, RIGHT: None}, {LEFT: "accepted", RIGHT: "missing"})
    type_name(widget, "Anna")
    choose(dataset.path)
    assert "'Anna' is there already as 'anna'; write it in the same letters." in widget.ui.statusLabel.text
    assert widget.logic.volumes() == []
    type_name(widget, "anna")
    assert case_shown(widget) == ALARMED


@pytest.mark.parametrize(
    ("answers", "place", "beside", "aside"),
    [
        (["Yes"], ELSEWHERE, ELSEWHERE, True),
        (["No", "Yes"], FARTHER, FARTHER, False),
        (["No", "No"], LEFT_LPS, None, False),
    ],
)
def test_of_two_drafts_of_one_name_each_is_asked_about_and_none_goes_unasked(
    widget, opened_dataset, application, choose, tmp_path, answers, place, beside, aside
):
    case = opened_dataset.case(ALARMED)
    move(widget, application)
    write_draft(case, "anna", {LEFT: ("corrected", FARTHER)}, "from the other Slicer")
    move(widget, application, (30.0, -8.0, 4.0))
    move(widget, application)
    assert "was written elsewhere meanwhile" in widget.ui.statusLabel.text
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    type_name(widget, "anna")
    answer(application, *answers)
    choose(opened_dataset.path)
    assert len(application.asked) == len(answers)
    assert place_of_left(widget) == place
    draft = read_draft(case, "anna")
    assert (draft and draft.landmarks[LEFT][1]) == (beside and pytest.approx(beside))
    assert list((tmp_path / "home").rglob("*.draft.json")) == []
    kept = [file.read_text() for file in opened_dataset.path.rglob("*.draft.aside")]
    assert ["from the other Slicer" in text for text in kept] == ([True] if aside else [])
    assert ("put aside as anna.draft.aside" in widget.ui.statusLabel.text) == aside


def kept_on_this_computer(tmp_path, case):
    folder = tmp_path / "home" / "drafts" / f"{case.id}-{case.image_sha256[:16]}"
    return replace(case, folder=folder)


@pytest.mark.parametrize("is_open", [True, False])
def test_corrections_in_a_scene_that_another_annotator_has_saved_stay_his(
    widget, opened_dataset, application, choose, tmp_path, is_open
):
    move(widget, application)
    scene.write_bundle(slicer.mrmlScene, tmp_path / "anna.mrb")
    case = opened_dataset.case(ALARMED)
    (case.folder / "annotations" / "anna.draft.json").unlink()
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    type_name(widget, "ben")
    if is_open:
        choose(opened_dataset.path)
        answer(application, "No")
        press(application, Qt.Key.Key_N)  # at another case
    load_scene(widget, tmp_path / "anna.mrb")
    if not is_open:
        choose(opened_dataset.path)
    turn(application)
    assert read_draft(case, "ben") is None
    kept = read_draft(case, "anna") or read_draft(kept_on_this_computer(tmp_path, case), "anna")
    assert kept.landmarks[LEFT][1] == pytest.approx(ELSEWHERE, abs=1e-3)
    in_scene = [nodes for nodes in scene.find_detections(slicer.mrmlScene) if nodes.volume.GetName() == ALARMED]
    assert all(scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS, abs=1e-3) for nodes in in_scene)


def test_a_draft_that_nobody_has_looked_at_is_put_aside_by_another_not_lost(
    widget, opened_dataset, application, tmp_path
):
    case = opened_dataset.case(ALARMED)
    place = kept_on_this_computer(tmp_path, case)
    (place.folder / "annotations").mkdir(parents=True)
    write_draft(place, "ben", {RIGHT: ("corrected", (-20.0, 1.0, 2.0))}, "of yesterday")
    answer(application, *["Yes"] * 3)
    type_name(widget, "Ben K.")  # which no file can be called
    move(widget, application)
    type_name(widget, "ben")
    turn(application)
    texts = [file.read_text() for file in tmp_path.rglob("ben.draft.*")]
    assert any("of yesterday" in text for text in texts)
    assert any('"corrected"' in text and LEFT in text for text in texts)


def test_a_draft_on_this_computer_stays_while_the_one_beside_the_case_can_not_be_read(
    widget, opened_dataset, application, choose, tmp_path, monkeypatch
):
    case = opened_dataset.case(ALARMED)
    place = kept_on_this_computer(tmp_path, case)
    for where, words in ((case, "beside"), (place, "of yesterday")):
        (where.folder / "annotations").mkdir(parents=True, exist_ok=True)
        write_draft(where, "anna", {RIGHT: ("corrected", (-20.0, 1.0, 2.0))}, words)
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    beside, read = case.folder / "annotations" / "anna.draft.json", Path.read_bytes

    def read_bytes(path):  # root may read everything: rights alone would not do
        if path == beside:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    choose(opened_dataset.path)
    move(widget, application)
    assert any("of yesterday" in file.read_text() for file in place.folder.rglob("anna.draft.*"))
    assert read_draft(place, "anna").landmarks[LEFT][1] == pytest.approx(ELSEWHERE, abs=1e-3)
