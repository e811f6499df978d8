"""A detection in Slicer's scene: named points, confidence ellipsoids, a table, in a folder beside their volume.

The scene is RAS, everything else here is LPS; this file is where the signs change. All nodes are in the volume's own
frame and hang under the volume's transform, so they follow it. Runs in Slicer and on the ``slicer-core`` wheel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..detection import ConfidenceRegion, Detection, LandmarkResult
from ..errors import UserError
from ..landmarks import PALETTE, label, rgb
from ..volume import Volume, from_array

LABELS = {name: label(name) for name in ("left_carotid_bifurcation", "right_carotid_bifurcation")}
COLOURS = tuple(rgb(n) for n in range(len(PALETTE)))

DETECTION_ATTRIBUTE = "CarotidLandmark.Detection"
LANDMARK_ATTRIBUTE = "CarotidLandmark.Landmark"
VOLUME_ROLE = "CarotidLandmark.Volume"
ELLIPSOID_ROLE = "CarotidLandmark.Ellipsoid"
TABLE_ROLE = "CarotidLandmark.Table"

TABLE_COLUMNS = (
    "name",
    "status",
    "presence",
    "R [mm]",
    "A [mm]",
    "S [mm]",
    "+- R [mm]",
    "+- A [mm]",
    "+- S [mm]",
    "level",
    "volume [mm3]",
)
_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class SceneError(UserError):
    """A node can not be used. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True)
class DetectionNodes:
    """The nodes of one detection on one volume. ``ellipsoids``: one model per landmark name, missing ones too."""

    volume: Any
    points: Any
    ellipsoids: Mapping[str, Any]
    table: Any

    @property
    def detection(self) -> Detection:
        """What was detected, as last given to `add_detection` or `show_detection`."""
        return Detection.from_json(self.points.GetAttribute(DETECTION_ATTRIBUTE))

    def all(self) -> list[Any]:
        """Points, ellipsoids, table."""
        return [self.points, *self.ellipsoids.values(), self.table]


def to_ras(vector_lps: Any) -> np.ndarray:
    """A point or direction [3] from LPS to RAS (or back: it is its own inverse)."""
    return np.asarray(vector_lps, dtype=float) * (-1.0, -1.0, 1.0)


def volume_from_node(node: Any) -> Volume:
    """The scan in a ``vtkMRMLScalarVolumeNode``, in the volume's own frame (a linear parent transform is left aside).

    The voxels are shared with the node where `volume.from_array` can share them. Raises SceneError like
    `voxels_from_node`, and VolumeError when they can not be a CT.
    """
    return from_array(*voxels_from_node(node))


