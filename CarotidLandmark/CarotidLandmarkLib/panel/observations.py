"""Part of the module's panel: following nodes, and letting them go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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
