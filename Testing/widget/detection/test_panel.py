"""The panel on a scene with made-up results: what it shows, and what its controls do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.detection import ModelInfo, Quality
from CarotidLandmarkLib.panel.results import LEAST_PX
from CarotidLandmarkLib.scene import review_of
from panel_steps import cells, load_scene, press, show
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, landmark, make_detection, neck_volume
from tiny_model import save_tiny_model


def test_without_a_scan_there_is_nothing_to_press(widget):
    assert not widget.ui.detectButton.enabled
    assert not widget.ui.acceptButton.enabled
    assert not widget.ui.vesselsButton.enabled
    assert widget.ui.resultsTable.rowCount == 0
    assert widget.ui.adviceLabel.text == "Choose the scan under CT angiography."


def test_where_no_model_is_the_panel_says_so(widget):
    scene.add_volume(slicer.mrmlScene, neck_volume(5.0))
    widget.logic.bundles = []
    widget.fillModels()
    widget.initializeParameterNode()
    assert not widget.ui.detectButton.enabled
    assert "There is no model here" in widget.ui.adviceLabel.text


def test_two_models_of_one_name_and_version_are_told_apart_and_the_chosen_one_detects(widget, tiny, tmp_path):
    other, same = save_tiny_model(tmp_path / "own", presence=-9.0), save_tiny_model(tmp_path / "copy")
    widget.logic.bundles = [tiny, same, other]
    widget.fillModels()
    widget.initializeParameterNode()
    combo = widget.ui.modelComboBox
    titles = [combo.itemText(number) for number in range(combo.count)]
    assert titles == ["tiny 1.0", f"tiny 1.0 ({other.metadata.weights_sha256[:8]})"]
    combo.setCurrentIndex(1)
    assert widget.settings().bundle == other.path


@pytest.mark.parametrize(("components", "words"), [(0, "has no voxels"), (3, "is a colour volume")])
def test_a_volume_that_is_no_scan_is_refused_by_every_button_in_a_sentence(widget, components, words):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "odd")
    if components:
        image = vtk.vtkImageData()
        image.SetDimensions(20, 20, 20)
        image.AllocateScalars(vtk.VTK_SHORT, components)
        node.SetAndObserveImageData(image)
    widget.ui.inputSelector.setCurrentNode(node)
    for button in (widget.ui.vesselsButton, widget.ui.detectButton):
        widget.ui.statusLabel.setText("")
        button.click()
        assert words in widget.ui.statusLabel.text
    widget.ui.windowButton.click()
    assert widget.ui.statusLabel.text == "CTA 900 / 300"


def test_names_and_sentences_are_shown_as_they_are_written(widget):
    show(widget, name="<b>neck</b>")
    widget.stepCase(1)
    assert widget.ui.statusLabel.text == "<b>neck</b>, scan 1 of 1"
    labels = (widget.ui.statusLabel, widget.ui.caseLabel, widget.ui.reviewLabel, widget.ui.detectAllLabel)
    assert {label.textFormat for label in labels} == {Qt.TextFormat.PlainText}


def test_every_field_has_a_name_for_those_who_can_not_see_it(widget):
    nameless = []
    for name, field in vars(widget.ui).items():
        if isinstance(field, QWidget) and field.focusPolicy != Qt.FocusPolicy.NoFocus:
            label = QAccessible.queryAccessibleInterface(field).text(QAccessible.Text.Name)
            nameless += [] if label or name.startswith("qt_") else [name]
    assert nameless == []


def test_the_key_tab_goes_on_from_the_table(widget, application):
    show(widget)
    widget.ui.resultsTable.setFocus()
    press(application, Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is not widget.ui.resultsTable


def test_long_names_of_landmarks_wrap_and_the_table_is_as_high_as_its_rows(widget, application):
    label = "Brachiocephalic trunk origin from the aortic arch"
    names = [LEFT, RIGHT, label.lower().replace(" ", "_"), "left_vertebral_artery_origin", "dens", "basion"]
    marks = tuple(landmark(name, (0.0, float(number), 0.0)) for number, name in enumerate(names))
    show(widget, replace(make_detection(), landmarks=marks))
    table = widget.ui.resultsTable
    application.wait_until(lambda: table.rowHeight(2) > table.rowHeight(4))
    assert cells(widget, 2)["Landmark"] == label
    assert table.horizontalHeader().length() <= table.viewport().width
    assert cells(widget, 0)["R A S (mm)"].startswith("0.0 0.0 0.0")
    application.wait_until(lambda: table.height > LEAST_PX)
    show(widget, replace(make_detection(), landmarks=marks[-1:]), name="one")
    application.wait_until(lambda: table.height == LEAST_PX)


def test_a_scan_that_is_loaded_can_be_chosen_but_a_label_map_can_not(widget):
    scene.add_volume(slicer.mrmlScene, neck_volume(5.0, "cta"))
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    selector = widget.ui.inputSelector
    assert [selector.itemText(n) for n in range(selector.count)] == ["None", "cta"]
    selector.setCurrentNode(slicer.util.getNode("cta"))
    assert widget.ui.detectButton.enabled


def test_the_table_tells_verdict_presence_spread_and_place_and_the_volume_on_request(widget):
    quality = Quality("review", ("L bifurcation: wide uncertainty, check the point.",), ((LEFT,),))
    show(widget, make_detection(right=None, quality=quality))
    left, right = cells(widget, 0), cells(widget, 1)
    assert left == {
        "Landmark": "L bifurcation",
        "Status": "review",
        "Presence": "97%",
        "± 90%\n(mm)": "5.4 4.5 2.9",
        "R A S (mm)": "-27.0 11.0 6.5\nslice 14",
    }
    assert (right["Status"], right["R A S (mm)"]) == ("not found", "none")
    table = widget.ui.resultsTable
    colours = [table.item(row, 1).background().color().name() for row in range(2)]
    assert colours[0] != colours[1]
    assert "251 mm³" in table.item(0, 3).toolTip()
    assert "wide uncertainty" in widget.ui.adviceLabel.text


def test_the_level_of_the_regions_is_said_as_it_was_chosen(widget):
    made = make_detection()
    regions = [replace(mark.confidence, level=0.945) for mark in made.landmarks]
    marks = tuple(replace(mark, confidence=region) for mark, region in zip(made.landmarks, regions, strict=True))
    nodes = show(widget, replace(made, landmarks=marks))
    assert "± 94.5%\n(mm)" in cells(widget, 0)
    assert "The region at 94.5% has" in widget.ui.resultsTable.item(0, 3).toolTip()
    assert nodes.points.GetNthControlPointDescription(0).endswith("at 94.5%")


@pytest.mark.parametrize("origin", [0.0, -1000.0])
def test_the_table_fits_the_panel_without_scrolling(widget, application, origin):
    volume = scene.add_volume(slicer.mrmlScene, replace_origin(neck_volume(5.0), origin))
    nodes = widget.logic.show(volume, make_detection(left=(27.0, -11.0, origin + 6.5), right=(-25.0, -9.0, origin)))
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.annotatorLineEdit.setText("reader-1")
    scene.set_position(nodes, 0, (35.0, -11.0, origin + 6.5))
    widget.table.select(1)
    widget.ui.acceptButton.click()
    for _ in range(5):
        application.processEvents()
    table = widget.ui.resultsTable
    assert cells(widget, 0)["Status"] == "reviewed by reader-1, moved 8.0 mm"
    assert sum(table.columnWidth(column) for column in range(table.columnCount)) <= table.viewport().width
    assert not table.horizontalScrollBar().visible and not table.verticalScrollBar().visible
    words = table.fontMetrics().horizontalAdvance("reviewed by")
    assert table.columnWidth(1) >= words * 0.75  # a line holds a word


def replace_origin(volume, z):
    affine = volume.affine_lps.copy()
    affine[2, 3] += z
    return replace(volume, affine_lps=affine)


def test_selecting_a_row_jumps_all_slices_and_centres_the_3d_view(widget, application):
    show(widget)
    views = application.layoutManager()
    for row, lps in ((1, RIGHT_LPS), (0, LEFT_LPS)):
        item = widget.ui.resultsTable.visualItemRect(widget.ui.resultsTable.item(row, 0))
        QTest.mouseClick(widget.ui.resultsTable.viewport(), Qt.MouseButton.LeftButton, pos=item.center())
        expected = scene.to_ras(lps)
        for name, axis in (("Red", 2), ("Green", 1), ("Yellow", 0)):
            matrix = views.slices[name].node.GetSliceToRAS()
            assert matrix.GetElement(axis, 3) == pytest.approx(expected[axis], abs=1e-3), name
        camera = views.three_d.renderer.GetActiveCamera()
        assert np.allclose(camera.GetFocalPoint(), expected, atol=1e-3)


def test_the_confidence_level_changes_ellipsoids_and_volumes_without_detecting_again(widget, tiny):
    model = ModelInfo("tiny", "1.0", tiny.metadata.weights_sha256)
    nodes = show(widget, replace(make_detection(), model=model))
    widget.ui.levelSlider.setValue(0.5)
    small = nodes.ellipsoids[LEFT].GetPolyData().GetLength()
    assert "± 50%\n(mm)" in cells(widget, 0)
    widget.ui.levelSlider.setValue(0.95)
    assert nodes.ellipsoids[LEFT].GetPolyData().GetLength() == pytest.approx(small * 3.1 / 1.6, rel=1e-3)
    assert nodes.detection[LEFT].confidence.level == pytest.approx(0.95)
    widget.ui.levelSlider.setValue(0.99)
    assert "calibrated up to 95%" in widget.ui.statusLabel.text
    assert nodes.detection[LEFT].confidence.level == pytest.approx(0.95)
    assert not widget.logic.running


def test_a_level_of_an_absent_model_is_refused_in_words(widget):
    nodes = show(widget)
    before = nodes.detection
    widget.ui.levelSlider.setValue(0.6)
    assert "made-up 1.0 is not installed here" in widget.ui.statusLabel.text
    assert nodes.detection == before


def test_a_version_with_the_same_weights_does_not_lend_its_calibration_to_another(widget, tiny):
    model = ModelInfo("tiny", "0.9", tiny.metadata.weights_sha256)
    nodes = show(widget, replace(make_detection(), model=model))
    before = nodes.detection
    widget.ui.levelSlider.setValue(0.5)
    assert "tiny 0.9 is not installed here" in widget.ui.statusLabel.text
    assert nodes.detection == before


def test_the_opacity_slider_acts_on_the_ellipsoids_at_once(widget):
    nodes = show(widget)
    widget.ui.opacitySlider.setValue(0.8)
    assert [model.GetDisplayNode().GetOpacity() for model in nodes.ellipsoids.values()] == pytest.approx([0.8, 0.8])


def test_one_press_renders_the_vessels_and_another_hides_them(widget):
    nodes = show(widget)
    logic = slicer.modules.volumerendering.logic()
    widget.ui.vesselsButton.click()
    display = logic.GetFirstVolumeRenderingDisplayNode(nodes.volume)
    assert display.GetVisibility()
    assert widget.ui.vesselsButton.checked
    widget.ui.vesselsButton.click()
    assert not display.GetVisibility()
    assert not widget.ui.vesselsButton.checked


def test_points_follow_when_the_scan_is_moved_by_a_transform_later(widget, application):
    nodes = show(widget)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 10.0], [0, 1, 0, 0], [0, 0, 1, -7.0], [0, 0, 0, 1]]))
    transform.SetMatrixTransformToParent(matrix)
    nodes.volume.SetAndObserveTransformNodeID(transform.GetID())
    application.processEvents()
    assert nodes.points.GetNthControlPointPositionWorld(0) == pytest.approx([-17.0, 11.0, -0.5])
    assert nodes.ellipsoids[LEFT].GetTransformNodeID() == transform.GetID()
    assert widget.ui.resultsTable.item(0, 4).text().startswith("-17.0 11.0 -0.5")  # where the views have it
    assert review_of(nodes).reviewed == ()


def test_points_that_are_put_under_a_transform_alone_count_as_moved_by_hand(widget, application):
    nodes = show(widget)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 1.0, 2.0, 1.0])))
    nodes.points.SetAndObserveTransformNodeID(transform.GetID())
    application.processEvents()
    assert nodes.points.GetNthControlPointPositionWorld(0) == pytest.approx([-27.0, 11.0, 13.0])
    assert nodes.points.GetParentTransformNode() is None
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "corrected"}


def test_a_copy_of_the_list_is_the_users_own(widget, application):
    nodes = show(widget)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "copy")
    copy.Copy(nodes.points)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    copy.SetAndObserveTransformNodeID(transform.GetID())
    copy.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    copy.SetNthControlPointLabel(0, "mine")
    widget.parameters.opacity = 0.7
    application.processEvents()
    assert not copy.GetLocked()
    assert (copy.GetNthControlPointLabel(0), copy.GetParentTransformNode()) == ("mine", transform)
    assert review_of(nodes).reviewed == ()


def test_with_the_list_of_a_scan_that_is_not_shown_its_ellipsoids_and_table_go(widget):
    hidden = show(widget)
    shown = show(widget, name="another")
    slicer.mrmlScene.RemoveNode(hidden.points)
    assert [node.GetScene() for node in hidden.all()] == [None] * 4
    assert {node.GetScene() for node in shown.all()} == {slicer.mrmlScene}
    assert hidden.volume.GetScene() is slicer.mrmlScene


def test_removing_the_scan_or_closing_the_scene_empties_the_panel(widget):
    nodes = show(widget)
    slicer.mrmlScene.RemoveNode(nodes.volume)
    assert widget.ui.resultsTable.rowCount == 0
    show(widget, name="another")
    assert widget.ui.resultsTable.rowCount == 2
    slicer.mrmlScene.Clear(0)
    assert widget.ui.resultsTable.rowCount == 0
    assert not widget.ui.detectButton.enabled


def test_several_scans_keep_their_own_results(widget):
    first = show(widget, make_detection(right=None), "first")
    second = show(widget, make_detection(), "second")
    assert cells(widget, 1)["Status"] == "ok"
    widget.ui.inputSelector.setCurrentNode(first.volume)
    assert cells(widget, 1)["Status"] == "not found"
    widget.ui.inputSelector.setCurrentNode(second.volume)
    assert cells(widget, 1)["Status"] == "ok"


@pytest.mark.parametrize("clear", [False, True])
def test_a_saved_scene_opens_with_its_settings_and_results(widget, tmp_path, clear):
    nodes = show(widget)
    scene.set_position(nodes, 0, (1.0, 2.0, 3.0))
    widget.ui.passesSpinBox.setValue(20)
    widget.ui.seedSpinBox.setValue(7)
    widget.ui.deviceComboBox.setCurrentText("cpu")
    scene.write_bundle(slicer.mrmlScene, tmp_path / "saved.mrb")
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    assert (widget.ui.passesSpinBox.value, widget.ui.seedSpinBox.value) == (50, 0)
    load_scene(widget, tmp_path / "saved.mrb", clear)
    assert (widget.ui.passesSpinBox.value, widget.ui.seedSpinBox.value) == (20, 7)
    assert widget.ui.deviceComboBox.currentText == "cpu"
    assert cells(widget, 0)["R A S (mm)"] == "-1.0 -2.0 3.0\nslice 13"
