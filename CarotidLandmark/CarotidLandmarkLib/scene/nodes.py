"""The nodes of a detection in Slicer's scene: which there are, where they are filed, how they go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import slicer

from ..detection import Detection
from ..errors import UserError
from .volumes import nodes_of_class, remove_with_displays

DETECTION_ATTRIBUTE = "CarotidLandmark.Detection"
LANDMARK_ATTRIBUTE = "CarotidLandmark.Landmark"
VOLUME_ROLE = "CarotidLandmark.Volume"
ELLIPSOID_ROLE = "CarotidLandmark.Ellipsoid"
TABLE_ROLE = "CarotidLandmark.Table"


@dataclass(frozen=True)
class DetectionNodes:
    """The nodes of one detection on one volume.

    ``ellipsoids``: one model per landmark name, missing ones too. What the user has deleted of them, or of the table,
    is not there.
    """

    volume: Any
    points: Any
    ellipsoids: Mapping[str, Any]
    table: Any

    @property
    def detection(self) -> Detection:
        """What was detected, as last given to `add_detection` or `show_detection`."""
        return _read(self.points.GetAttribute(DETECTION_ATTRIBUTE))

    @property
    def are_there(self) -> bool:
        """Whether points and volume are in the scene, and still belong together."""
        in_scene = self.points.GetScene() is not None and self.volume.GetScene() is not None
        return in_scene and self.points.GetNodeReference(VOLUME_ROLE) is self.volume

    def all(self) -> list[Any]:
        """Points, ellipsoids, table."""
        return [self.points, *self.ellipsoids.values(), *([self.table] if self.table else [])]


def find_detections(scene: Any) -> list[DetectionNodes]:
    """Every detection in ``scene`` whose scan is there, in the order in which they were added.

    One that can not be read is left alone: see `unreadable`. Of a list and its copies that a user has made the first
    one counts; the others are the user's. While a scene is loaded there are none.
    """
    first: dict[str, Any] = {}
    for points in _lists(scene):
        if not _problem(points):
            first.setdefault(points.GetNodeReferenceID(VOLUME_ROLE), points)
    return [_collect(points) for points in first.values()]


def unreadable(volume_node: Any) -> str:
    """What is wrong with a detection of ``volume_node`` that can not be read; "" when there is no such one."""
    lists = [] if volume_node is None else _lists(volume_node.GetScene())
    reasons = (_problem(points) for points in lists if points.GetNodeReference(VOLUME_ROLE) is volume_node)
    return next(filter(None, reasons), "")


def find_detection(volume_node: Any) -> DetectionNodes | None:
    """The detection that belongs to ``volume_node``, or None."""
    if volume_node is None or volume_node.GetScene() is None:
        return None
    return next((nodes for nodes in find_detections(volume_node.GetScene()) if nodes.volume is volume_node), None)


def remove_detection(nodes: DetectionNodes) -> None:
    """Take a detection's nodes out of the scene; the volume stays, and so does what else is in their folder."""
    scene = nodes.volume.GetScene() or nodes.points.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folders = set()
    for node in nodes.all():
        if node.GetScene() is not None:
            item = hierarchy.GetItemByDataNode(node)
            folders.add(hierarchy.GetItemParent(item))
            hierarchy.RemoveItem(item, False, False)  # alone: not what somebody has put below it
            remove_with_displays(node)
    for folder in folders - {hierarchy.GetInvalidItemID(), hierarchy.GetSceneItemID()}:
        if hierarchy.GetItemLevel(folder) == "Folder" and not hierarchy.GetNumberOfItemChildren(folder):
            hierarchy.RemoveItem(folder)


def remove_volume(volume_node: Any) -> None:
    """Take a volume out of the scene with all that shows it: its detection, display nodes, rendering and its box."""
    nodes = find_detection(volume_node)
    if nodes is not None:
        remove_detection(nodes)
    remove_with_displays(volume_node)


def file_in_folder(nodes: DetectionNodes, title: str) -> None:
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


def _lists(scene: Any) -> list[Any]:
    """The lists of points that belong to a detection and a scan; none while a scene is loaded."""
    if scene.IsImporting():  # what has come has references to IDs that other nodes had before it
        return []
    lists = nodes_of_class(scene, "vtkMRMLMarkupsFiducialNode")
    return [each for each in lists if each.GetAttribute(DETECTION_ATTRIBUTE) and each.GetNodeReference(VOLUME_ROLE)]


@lru_cache(maxsize=64)
def _read(text: str) -> Detection:
    return Detection.from_json(text)


def _problem(points: Any) -> str:
    try:
        _read(points.GetAttribute(DETECTION_ATTRIBUTE))
    except UserError as error:
        return str(error.__cause__ or error)
    return ""


def _collect(points: Any) -> DetectionNodes:
    volume = points.GetNodeReference(VOLUME_ROLE)
    count = points.GetNumberOfNodeReferences(ELLIPSOID_ROLE)
    models = [points.GetNthNodeReference(ELLIPSOID_ROLE, number) for number in range(count)]
    ellipsoids = {model.GetAttribute(LANDMARK_ATTRIBUTE): model for model in models if model is not None}
    return DetectionNodes(volume, points, ellipsoids, points.GetNodeReference(TABLE_ROLE))
