"""Where the points of a detection are, whatever the user does to their list, to the volume, to a transform.

A landmark is bound to a control point by the point's ID, so that its place in the list does not matter. Places are LPS
millimetres in the *frame* of the detection: the geometry that the image had when the detection was made. When the
volume is moved afterwards (centred, its origin typed, a transform hardened), the points go with it and their places in
the frame stay. When its voxels are exchanged (cropped, resampled, flipped in place), the anatomy is where it was, and
so are the points.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import slicer
import vtk

from ..detection import ConfidenceRegion
from ..geometry import Geometry
from ..landmarks import Point
from .nodes import DetectionNodes
from .volumes import LPS_RAS, affine_of, fingerprint, to_ras

FRAME_ATTRIBUTE = "CarotidLandmark.Frame"  # affine of the image when the detection was made
PLACED_ATTRIBUTE = "CarotidLandmark.Placed"  # affine of the volume for which points and ellipsoids are placed
VOXELS_ATTRIBUTE = "CarotidLandmark.Voxels"  # fingerprint of the volume for which they are placed
DETECTED_ATTRIBUTE = "CarotidLandmark.DetectedVoxels"  # fingerprint of the volume when the detection was made
POINTS_ATTRIBUTE = "CarotidLandmark.ControlPoints"  # landmark name -> control point ID
PARENT_ROLE = "CarotidLandmark.Parent"  # the transform that we have put the points under


def control_point(nodes: DetectionNodes, index: int) -> int:
    """The place in the list of the landmark that is number ``index`` of the detection, -1 when its point is gone."""
    text = nodes.points.GetAttribute(POINTS_ATTRIBUTE)
    if not text:  # a scene of an older version
        return index if index < nodes.points.GetNumberOfControlPoints() else -1
    ident = json.loads(text).get(nodes.detection.landmarks[index].name)
    return nodes.points.GetControlPointIndexByID(ident) if ident else -1


def renew_points(nodes: DetectionNodes) -> None:
    """Add a control point, not placed, for each landmark that has none."""
    points, ids = nodes.points, {}
    landmarks = nodes.detection.landmarks
    if all(control_point(nodes, index) >= 0 for index in range(len(landmarks))):
        return
    points.SetFixedNumberOfControlPoints(False)
    for index, landmark in enumerate(landmarks):
        place = control_point(nodes, index)
        if place < 0:
            place = points.AddControlPoint((0.0, 0.0, 0.0), landmark.name)
            points.UnsetNthControlPointPosition(place)
        ids[landmark.name] = points.GetNthControlPointID(place)
    points.SetAttribute(POINTS_ATTRIBUTE, json.dumps(ids))
    points.SetFixedNumberOfControlPoints(True)


def set_position(nodes: DetectionNodes, index: int, position_lps_mm: Any) -> None:
    """Place landmark number ``index`` at LPS millimetres in the frame of the detection, or make it missing (None)."""
    renew_points(nodes)
    place = control_point(nodes, index)
    if position_lps_mm is None:
        nodes.points.SetNthControlPointPositionMissing(place)
    else:
        nodes.points.SetNthControlPointPosition(place, *to_ras(apply(displacement(nodes), position_lps_mm)))


def unset_position(nodes: DetectionNodes, index: int) -> None:
    """Say nothing of where landmark number ``index`` is: see `is_unset`."""
    nodes.points.UnsetNthControlPointPosition(control_point(nodes, index))


def position_lps(nodes: DetectionNodes, index: int) -> Point | None:
    """Where landmark number ``index`` is, LPS millimetres in the frame of the detection; None when it is not placed."""
    local = position_ras(nodes, index)
    return None if local is None else _in_frame(nodes, local)


def position_ras(nodes: DetectionNodes, index: int) -> np.ndarray | None:
    """Where it is drawn: RAS millimetres, in the volume's frame as it is now, without a parent transform."""
    place = control_point(nodes, index)
    if place < 0 or nodes.points.GetNthControlPointPositionStatus(place) != slicer.vtkMRMLMarkupsNode.PositionDefined:
        return None
    position = [0.0, 0.0, 0.0]
    nodes.points.GetNthControlPointPosition(place, position)
    return np.array(position)


def world_ras(nodes: DetectionNodes, index: int) -> np.ndarray | None:
    """The same as the views have it: RAS millimetres of the world, whatever transform the volume is under."""
    if position_ras(nodes, index) is None:
        return None
    return np.array(nodes.points.GetNthControlPointPositionWorld(control_point(nodes, index)))


def reach_mm(nodes: DetectionNodes, region: ConfidenceRegion) -> np.ndarray:
    """How far a region of the detection reaches along R, A and S of the views, wherever the volume has gone [3]."""
    to_world, parent = vtk.vtkMatrix4x4(), nodes.volume.GetParentTransformNode()
    if parent is not None:
        parent.GetMatrixTransformToWorld(to_world)
    turned = slicer.util.arrayFromVTKMatrix(to_world) @ LPS_RAS @ displacement(nodes)
    return np.linalg.norm(turned[:3, :3] @ np.transpose(region.axes_lps) * region.semi_axes_mm, axis=1)


def axial_slice(nodes: DetectionNodes, position_lps_mm: Point | None) -> tuple[int, int] | None:
    """In which axial slice a place in the frame of the detection is, and of how many: `Geometry.axial_slice`."""
    if position_lps_mm is None or nodes.volume.GetImageData() is None:
        return None
    return geometry_of(nodes).axial_slice(position_lps_mm)


