"""A detection in Slicer's scene (slicer-core): places, frames, refusals, transforms, save and reopen."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene.offscreen import Stage
from CarotidLandmarkLib.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, make_detection, neck_volume
from vtk.util.numpy_support import vtk_to_numpy


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def nodes(stage):
    return scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection())


def rotation(x, y, z):
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ about_y @ about_x


def linear_transform(stage, matrix):
    node = stage.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent = vtk.vtkMatrix4x4()
    parent.DeepCopy(np.asarray(matrix, dtype=float).ravel())
    node.SetMatrixTransformToParent(parent)
    return node


def world(nodes, index):
    position = [0.0] * 3
    nodes.points.GetNthControlPointPositionWorld(index, position)
    return np.array(position)


angles = st.floats(-3, 3)


@settings(max_examples=30, deadline=None)
@given(
    turn=st.tuples(angles, angles, angles),
    spacing=st.tuples(*[st.floats(0.3, 3)] * 3),
    flip=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    origin=st.tuples(*[st.floats(-200, 200)] * 3),
)
def test_a_volume_keeps_its_place_through_the_scene_in_any_orientation(turn, spacing, flip, origin):
    affine = np.eye(4)
    affine[:3, :3] = rotation(*turn) * np.array(spacing) * np.array(flip)
    affine[:3, 3] = origin
    array = np.arange(16 * 17 * 18, dtype=np.int16).reshape(16, 17, 18) - 1000
    node = scene.add_volume(slicer.vtkMRMLScene(), Volume(array, affine, "oblique"))
    back = scene.volume_from_node(node)
    assert np.allclose(back.affine_lps, affine, atol=1e-9)
    assert np.array_equal(back.array, array)
    assert back.name == "oblique"


def test_the_scene_is_ras_so_left_is_minus_x(nodes):
    assert np.allclose(world(nodes, 0), (-27.0, 11.0, 6.5))
    corner = [0.0] * 4
    matrix = vtk.vtkMatrix4x4()
    nodes.volume.GetIJKToRASMatrix(matrix)
    matrix.MultiplyPoint((0, 0, 0, 1), corner)
    assert np.allclose(corner[:3], np.array([57.5, 57.5, -57.5]))


def test_voxels_are_shared_with_the_node_and_not_copied(nodes):
    volume = scene.volume_from_node(nodes.volume)
    assert np.shares_memory(volume.array, scene.volume_from_node(nodes.volume).array)
    volume.array[0, 0, 0] = 123
    assert nodes.volume.GetImageData().GetScalarComponentAsDouble(0, 0, 0, 0) == 123


def test_voxels_of_another_type_keep_their_values(stage):
    node = scene.add_volume(stage.scene, neck_volume(5.0))
    cast = vtk.vtkImageCast()
    cast.SetInputData(node.GetImageData())
    cast.SetOutputScalarTypeToDouble()
    cast.Update()
    before = scene.volume_from_node(node).array.copy()
    node.SetAndObserveImageData(cast.GetOutput())
    after = scene.volume_from_node(node).array
    assert after.dtype in (np.int16, np.float32)
    assert np.array_equal(after, before)


def test_points_are_named_fixed_in_number_and_described(nodes):
    points = nodes.points
    assert [points.GetNthControlPointLabel(n) for n in range(2)] == ["L", "R"]
    assert points.AddControlPoint((0.0, 0.0, 0.0), "third") == -1
    reach = "{:.1f} {:.1f} {:.1f}".format(*make_detection().landmarks[0].confidence.reach_mm)
    assert points.GetNthControlPointDescription(0) == f"predicted, presence 97%, ± {reach} mm (R A S) at 90%"


def test_a_missing_landmark_is_missing_in_the_scene_and_has_no_ellipsoid(stage):
    nodes = scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection(right=None))
    assert nodes.points.GetNumberOfDefinedControlPoints() == 1
    assert nodes.points.GetNthControlPointPositionStatus(1) == slicer.vtkMRMLMarkupsNode.PositionMissing
    assert scene.position_lps(nodes, 1) is None
    assert nodes.ellipsoids[RIGHT].GetPolyData().GetNumberOfPoints() == 0
    assert not nodes.ellipsoids[RIGHT].GetDisplayNode().GetVisibility()
    assert nodes.ellipsoids[LEFT].GetDisplayNode().GetVisibility()


def test_the_ellipsoid_is_the_confidence_region_and_faces_outwards(nodes):
    landmark = nodes.detection[LEFT]
    surface = nodes.ellipsoids[LEFT].GetPolyData()
    ras = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    offsets_lps = ras * (-1, -1, 1) - np.array(landmark.position_lps_mm)
    along_axes = offsets_lps @ np.array(landmark.confidence.axes_lps).T / np.array(landmark.confidence.semi_axes_mm)
    assert np.allclose(np.linalg.norm(along_axes, axis=1), 1.0, atol=1e-4)
    assert np.ptp(along_axes, axis=0) == pytest.approx([2, 2, 2], abs=0.02)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    assert np.all(np.sum(normals * (ras - to_centre(landmark)), axis=1) > 0)


def to_centre(landmark):
    return scene.to_ras(landmark.position_lps_mm)


def test_ellipsoids_are_cut_by_slices_and_let_clicks_through_to_the_point(nodes):
    for model in nodes.ellipsoids.values():
        assert model.GetDisplayNode().GetVisibility2D()
        assert 0 < model.GetDisplayNode().GetOpacity() < 1
        assert not model.GetSelectable()


@settings(max_examples=15, deadline=None)
@given(turn=st.tuples(angles, angles, angles), shift=st.tuples(*[st.floats(-100, 100)] * 3))
def test_points_and_ellipsoids_follow_the_volumes_transform(turn, shift):
    stage = Stage()
    volume_node = scene.add_volume(stage.scene, neck_volume(5.0))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(*turn), shift
    transform = linear_transform(stage, matrix)
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    nodes = scene.add_detection(volume_node, make_detection())
    for index, lps in enumerate((LEFT_LPS, RIGHT_LPS)):
        expected = matrix @ np.append(scene.to_ras(lps), 1.0)
        assert np.allclose(world(nodes, index), expected[:3], atol=1e-6)
        assert scene.position_lps(nodes, index) == pytest.approx(lps)
    bounds = [0.0] * 6
    nodes.ellipsoids[LEFT].GetRASBounds(bounds)
    assert np.allclose(np.reshape(bounds, (3, 2)).mean(axis=1), world(nodes, 0), atol=0.05)
    volume_node.SetAndObserveTransformNodeID(None)
    scene.follow_volume(nodes)
    assert np.allclose(world(nodes, 0), scene.to_ras(LEFT_LPS))


def refused(stage, kind):
    """One unusable node of each kind."""
    if kind == "none":
        return None
    if kind == "segmentation":
        return stage.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "parts")
    if kind == "empty":
        return stage.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    if kind == "colour":
        node = stage.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
        image = vtk.vtkImageData()
        image.SetDimensions(4, 4, 4)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
        node.SetAndObserveImageData(image)
        return node
    if kind == "label map":
        node = stage.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        node.SetAndObserveImageData(scene.add_volume(stage.scene, neck_volume(5.0)).GetImageData())
        return node
    node = scene.add_volume(stage.scene, neck_volume(5.0))
    bend = stage.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    bend.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(bend.GetID())
    return node


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("none", "No volume"),
        ("segmentation", "not a scalar volume"),
        ("label map", "not a scalar volume"),
        ("colour", "colour volume|not a scalar volume"),
        ("empty", "no voxels"),
        ("nonlinear", "nonlinear transform"),
    ],
)
def test_what_is_not_a_ct_is_refused_in_one_sentence(stage, kind, word):
    with pytest.raises(scene.SceneError, match=word) as caught:
        scene.volume_from_node(refused(stage, kind))
    assert "\n" not in str(caught.value)


def test_another_confidence_level_changes_the_ellipsoids_but_not_a_moved_point(nodes):
    scene.set_position(nodes, 0, (1.0, 2.0, 3.0))
    before = nodes.ellipsoids[LEFT].GetPolyData().GetLength()
    scene.show_detection(nodes, make_detection(scale=0.5))
    assert nodes.ellipsoids[LEFT].GetPolyData().GetLength() == pytest.approx(before / 2, rel=1e-3)
    assert scene.position_lps(nodes, 0) == pytest.approx((1.0, 2.0, 3.0))
    assert nodes.table.GetTable().GetNumberOfRows() == 2


def test_the_table_says_what_was_found_in_ras(nodes):
    table = nodes.table.GetTable()
    row = {table.GetColumnName(c): table.GetValue(0, c).ToString() for c in range(table.GetNumberOfColumns())}
    assert (row["name"], row["status"]) == (LEFT, "detected")
    assert [float(row[key]) for key in ("R [mm]", "A [mm]", "S [mm]")] == pytest.approx([-27.0, 11.0, 6.5])
    assert float(row["axial slice"]) == 1 + round((6.5 - neck_volume(5.0).to_lps([0, 0, 0])[2]) / 5.0)
    assert float(row["volume [mm³]"]) == pytest.approx(4 / 3 * np.pi * 60, rel=1e-4)


def test_slices_are_counted_in_the_image_wherever_the_volume_is_put(nodes):
    before = scene.axial_slice(nodes, scene.position_lps(nodes, 0))
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (0.0, 0.0, 45.0)))
    scene.follow_volume(nodes)
    assert scene.axial_slice(nodes, scene.position_lps(nodes, 0)) == before
    assert scene.axial_slice(nodes, None) is None
    nodes.volume.SetAndObserveImageData(None)
    scene.show_detection(nodes, make_detection(scale=0.5))
    assert nodes.table.GetTable().GetNumberOfRows() == 2


def test_two_volumes_side_by_side_keep_their_own_detections(stage):
    first = scene.add_volume(stage.scene, neck_volume(5.0, "first"))
    second = scene.add_volume(stage.scene, neck_volume(5.0, "second"))
    scene.add_detection(first, make_detection())
    scene.add_detection(second, make_detection(left=None))
    assert scene.find_detection(first).detection[LEFT].status == "detected"
    assert scene.find_detection(second).detection[LEFT].status == "missing"
    scene.remove_detection(scene.find_detection(first))
    assert scene.find_detection(first) is None
    assert len(scene.find_detections(stage.scene)) == 1
    assert stage.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 2


def test_everything_is_in_one_folder_beside_the_volume(nodes, stage):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(stage.scene)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes.all()}
    assert len(folders) == 1
    folder = folders.pop()
    assert hierarchy.GetItemLevel(folder) == "Folder"
    assert hierarchy.GetItemParent(folder) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.volume))
    scene.remove_detection(nodes)
    assert not hierarchy.GetItemName(folder)


def test_what_the_user_has_put_into_that_folder_stays_when_the_detection_goes(nodes, stage):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(stage.scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.points))
    mine = stage.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    hierarchy.SetItemParent(hierarchy.CreateItem(folder, mine), folder)
    scene.remove_detection(nodes)
    assert mine.GetScene() is stage.scene
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(mine)) == folder


def test_removing_the_volume_leaves_no_detection_to_be_found(nodes, stage):
    stage.scene.RemoveNode(nodes.volume)
    assert scene.find_detections(stage.scene) == []