def voxels_from_node(node: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """The same, unchecked and never copied: voxels [k, j, i] of any type, affine to LPS [4, 4], name.

    Raises SceneError: no volume, a segmentation, label map or colour volume, no voxels, a nonlinear transform above it.
    """
    if node is None:
        raise SceneError("No volume is selected; choose the CT angiography to look at.")
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise SceneError(
            f"'{name}' is not a scalar volume; choose the CT itself, not a segmentation or another object."
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise SceneError(f"The volume '{name}' has no voxels; load it again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise SceneError(f"'{name}' is a colour volume; choose a CT with one value (HU) per voxel.")
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise SceneError(f"'{name}' is under a nonlinear transform; harden it or take the volume out of it first.")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    return array, _LPS_RAS @ _array(matrix), name


def add_volume(scene: Any, volume: Volume) -> Any:
    """A ``vtkMRMLScalarVolumeNode`` in ``scene`` that shares the voxels of ``volume``, shown with a vessel window."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", volume.name)
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(volume.array).ravel()))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(_matrix(_LPS_RAS @ volume.affine_lps))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(700, 200)
    return node


def add_detection(
    volume_node: Any, detection: Detection, labels: Mapping[str, str] | None = None, opacity: float = 0.5
) -> DetectionNodes:
    """Put ``detection`` into the volume's scene: points, one ellipsoid model per landmark, a table, in one folder.

    ``labels`` maps landmark names to what is shown, when it is not what the detection says. The list of points is
    fixed: they can be moved, or be missing, but not added or deleted.
    """
    labels = {**detection.labels, **(labels or {})}
    scene = volume_node.GetScene()
    title = f"{volume_node.GetName()} bifurcations"
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(title))
    points.CreateDefaultDisplayNodes()
    display = points.GetDisplayNode()
    display.SetSelectedColor(1.0, 0.95, 0.35)
    display.SetColor(1.0, 0.95, 0.35)
    display.SetTextScale(2.6)
    display.SetOccludedVisibility(True)
    display.SetOccludedOpacity(0.6)
    ellipsoids = {}
    for index, landmark in enumerate(detection.landmarks):
        points.AddControlPoint((0.0, 0.0, 0.0), labels.get(landmark.name, landmark.name))
        points.SetNthControlPointDescription(index, _description(landmark))
        ellipsoids[landmark.name] = _add_ellipsoid(scene, points, landmark.name, labels, COLOURS[index % len(COLOURS)])
        ellipsoids[landmark.name].GetDisplayNode().SetOpacity(opacity)
    points.SetFixedNumberOfControlPoints(True)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{title} table"))
    points.SetNodeReferenceID(VOLUME_ROLE, volume_node.GetID())
    points.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    nodes = DetectionNodes(volume_node, points, ellipsoids, table)
    place_predictions(nodes, detection)
    show_detection(nodes, detection)
    follow_volume(nodes)
    _file_in_folder(nodes, title)
    return nodes


def place_predictions(nodes: DetectionNodes, detection: Detection, names: Any = None) -> None:
    """Move the points (those in ``names``, or all) to where ``detection`` has them; missing ones become missing."""
    for index, landmark in enumerate(detection.landmarks):
        if names is None or landmark.name in names:
            set_position(nodes, index, landmark.position_lps_mm)


def set_position(nodes: DetectionNodes, index: int, position_lps_mm: Any) -> None:
    """Place control point ``index`` at LPS millimetres in the volume's own frame, or make it missing (None)."""
    if position_lps_mm is None:
        nodes.points.SetNthControlPointPositionMissing(index)
    else:
        nodes.points.SetNthControlPointPosition(index, *to_ras(position_lps_mm))


def position_lps(nodes: DetectionNodes, index: int) -> tuple[float, float, float] | None:
    """Where control point ``index`` is, LPS millimetres in the volume's own frame; None when it is not placed."""
    if nodes.points.GetNthControlPointPositionStatus(index) != slicer.vtkMRMLMarkupsNode.PositionDefined:
        return None
    position = [0.0, 0.0, 0.0]
    nodes.points.GetNthControlPointPosition(index, position)
    x, y, z = (float(value) for value in to_ras(position))
    return x, y, z


def lps_from_world(node: Any, world_ras: Any) -> tuple[float, float, float]:
    """A point of the views (RAS, world) as LPS millimetres in the frame of a transformable node."""
    local = [0.0, 0.0, 0.0]
    node.TransformPointFromWorld(list(world_ras), local)
    x, y, z = (float(value) for value in to_ras(local))
    return x, y, z


def show_detection(nodes: DetectionNodes, detection: Detection) -> None:
    """Redraw ellipsoids and table for ``detection`` (the same one at another confidence level); points stay put."""
    nodes.points.SetAttribute(DETECTION_ATTRIBUTE, detection.to_json())
    for landmark in detection.landmarks:
        model = nodes.ellipsoids[landmark.name]
        model.SetAndObservePolyData(_ellipsoid(landmark))
        model.GetDisplayNode().SetVisibility(landmark.confidence is not None)
    _fill_table(nodes.table, detection)


def follow_volume(nodes: DetectionNodes) -> None:
    """Put points and ellipsoids under the transform that the volume is under now."""
    transform_id = nodes.volume.GetTransformNodeID()
    for node in (nodes.points, *nodes.ellipsoids.values()):
        if node.GetTransformNodeID() != transform_id:
            node.SetAndObserveTransformNodeID(transform_id)


def find_detections(scene: Any) -> list[DetectionNodes]:
    """Every detection in ``scene`` whose nodes are all there, in the order in which they were added."""
    return [
        nodes
        for points in _nodes(scene, "vtkMRMLMarkupsFiducialNode")
        if points.GetAttribute(DETECTION_ATTRIBUTE) and (nodes := _collect(points)) is not None
    ]


def find_detection(volume_node: Any) -> DetectionNodes | None:
    """The detection that belongs to ``volume_node``, or None."""
    if volume_node is None or volume_node.GetScene() is None:
        return None
    found = [nodes for nodes in find_detections(volume_node.GetScene()) if nodes.volume is volume_node]
    return found[-1] if found else None


def remove_detection(nodes: DetectionNodes) -> None:
    """Take a detection's nodes and their folder out of the scene; the volume stays."""
    scene = nodes.points.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.points))
    for node in (nodes.points, *nodes.ellipsoids.values()):
        _remove_with_displays(node)
    scene.RemoveNode(nodes.table)
    if folder not in (hierarchy.GetInvalidItemID(), hierarchy.GetSceneItemID()):
        hierarchy.RemoveItem(folder)


def remove_volume(volume_node: Any) -> None:
    """Take a volume out of the scene with all that shows it: its detection, display nodes, rendering and its box."""
    nodes = find_detection(volume_node)
    if nodes is not None:
        remove_detection(nodes)
    _remove_with_displays(volume_node)


def _remove_with_displays(node: Any) -> None:
    """The scene keeps display and storage nodes whose owner is gone; a day of cases would fill it with them."""
    scene = node.GetScene()
    parts = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    for display in list(parts):
        if display is not None and display.IsA("vtkMRMLVolumeRenderingDisplayNode"):
            parts += [display.GetMarkupsROINode(), display.GetVolumePropertyNode()]
    parts += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for part in parts:
        if part is not None and part.GetScene() is scene:
            if part.IsA("vtkMRMLDisplayableNode"):
                _remove_with_displays(part)
            else:
                scene.RemoveNode(part)


def write_bundle(scene: Any, path: Path) -> None:
    """Save ``scene`` as a ``.mrb``. Raises OSError with Slicer's own words when that fails."""
    messages = slicer.vtkMRMLMessageCollection()
    if not scene.WriteToMRB(str(path), None, messages):
        raise OSError(f"The scene could not be saved to {path.name}: {messages.GetAllMessagesAsString()}")


def _description(landmark: LandmarkResult) -> str:
    if landmark.status == "missing":
        return f"missing, presence {landmark.presence:.0%}"
    region = landmark.confidence
    reach = "" if region is None else ", +- {:.1f} {:.1f} {:.1f} mm (R A S)".format(*region.reach_mm)
    level = "" if region is None else f" at {region.level:.0%}"
    return f"predicted, presence {landmark.presence:.0%}{reach}{level}"


def _collect(points: Any) -> DetectionNodes | None:
    models = [
        points.GetNthNodeReference(ELLIPSOID_ROLE, n) for n in range(points.GetNumberOfNodeReferences(ELLIPSOID_ROLE))
    ]
    volume, table = points.GetNodeReference(VOLUME_ROLE), points.GetNodeReference(TABLE_ROLE)
    if volume is None or table is None or None in models:
        return None
    return DetectionNodes(volume, points, {model.GetAttribute(LANDMARK_ATTRIBUTE): model for model in models}, table)


def _add_ellipsoid(scene: Any, points: Any, name: str, labels: Mapping[str, str], colour: tuple[float, ...]) -> Any:
    title = f"{labels.get(name, name)} confidence region"
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", scene.GenerateUniqueName(title))
    model.SetAttribute(LANDMARK_ATTRIBUTE, name)
    model.SetSelectable(False)  # a click goes through it, to the point inside
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetColor(*colour)
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(2)
    display.SetBackfaceCulling(False)
    display.SetAmbient(0.4)  # bright enough to be seen among rendered vessels
    points.AddNodeReferenceID(ELLIPSOID_ROLE, model.GetID())
    return model


def _ellipsoid(landmark: LandmarkResult) -> Any:
    """The confidence region's surface in RAS; empty for a missing landmark."""
    if landmark.confidence is None or landmark.position_lps_mm is None:
        return vtk.vtkPolyData()
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(1.0)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    transform = vtk.vtkTransform()
    transform.SetMatrix(_matrix(ellipsoid_matrix(landmark.confidence, landmark.position_lps_mm)))
    surface = vtk.vtkTransformPolyDataFilter()
    surface.SetTransform(transform)
    surface.SetInputConnection(sphere.GetOutputPort())
    surface.Update()
    return surface.GetOutput()


def ellipsoid_matrix(region: ConfidenceRegion, centre_lps_mm: Any) -> np.ndarray:
    """The 4 x 4 matrix that takes the unit ball to ``region`` around ``centre_lps_mm``, in RAS, never mirrored."""
    columns = np.array(
        [to_ras(axis) * length for axis, length in zip(region.axes_lps, region.semi_axes_mm, strict=True)]
    ).T
    if np.linalg.det(columns) < 0:
        columns[:, 2] *= -1  # the ball does not care, but a mirrored surface would be lit from inside
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    matrix[:3, 3] = to_ras(centre_lps_mm)
    return matrix


def _fill_table(node: Any, detection: Detection) -> None:
    table = vtk.vtkTable()
    for title in TABLE_COLUMNS:
        column = vtk.vtkStringArray() if title in ("name", "status") else vtk.vtkDoubleArray()
        column.SetName(title)
        table.AddColumn(column)
    for landmark in detection.landmarks:
        nothing = (float("nan"),) * 3
        position = nothing if landmark.position_lps_mm is None else to_ras(landmark.position_lps_mm)
        region = landmark.confidence
        row: list[Any] = [landmark.name, landmark.status, landmark.presence, *position]
        row += [*nothing, *nothing[:2]] if region is None else [*region.reach_mm, region.level, region.volume_mm3]
        for column, value in enumerate(row):
            table.GetColumn(column).InsertNextValue(value if isinstance(value, str) else float(value))
    node.SetAndObserveTable(table)


def _file_in_folder(nodes: DetectionNodes, title: str) -> None:
    """One subject hierarchy folder beside the volume holds what belongs to this detection."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.volume.GetScene())
    volume_item = _item(hierarchy, nodes.volume, hierarchy.GetSceneItemID())
    folder = hierarchy.CreateFolderItem(hierarchy.GetItemParent(volume_item), title)
    for node in nodes.all():
        hierarchy.SetItemParent(_item(hierarchy, node, folder), folder)


def _item(hierarchy: Any, node: Any, parent: int) -> int:
    """The node's item; without the application's plugins nobody has made one yet."""
    item = hierarchy.GetItemByDataNode(node)
    return item if item != hierarchy.GetInvalidItemID() else hierarchy.CreateItem(parent, node)


def _nodes(scene: Any, class_name: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


def _matrix(array: np.ndarray) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=float).ravel())
    return matrix


def _array(matrix: Any) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