def is_unset(nodes: DetectionNodes, index: int) -> bool:
    """Whether nobody has said where the landmark is, nor that it is missing: cleared, half placed, deleted."""
    place = control_point(nodes, index)
    statuses = (slicer.vtkMRMLMarkupsNode.PositionDefined, slicer.vtkMRMLMarkupsNode.PositionMissing)
    return place < 0 or nodes.points.GetNthControlPointPositionStatus(place) not in statuses


def lps_from_world(nodes: DetectionNodes, world_ras: Any) -> Point:
    """A point of the views (RAS, world) as LPS millimetres in the frame of the detection."""
    local = [0.0, 0.0, 0.0]
    nodes.points.TransformPointFromWorld(list(world_ras), local)
    return _in_frame(nodes, local)


def frame_of(nodes: DetectionNodes) -> np.ndarray:
    """The image's geometry when the detection was made: (i, j, k, 1) to LPS millimetres, [4, 4]."""
    frame = _read(nodes, FRAME_ATTRIBUTE)
    return affine_of(nodes.volume) if frame is None else frame


def geometry_of(nodes: DetectionNodes) -> Geometry:
    """Where the voxels of the volume are in the frame of the detection. The volume has an image."""
    return Geometry(frame_of(nodes), nodes.volume.GetImageData().GetDimensions())


def set_frame(nodes: DetectionNodes, affine_lps: np.ndarray) -> None:
    """Say in which geometry of the image the detection was made; the points are to be placed after that."""
    nodes.points.SetAttribute(FRAME_ATTRIBUTE, json.dumps(np.asarray(affine_lps).tolist()))
    nodes.points.SetAttribute(DETECTED_ATTRIBUTE, fingerprint(nodes.volume))
    _set_placed(nodes)


def voxels_changed(nodes: DetectionNodes) -> bool:
    """Whether the volume has other voxels than when the detection was made. An older version did not write it down."""
    return nodes.points.GetAttribute(DETECTED_ATTRIBUTE) not in (None, fingerprint(nodes.volume))


def displacement(nodes: DetectionNodes) -> np.ndarray:
    """How far the volume has been moved since the detection, as the points know it: LPS, [4, 4]."""
    frame, placed = _read(nodes, FRAME_ATTRIBUTE), _read(nodes, PLACED_ATTRIBUTE)
    if frame is None or placed is None or np.array_equal(frame, placed):
        return np.eye(4)
    return placed @ np.linalg.inv(frame)


def follow_image(nodes: DetectionNodes) -> bool:
    """Bring the points in line with a volume that was moved, put under another transform, or given other voxels.

    They go with the volume, and their places in the frame stay. They stay where they are seen when the voxels are
    others, and when somebody has put their list under a transform of its own, or hardened one on it. Returns whether
    the volume was moved. Not to be called while the points tell of another transform: Slicer 5.10 would crash.
    """
    points, now, placed = nodes.points, affine_of(nodes.volume), _read(nodes, PLACED_ATTRIBUTE)
    if placed is None:
        set_frame(nodes, now)
    moved = placed is not None and not np.array_equal(now, placed)
    exchanged = points.GetAttribute(VOXELS_ATTRIBUTE) not in (None, fingerprint(nodes.volume))
    on_their_own = points.GetParentTransformNode() is not points.GetNodeReference(PARENT_ROLE)
    worlds = [world_ras(nodes, index) for index in range(len(nodes.detection.landmarks))]
    places = [position_lps(nodes, index) for index in range(len(nodes.detection.landmarks))]
    if moved and exchanged:
        points.SetAttribute(FRAME_ATTRIBUTE, json.dumps((np.linalg.inv(displacement(nodes)) @ now).tolist()))
    _set_placed(nodes)
    if points.GetParentTransformNode() is not nodes.volume.GetParentTransformNode():
        points.SetAndObserveTransformNodeID(nodes.volume.GetTransformNodeID())
    points.SetNodeReferenceID(PARENT_ROLE, nodes.volume.GetTransformNodeID())
    for index, (world, place) in enumerate(zip(worlds, places, strict=True)):
        if world is not None and (exchanged or on_their_own):
            points.SetNthControlPointPositionWorld(control_point(nodes, index), *world)
        elif place is not None and moved:
            set_position(nodes, index, place)
    return moved and not exchanged


def apply(matrix: np.ndarray, point: Any) -> np.ndarray:
    """A point [3] through a matrix [4, 4]."""
    return (matrix @ np.append(point, 1.0))[:3]


def _set_placed(nodes: DetectionNodes) -> None:
    nodes.points.SetAttribute(PLACED_ATTRIBUTE, json.dumps(affine_of(nodes.volume).tolist()))
    nodes.points.SetAttribute(VOXELS_ATTRIBUTE, fingerprint(nodes.volume))


def _in_frame(nodes: DetectionNodes, local_ras: Any) -> Point:
    """Where it is drawn to where it is in the frame of the detection."""
    x, y, z = apply(np.linalg.inv(displacement(nodes)), to_ras(local_ras)).tolist()
    return x, y, z


def _read(nodes: DetectionNodes, attribute: str) -> np.ndarray | None:
    text = nodes.points.GetAttribute(attribute)
    return np.array(json.loads(text)) if text else None
