"""A scene comes node by node, and the event loop turns between them: what is half there is nobody's."""

from __future__ import annotations

import pytest
import slicer
from CarotidLandmarkLib import scene
from panel_steps import children, load_scene, show, wait_for_children
from scene_cases import make_detection, neck_volume

THEIRS_LPS = (20.0, -15.0, 12.0)


@pytest.fixture
def bundle(widget, tmp_path):
    """A saved scene: one scan with its detection."""
    show(widget, make_detection(left=THEIRS_LPS), "theirs")
    scene.write_bundle(slicer.mrmlScene, tmp_path / "other.mrb")
    slicer.mrmlScene.Clear(0)
    return tmp_path / "other.mrb"


@pytest.fixture
def volume(widget, bundle):
    """A scan that is chosen, with the node ID that the scan of the saved scene had there."""
    node = scene.add_volume(slicer.mrmlScene, neck_volume(5.0, "mine"))
    widget.ui.inputSelector.setCurrentNode(node)
    slicer.app.processEvents()
    assert node.GetID() == "vtkMRMLScalarVolumeNode1"
    return node


def volume_called(name):
    return next(node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetName() == name)


def test_points_of_a_scene_that_is_added_are_not_taken_for_those_of_the_scan_that_is_chosen(widget, volume, bundle):
    load_scene(widget, bundle)
    assert widget.parameters.inputVolume is volume
    assert scene.find_detection(volume) is None is widget.nodes
    assert widget.ui.resultsTable.rowCount == 0
    widget.ui.inputSelector.setCurrentNode(volume_called("theirs"))
    assert scene.position_lps(widget.nodes, 0) == pytest.approx(THEIRS_LPS, abs=1e-3)


def test_what_is_there_of_half_a_scene_is_not_of_the_scan_that_is_chosen(widget, volume, bundle):
    mine = []
    load_scene(widget, bundle, meanwhile=lambda: mine.append(scene.find_detection(volume)))
    assert set(mine) == {None}


@pytest.mark.parametrize("clear", [True, False])
def test_a_scene_that_comes_slowly_is_followed_with_its_regions_and_its_table(widget, volume, bundle, clear):
    load_scene(widget, bundle, clear)
    nodes = scene.find_detection(volume_called("theirs"))
    assert len(nodes.ellipsoids) == 2 and nodes.table is not None
    slicer.mrmlScene.RemoveNode(nodes.points)
    slicer.app.processEvents()
    assert [node.GetScene() for node in nodes.all()] == [None] * 4


def test_a_detection_that_comes_while_many_nodes_change_at_once_is_followed_when_they_have(widget, volume):
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    nodes = scene.add_detection(volume, make_detection())
    slicer.app.processEvents()
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    slicer.app.processEvents()
    slicer.mrmlScene.RemoveNode(nodes.points)
    assert [node.GetScene() for node in nodes.all()] == [None] * 4


def test_points_that_are_given_to_another_scan_are_followed_there(widget, volume):
    nodes = show(widget)
    nodes.points.SetNodeReferenceID(scene.nodes.VOLUME_ROLE, volume.GetID())
    widget.logic.follower.follow_all()
    x, y, z = nodes.points.GetNthControlPointPositionWorld(0)
    a, b, c = volume.GetOrigin()
    volume.SetOrigin(a, b, c + 10.0)
    slicer.app.processEvents()
    assert nodes.points.GetNthControlPointPositionWorld(0) == pytest.approx((x, y, z + 10.0))


def test_a_detection_that_ends_while_a_scene_comes_waits_and_touches_no_points_of_it(widget, volume, bundle):
    mine = widget.logic.show(volume, make_detection())
    widget.parameters.passes = 2
    widget.ui.detectButton.click()
    slicer.app.wait_until(children)
    load_scene(widget, bundle, meanwhile=wait_for_children)
    slicer.app.wait_until(lambda: not widget.logic.running)
    theirs = scene.find_detection(volume_called("theirs"))
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")) == 2
    assert theirs.detection == make_detection(left=THEIRS_LPS)
    assert scene.position_lps(theirs, 0) == pytest.approx(THEIRS_LPS, abs=1e-3)
    assert scene.find_detection(volume).points is mine.points
    assert scene.find_detection(volume).detection.model.name == "tiny"


def test_a_name_that_is_to_be_taken_over_waits_until_a_scene_has_come(widget, bundle, opened_dataset):
    names = set()
    widget.ui.annotatorLineEdit.setText("ben")
    widget.ui.annotatorLineEdit.clearFocus()

    def meanwhile():
        widget.dataset._turn.start()
        names.add(widget.dataset._shown.annotator)

    load_scene(widget, bundle, meanwhile=meanwhile)
    assert names == {"anna"}
    slicer.app.wait_until(lambda: widget.dataset._shown.annotator == "ben")
