"""What the context menu of a point does, whatever the list's fixed count and lock say: node events alone tell."""

from __future__ import annotations

from typing import Any

import slicer


class PointMenu:
    """The menu of control point number ``index`` of the list ``points``."""

    def __init__(self, points: Any, index: int) -> None:
        self.points, self.index = points, index

    def clear(self) -> None:
        """Clear: the point of a fixed list is placed no more, another one is deleted."""
        if self.points.GetFixedNumberOfControlPoints():
            self.points.UnsetNthControlPointPosition(self.index)
        else:
            self.points.RemoveNthControlPoint(self.index)

    def rename(self, name: str) -> None:
        """Rename."""
        self.points.SetNthControlPointLabel(self.index, name)

    def delete_list(self) -> None:
        """Delete Point List."""
        slicer.mrmlScene.RemoveNode(self.points)
