"""The module comes and goes: left while it detects, ended, reloaded; and what it keeps of nodes that are gone."""

from __future__ import annotations

import gc
import sys
import weakref

import psutil
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.panel.follower import Observations
from panel_steps import nodes_shown, press, show
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget
from scene_cases import make_detection, neck_volume


@pytest.fixture
def second(opened, tiny):
    """Makes another panel of the module, as Reload does: set up while it is entered, without a call of enter."""
    made = []

    def make(entered):
        panel = QWidget()
        QVBoxLayout(panel)
        panel.isEntered = entered
        widget = type(opened)(panel)
        made.append(widget)
        widget.setup()
        widget.logic.bundles = [tiny]
        widget.fillModels()
        widget.initializeParameterNode()
        return widget

    opened.exit()
    yield make
    for widget in made:
        widget.cleanup()
    opened.enter()


def test_leaving_the_module_while_it_detects_ends_in_no_error_and_the_panel_is_at_rest(widget, application, capsys):
    nodes = show(widget)
    widget.parameters.passes = 2
    widget.ui.detectButton.click()
    widget.exit()
    widget.parent.isEntered = False
    application.wait_until(lambda: not widget.logic.running, 120)
    application.processEvents()
    widget.parent.isEntered = True
    bundles = widget.logic.bundles
    widget.enter()
    widget.logic.bundles = bundles
    assert "Traceback" not in capsys.readouterr().err
    assert not widget.ui.progressBar.visible
    assert widget.ui.detectButton.text == "Detect"
    assert scene.find_detection(nodes.volume).detection.model.name == "tiny"


def test_the_application_may_end_while_a_detection_runs_when_other_modules_are_gone(application, second, capsys):
    slicer.mrmlScene.Clear(0)
    widget = second(True)
    volume = scene.add_volume(slicer.mrmlScene, neck_volume(5.0))
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.detectButton.click()
    assert widget.logic.running
    with application.ending():
        widget.cleanup()
        application.processEvents()
    assert not widget.logic.running
    assert "Traceback" not in capsys.readouterr().err


def test_the_application_may_end_while_every_case_of_a_dataset_is_detected(application, second, dataset, capsys):
    slicer.mrmlScene.Clear(0)
    (dataset.case("sure").folder / "prediction.json").unlink()
    widget = second(True)
    widget.ui.annotatorLineEdit.setText("anna")
    widget.dataset.open_folder(str(dataset.path))
    widget.ui.detectAllButton.click()
    assert widget.ui.detectAllButton.text == "Cancel Detect all"
    with application.ending():
        widget.cleanup()
        application.processEvents()
    assert not widget.dataset._all.running
    assert "Traceback" not in capsys.readouterr().err


def test_after_reload_the_keys_work(application, second):
    slicer.mrmlScene.Clear(0)
    widget = second(True)
    nodes = show(widget)
    widget.table.select(0)
    application.mainWindow().setFocus()  # not in a field that a test before has typed into
    press(application, Qt.Key.Key_A)
    assert nodes.points.GetNthControlPointSelected(0) == 0


def test_reload_reads_the_library_from_the_disk_too(widget):
    before = dict(sys.modules)
    try:
        widget.onReload()
        assert [name for name in sys.modules if name.startswith("CarotidLandmarkLib")] == []
        assert "slicer" in sys.modules
    finally:
        sys.modules.update(before)


def test_before_it_is_entered_the_module_takes_no_keys(application, second):
    slicer.mrmlScene.Clear(0)
    widget = second(False)
    nodes = show(widget)
    widget.table.select(0)
    application.mainWindow().setFocus()  # not in a field that a test before has typed into
    press(application, Qt.Key.Key_A)
    assert nodes.points.GetNthControlPointSelected(0) == 1


def test_a_colour_volume_is_neither_the_input_nor_a_scan_to_step_through(widget):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    widget.initializeParameterNode()
    assert widget.parameters.inputVolume is None
    assert widget.logic.volumes() == []


def test_observations_let_go_of_their_nodes():
    node = slicer.vtkMRMLScalarVolumeNode()
    observations, calls = Observations(), []
    observations.add(node, "ModifiedEvent", lambda *_: calls.append(1))
    node.Modified()
    observations.release()
    node.Modified()
    assert calls == [1]
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_entering_again_and_again_observes_the_parameters_once(widget):
    bundles = widget.logic.bundles
    for _ in range(5):
        widget.exit()
        widget.enter()
    widget.logic.bundles = bundles
    calls = []
    widget.refresh, refresh = lambda: calls.append(1), widget.refresh
    try:
        widget.parameters.parameterNode.Modified()
    finally:
        widget.refresh = refresh
    assert len(calls) == 1


def test_volumes_and_points_that_have_left_the_scene_are_forgotten(widget, opened_dataset, application):
    gone = weakref.ref(nodes_shown(widget).volume)
    press(application, Qt.Key.Key_N)
    application.processEvents()
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted otherwise there")
def test_memory_is_flat_over_detections_that_come_and_go(widget, application):
    volume = neck_volume(1.25)  # 1.8 MB
    sizes = []
    for number in range(60):
        node = scene.add_volume(slicer.mrmlScene, volume)
        widget.logic.show(node, make_detection())
        widget.ui.inputSelector.setCurrentNode(node)
        scene.remove_volume(node)
        if number in (19, 59):
            application.processEvents()
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss)
    assert sizes[1] - sizes[0] < 40 * volume.array.nbytes / 4
