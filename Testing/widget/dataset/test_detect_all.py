"""Detect all: every case without a prediction, one after another, while the annotator goes on."""

from __future__ import annotations

import types

import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import Dataset
from panel_steps import case_shown, load_scene, nodes_shown, press, show, type_name, wait_for_children
from PySide6.QtCore import Qt
from scene_cases import LEFT, RIGHT, make_detection, neck_volume

NAMES = ("a", "b", "c")


@pytest.fixture
def waiting(tmp_path):
    """Three cases without a prediction and one with."""
    dataset = Dataset.create(tmp_path / "necks", (LEFT, RIGHT))
    for name in (*NAMES, "done"):
        dataset.add_case(neck_volume(5.0), name)
    dataset.save_prediction("done", make_detection())
    return dataset


@pytest.fixture
def begun(widget, waiting, choose):
    """The dataset, opened by anna, with Detect all under way."""
    type_name(widget, "anna")
    choose(waiting.path)
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.deviceComboBox.setCurrentText("cpu")
    widget.ui.detectAllButton.click()
    assert widget.ui.detectAllButton.text == "Cancel Detect all", widget.ui.statusLabel.text
    return waiting


def wait(application, widget):
    application.wait_until(lambda: widget.ui.detectAllButton.text == "Detect all", 200)


def predicted(dataset):
    return [case.id for case in dataset.cases() if case.readable_prediction() is not None]


def test_every_case_without_a_prediction_is_detected_while_the_open_one_is_reviewed(widget, begun, application):
    assert case_shown(widget) == "done"
    scene.set_position(nodes_shown(widget), 0, (30.0, -8.0, 4.0))
    press(application, Qt.Key.Key_A)
    assert "(1 of 3)" in widget.ui.detectAllLabel.text and widget.ui.detectAllProgressBar.isVisible()
    wait(application, widget)
    assert predicted(begun) == [*NAMES, "done"]
    assert begun.case("a").prediction().model.name == "tiny" and begun.case("a").prediction().volume.path == "a"
    assert begun.case("done").prediction().model.name == "made-up"
    assert widget.ui.statusLabel.text == "Detected in 3 of 3 cases."
    assert not widget.ui.detectAllProgressBar.isVisible()
    assert case_shown(widget) == "done"
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx((30.0, -8.0, 4.0))
    widget.ui.detectAllButton.click()
    assert widget.ui.statusLabel.text.startswith(
        "Every case of necks has a prediction. Detect looks at the one that is"
    )


def test_a_bad_case_is_named_and_the_rest_goes_on(widget, waiting, choose, application):
    waiting.add_case(neck_volume(5.0), "d")
    image = waiting.case("a").image_path
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    waiting.case("b").image_path.unlink()
    type_name(widget, "anna")
    choose(waiting.path)
    (waiting.path / "cases" / "c" / "case.json").write_text("{")
    widget.ui.passesSpinBox.setValue(2)
    widget.ui.detectAllButton.click()
    wait(application, widget)
    words = widget.ui.statusLabel.text
    assert words.startswith("Detected in 1 of 4 cases.")
    assert "a: The image is not the one that was added" in words and "b: The image of case b is not here" in words
    assert "c: case.json of case c is damaged" in words
    assert predicted(waiting) == ["d", "done"]


def test_cancel_stops_at_once_and_keeps_what_is_stored(widget, begun, application):
    application.wait_until(lambda: "(2 of 3)" in widget.ui.detectAllLabel.text, 120)
    widget.ui.detectAllButton.click()
    assert widget.ui.statusLabel.text == "Detect all was stopped after 1 of 3 cases; press it again to go on."
    assert len(predicted(begun)) == 2
    assert widget.ui.detectAllButton.text == "Detect all"


def test_the_open_case_keeps_what_is_shown_and_its_annotation_names_no_model_that_was_not_seen(
    widget, begun, application
):
    widget.dataset.open_case("a")
    scene.review.bring_back(nodes_shown(widget), 0, (20.0, -8.0, 4.0))
    scene.review.accept(nodes_shown(widget), 1)
    wait(application, widget)
    assert "The points of a, which is open, are there when you open it again." in widget.ui.statusLabel.text
    assert scene.position_lps(nodes_shown(widget), 0) == pytest.approx((20.0, -8.0, 4.0))
    press(application, Qt.Key.Key_S)
    saved = begun.case("a").annotation("anna")
    assert saved.points == {LEFT: (20.0, -8.0, 4.0), RIGHT: None}
    assert saved.model is None and saved.moved_mm == {LEFT: None, RIGHT: None}


