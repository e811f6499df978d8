"""Part of the module's panel: every change of points or of their volume is seen here, wherever it is made (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

from .. import scene
from ..scene import DetectionNodes, settle
from .observations import Observations


class Follower:
    """Takes points along with their volume, and says of points that somebody has moved that they are corrected.

    It follows every detection in the scene, shown or not. ``moved(nodes, landmarks)`` is called after a change, once,
    with the numbers of the landmarks that were moved (none: cleared, renamed, or moved by the panel itself).
    """

    def __init__(self, moved: Callable[[DetectionNodes, list[int]], None]) -> None:
        self._moved = moved
        self._observed: list[tuple[DetectionNodes, Observations]] = []
        self._dragged: Any = None  # the points that a hand has hold of
        self._changed: list[DetectionNodes] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.settle)

    def follow(self, nodes: DetectionNodes) -> None:
        """Begin to follow a detection. One that is followed already is looked at again."""
        self.forget()
        scene.follow_volume(nodes)
        if any(known.points is nodes.points for known, _ in self._observed):
            return
        observations, points = Observations(), nodes.points
        for node in (points, nodes.volume):
            observations.add(
                node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, lambda *_: self._volume_moved(nodes)
            )
        observations.add(nodes.volume, vtk.vtkCommand.ModifiedEvent, lambda *_: self._volume_moved(nodes))
        observations.add(points, points.PointModifiedEvent, lambda *_: self._point_changed(nodes))
        observations.add(points, points.PointAddedEvent, lambda *_: self._point_changed(nodes))
        observations.add(points, points.PointRemovedEvent, lambda *_: self._point_changed(nodes))
        observations.add(points, points.PointStartInteractionEvent, lambda *_: self._drag_begins(nodes))
        observations.add(points, points.PointEndInteractionEvent, lambda *_: self._drag_ends(nodes))
        self._observed.append((nodes, observations))

    def forget(self) -> None:
        """Let go of what has left the scene."""
        for entry in list(self._observed):
            if None in (entry[0].points.GetScene(), entry[0].volume.GetScene()):
                entry[1].release()
                self._observed.remove(entry)
        self._changed = [nodes for nodes in self._changed if nodes.points.GetScene() and nodes.volume.GetScene()]

    def release(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        for _nodes, observations in self._observed:
            observations.release()
        self._observed, self._changed = [], []

    def settle(self) -> None:
        """Bring in what has changed since the last turn of the event loop."""
        if slicer.mrmlScene.IsBatchProcessing():
            return
        self.forget()
        changed, self._changed = self._changed, []
        for nodes in changed:
            if nodes.points is not self._dragged:
                self._moved(nodes, settle(nodes))

    def _volume_moved(self, nodes: DetectionNodes) -> None:
        if nodes.points.GetScene() and nodes.volume.GetScene() and not slicer.mrmlScene.IsBatchProcessing():
            scene.follow_volume(nodes)

    def _point_changed(self, nodes: DetectionNodes) -> None:
        if not any(nodes is each for each in self._changed):
            self._changed.append(nodes)
        self._timer.start()  # once for many changes, and not in the middle of one

    def _drag_begins(self, nodes: DetectionNodes) -> None:
        settle(nodes)
        self._dragged = nodes.points

    def _drag_ends(self, nodes: DetectionNodes) -> None:
        self._dragged = None
        self._moved(nodes, settle(nodes))
