"""Part of the module's panel: every change of points, volumes and views is seen here, wherever it is made (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .. import scene
from ..scene import DetectionNodes, settle
from .words import timer


class Observations:
    """Observers of nodes by their tags; `release` forgets the nodes too.

    ``slicer.util.VTKObservationMixin`` keeps every node that was ever observed: 29 MB for a case of 29 MB.
    """

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def add(self, node: Any, event: Any, callback: Callable[..., None]) -> None:
        """Call ``callback(caller, event)`` at every ``event`` of ``node``."""
        self._tags.append((node, node.AddObserver(event, callback)))

    def release(self) -> None:
        """End them all. Safe to call twice."""
        tags, self._tags = self._tags, []
        for node, tag in tags:
            node.RemoveObserver(tag)


class Follower:
    """Takes points along with their volume, and says of points that somebody has moved that they are corrected.

    It follows every detection in the scene, shown or not, whoever has put it there. ``moved(nodes, landmarks)`` is
    called when it begins to, and after a change, once, with the numbers of the landmarks that were moved (none:
    cleared, renamed, or taken along with the volume). Where a list of points is deleted, its ellipsoids and its table
    go too; where the scan is, they are hidden with the points: in the views they would lie over another patient. Those
    of a scan that comes into a view, or leaves the last one, are seen or hidden at once, see `scene.attend`.
    """

    def __init__(self, moved: Callable[[DetectionNodes, list[int]], None]) -> None:
        self._moved = moved
        self._observed: list[tuple[DetectionNodes, Observations]] = []
        self._dragged: Any = None  # the points that a hand has hold of
        self._changed: list[DetectionNodes] = []
        self._chosen: DetectionNodes | None = None
        self._timer, self._arrivals, self._looks = timer(self.settle), timer(self._arrive), timer(self._look)
        self._scene, self._views = Observations(), Observations()
        self._scene.add(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._node_removed)
        self._scene.add(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, lambda *_: self._arrivals.start())
        self._scene.add(slicer.mrmlScene, slicer.mrmlScene.EndBatchProcessEvent, lambda *_: self._batch_ends())

    @property
    def dragging(self) -> bool:
        """Whether a hand has hold of a point."""
        return self._dragged is not None

    def follow(self, nodes: DetectionNodes) -> None:
        """Begin to follow a detection. One that is followed already is looked at again."""
        self.forget()
        scene.follow_volume(nodes)
        if self._is_followed(nodes):
            return
        observations, points, volume = Observations(), nodes.points, nodes.volume
        for node, event, action in (
            (points, points.TransformModifiedEvent, self._changes),
            (volume, volume.TransformModifiedEvent, self._changes),
            (volume, volume.ImageDataModifiedEvent, self._changes),
            (volume, vtk.vtkCommand.ModifiedEvent, self._changes),
            (points, points.PointModifiedEvent, self._changes),
            (points, points.PointAddedEvent, self._changes),
            (points, points.PointRemovedEvent, self._changes),
            (points, points.PointStartInteractionEvent, self._drag_begins),
            (points, points.PointEndInteractionEvent, self._drag_ends),
        ):
            observations.add(node, event, lambda *_, action=action: action(nodes))
        self._observed.append((nodes, observations))
        self._changes(nodes)  # what was done before anybody followed it

    def follow_all(self) -> None:
        """The same for every detection in the scene; what has left it is let go."""
        self.forget()
        for nodes in scene.find_detections(slicer.mrmlScene):
            self.follow(nodes)

    def attend(self, chosen: DetectionNodes | None) -> None:
        """The same, and show the points of one, or of none; those of others only where a view shows their scan."""
        before, self._chosen = self._chosen, chosen
        self.follow_all()
        self._observe_views()
        scene.attend(slicer.mrmlScene, chosen, before)

    def _observe_views(self) -> None:
        self._views.release()
        for kind in ("vtkMRMLSliceCompositeNode", "vtkMRMLLayoutNode"):
            for node in slicer.util.getNodesByClass(kind):
                self._views.add(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._looks.start())

    def _look(self) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            scene.attend(slicer.mrmlScene, self._chosen, self._chosen)

    def _is_followed(self, nodes: DetectionNodes) -> bool:
        return any(known.points is nodes.points for known, _ in self._observed)

    def forget(self) -> None:
        """Let go of what has left the scene, or is another scan's by now; a hand has no hold of that any more."""
        for nodes, observations in self._observed:
            if not nodes.are_there:
                observations.release()
        self._observed = [entry for entry in self._observed if entry[0].are_there]
        self._changed = [nodes for nodes in self._changed if nodes.are_there]
        if not any(nodes.points is self._dragged for nodes, _ in self._observed):
            self._dragged = None  # the end of that drag will not be heard

    def release(self) -> None:
        """Follow nothing any more."""
        for each in (self._timer, self._arrivals, self._looks):
            each.stop()
        for observations in (self._scene, self._views):
            observations.release()
        for _nodes, observations in self._observed:
            observations.release()
        self._observed, self._changed, self._chosen = [], [], None

    def settle(self) -> None:
        """Bring in what has changed since the last turn of the event loop."""
        if slicer.mrmlScene.IsBatchProcessing():
            return
        self.forget()
        changed, self._changed = self._changed, []
        for nodes in changed:
            if nodes.points is not self._dragged:
                self._settle(nodes)

    def _settle(self, nodes: DetectionNodes) -> None:
        landmarks = settle(nodes)
        scene.follow_vessels(nodes)
        self._moved(nodes, landmarks)

    def _batch_ends(self) -> None:
        for each in (self._timer, self._arrivals, self._looks):
            each.start()

    def _arrive(self) -> None:
        """Follow what has come, and look at nothing else again: what has changed there would count as settled."""
        if slicer.mrmlScene.IsBatchProcessing():  # it is half there: the event loop turns while a scene is loaded
            return
        self._observe_views()
        for nodes in scene.find_detections(slicer.mrmlScene):
            if not self._is_followed(nodes):
                self.follow(nodes)

    def _node_removed(self, *_: Any) -> None:
        lost = [nodes for nodes, _ in self._observed if nodes.points.GetScene() is None and _has_scan(nodes)]
        left = [node for nodes, _ in self._observed if not _has_scan(nodes) for node in nodes.all()]
        self.forget()
        for node in left:
            if node.GetScene() is not None and node.IsA("vtkMRMLDisplayableNode"):
                node.SetDisplayVisibility(False)
        self._looks.start()
        if not slicer.mrmlScene.IsBatchProcessing():
            for nodes in lost:
                scene.remove_detection(nodes)

    def _changes(self, nodes: DetectionNodes) -> None:
        if not any(nodes is each for each in self._changed):
            self._changed.append(nodes)
        self._timer.start()  # once for many changes, and not in the middle of one

    def _drag_begins(self, nodes: DetectionNodes) -> None:
        settle(nodes)
        self._dragged = nodes.points

    def _drag_ends(self, nodes: DetectionNodes) -> None:
        self._dragged = None
        self._settle(nodes)


def _has_scan(nodes: DetectionNodes) -> bool:
    return nodes.volume.GetScene() is not None