def test_the_open_case_is_there_with_its_points_when_it_is_opened_again(widget, begun, application):
    widget.dataset.open_case("a")
    wait(application, widget)
    widget.dataset.open_case("a")
    assert nodes_shown(widget).detection.model.name == "tiny"
    points = nodes_shown(widget).points
    widget.dataset.open_case("a")  # as it is: nothing is read again
    assert nodes_shown(widget).points is points


def test_the_open_case_is_named_though_all_is_done_while_a_scene_comes(widget, begun, application, tmp_path):
    other = slicer.vtkMRMLScene()
    scene.add_volume(other, neck_volume(5.0, "other"))
    scene.write_bundle(other, tmp_path / "other.mrb")
    widget.dataset.open_case("a")
    application.wait_until(lambda: "(3 of 3)" in widget.ui.detectAllLabel.text, 200)
    load_scene(widget, tmp_path / "other.mrb", meanwhile=wait_for_children)
    wait(application, widget)
    assert "The points of a, which is open, are there when you open it again." in widget.ui.statusLabel.text


def test_one_detection_at_a_time(widget, begun, application):
    widget.ui.detectButton.click()
    assert widget.ui.statusLabel.text == "Detect all is running; wait for it, or cancel it first."
    assert not widget.logic.running
    widget.ui.detectAllButton.click()
    widget.ui.passesSpinBox.setValue(500)
    widget.ui.detectButton.click()
    assert widget.logic.running
    widget.ui.detectAllButton.click()
    assert widget.ui.statusLabel.text == "A detection is running; wait for it, or cancel it first."
    assert widget.ui.detectAllButton.text == "Detect all"


@pytest.mark.parametrize("end", ["close", "another folder", "scene closed"])
def test_it_ends_with_its_dataset(widget, begun, application, tmp_path, end):
    if end == "close":
        widget.ui.closeDatasetButton.click()
    elif end == "scene closed":
        slicer.mrmlScene.Clear(0)
        widget.initializeParameterNode()
    else:
        other = Dataset.create(tmp_path / "other", (LEFT, RIGHT))
        widget.dataset.open_folder(str(other.path))
    assert widget.ui.detectAllButton.text == "Detect all"
    assert predicted(begun) == ["done"]


def test_a_prediction_that_somebody_else_has_stored_meanwhile_stays(widget, begun, application):
    begun.save_prediction("c", make_detection())
    wait(application, widget)
    assert begun.case("c").prediction().model.name == "made-up"
    assert widget.ui.statusLabel.text == "Detected in 3 of 3 cases."


def test_a_dataset_that_can_not_be_written_stops_it_with_the_reason(widget, begun, application, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_prediction", full)
    wait(application, widget)
    assert widget.ui.statusLabel.text == (
        "Detect all was stopped after 0 of 3 cases: the dataset can not be written (No space left on device)."
    )


def test_a_model_for_other_landmarks_is_refused_before_anything_begins(widget, waiting, choose, monkeypatch):
    type_name(widget, "anna")
    choose(waiting.path)
    spec = types.SimpleNamespace(name="hyoid")
    bundle = widget.logic.bundles[0]
    metadata = types.SimpleNamespace(name=bundle.metadata.name, version=bundle.metadata.version, landmarks=(spec,))
    monkeypatch.setattr(widget.logic, "bundles", [types.SimpleNamespace(metadata=metadata, path=bundle.path)])
    widget.ui.detectAllButton.click()
    assert "choose a model for these landmarks" in widget.ui.statusLabel.text
    assert widget.ui.detectAllButton.text == "Detect all"


def test_a_folder_that_is_away_when_it_ends_does_not_empty_the_queue(widget, begun, application):
    application.wait_until(lambda: "(2 of 3)" in widget.ui.detectAllLabel.text, 120)
    away = begun.path.rename(begun.path.with_name("gone"))
    wait(application, widget)
    away.rename(begun.path)
    assert widget.ui.caseLabel.text == "necks: case 1 of 4, 0 reviewed."
    assert widget.ui.caseList.count == 4


def test_without_a_dataset_it_can_not_be_pressed(widget):
    show(widget)
    assert not widget.ui.detectAllButton.enabled
