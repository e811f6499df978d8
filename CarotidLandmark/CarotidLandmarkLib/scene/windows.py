"""Windows of a CT angiography: which grey a value of HU has in the slices."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

OWN_ATTRIBUTE = "CarotidLandmark.OwnWindow"  # what the scan was shown with before the first preset


class Window(NamedTuple):
    """Width and level in HU."""

    name: str
    width: float
    level: float

    def __str__(self) -> str:
        return f"{self.name} {self.width:.0f} / {self.level:.0f}"


CTA = Window("CTA", 900.0, 300.0)  # lumen, calcium and wall are three greys
SOFT_TISSUE = Window("soft tissue", 400.0, 50.0)
PRESETS = (CTA, SOFT_TISSUE)


def next_window(volume_node: Any) -> str:
    """Show a scalar volume with the next of CTA, soft tissue, its own window, round and round. Returns its name.

    Its own is what it had, or was given by hand, when it was not one of the presets; automatic where there was none.
    """
    volume_node.CreateDefaultDisplayNodes()
    display = volume_node.GetScalarVolumeDisplayNode()  # not that of a rendering, which may be the first
    own = None if display.GetAutoWindowLevel() else [display.GetWindow(), display.GetLevel()]
    place = next((number for number, preset in enumerate(PRESETS, 1) if own == list(preset[1:])), 0)
    if place == 0:
        volume_node.SetAttribute(OWN_ATTRIBUTE, json.dumps(own))
    own = json.loads(volume_node.GetAttribute(OWN_ATTRIBUTE) or "null")
    if place == len(PRESETS) and own is None:
        display.AutoWindowLevelOn()
        return str(Window("automatic", display.GetWindow(), display.GetLevel()))
    window = PRESETS[place] if place < len(PRESETS) else Window("the scan's own", *own)
    set_window(display, window)
    return str(window)


def set_window(display: Any, window: Window) -> None:
    """Of a scalar volume's display node."""
    display.AutoWindowLevelOff()
    display.SetWindowLevel(window.width, window.level)
