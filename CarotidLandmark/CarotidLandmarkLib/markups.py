"""Slicer's ``.mrk.json``: named points in LPS millimetres, and points that are stated to be missing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import write_text

Point = tuple[float, float, float]

_SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
_SCHEMA_FILE = "markups-schema-v1.0.3.json#"
# Slicer's default orientation of a point: its RAS axes written in LPS.
_ORIENTATION = [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0]


class MarkupsError(UserError):
    """The file is not a usable ``.mrk.json``. The message is one sentence for the user."""


def write_markups(
    path: str | os.PathLike[str],
    points: Mapping[str, Point | None],
    labels: Mapping[str, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
) -> Path:
    """Write named points to a Slicer fiducial list (schema 1.0.3, coordinate system LPS), atomically.

    ``points`` maps a name to (x, y, z) in LPS millimetres, or to None for a landmark that is missing from the scan. A
    point is labelled with its entry of ``labels``, otherwise with its name. Returns the path. Raises MarkupsError on
    a coordinate that is not finite or a label used twice, OSError when the file can not be written.
    """
    shown = {name: (labels or {}).get(name, name) for name in points}
    _refuse_duplicates(list(shown.values()), "The list of points")
    control_points = []
    for number, (name, position) in enumerate(points.items(), start=1):
        if position is not None and not (len(position) == 3 and all(math.isfinite(value) for value in position)):
            raise MarkupsError(f"The position of {name} is not three finite numbers: {position}.")
        control_points.append(
            {
                "id": str(number),
                "label": shown[name],
                "description": (descriptions or {}).get(name, ""),
                "associatedNodeID": "",
                "position": "" if position is None else [float(value) for value in position],
                "orientation": _ORIENTATION,
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "missing" if position is None else "defined",
            }
        )
    document = {
        "@schema": _SCHEMA + _SCHEMA_FILE,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": False,
                "fixedNumberOfControlPoints": False,
                "labelFormat": "%N-%d",
                "lastUsedControlPointNumber": len(control_points),
                "controlPoints": control_points,
                "measurements": [],
            }
        ],
    }
    write_text(path, json.dumps(document, indent=4, ensure_ascii=False, allow_nan=False) + "\n")
    return Path(path)


def read_markups(path: str | os.PathLike[str], labels: Mapping[str, str] | None = None) -> dict[str, Point | None]:
    """Read the first list of points of a ``.mrk.json`` as LPS millimetres; None is a point stated to be missing.

    Keys are the labels in the file; ``labels`` (name -> label, as given to `write_markups`) turns them back into
    names. A point that was never placed (``undefined`` or ``preview``) is left out: nobody has said anything about
    it. Any schema 1.x, RAS or LPS. Raises MarkupsError on a file that can not be read so, OSError when it can not be
    opened.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        version = str(document.get("@schema", "")).rpartition("-schema-v")[2]
        if not version.startswith("1."):
            raise MarkupsError(
                f"{path.name} has another markups schema ('{version}') than 1.x; save it again with Slicer 5."
            )
        markup = document["markups"][0]
        signs = _signs_to_lps(markup, path.name)
        control_points = markup.get("controlPoints", [])
        found = [(str(point["label"]), point.get("positionStatus", "defined"), point) for point in control_points]
        positions = {
            label: None if status == "missing" else _position(point, signs, path.name)
            for label, status, point in found
            if status in ("defined", "missing")
        }
    except MarkupsError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise MarkupsError(f"{path.name} is not a Slicer markups file (.mrk.json), or it is damaged.") from error
    _refuse_duplicates([label for label, status, _ in found if status in ("defined", "missing")], path.name)
    names = {label: name for name, label in (labels or {}).items()}
    return {names.get(label, label): position for label, position in positions.items()}


def _signs_to_lps(markup: Mapping[str, Any], file_name: str) -> tuple[int, int, int]:
    units = markup.get("coordinateUnits", "mm")
    if units not in ("mm", ["mm", "UCUM", "millimeter"]):
        raise MarkupsError(f"{file_name} is not in millimetres (coordinateUnits is {units}); export it in mm.")
    system = markup["coordinateSystem"]
    if system not in ("LPS", "RAS"):
        raise MarkupsError(f"{file_name} has the coordinate system '{system}'; it must be LPS or RAS.")
    return (1, 1, 1) if system == "LPS" else (-1, -1, 1)


def _position(point: Mapping[str, Any], signs: tuple[int, int, int], file_name: str) -> Point:
    x, y, z = (float(value) * sign for value, sign in zip(point["position"], signs, strict=True))
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise MarkupsError(f"{file_name} has a point ('{point['label']}') whose coordinates are not finite.")
    return x, y, z


def _refuse_duplicates(labels: list[str], where: str) -> None:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise MarkupsError(f"{where} has two points with the same label ('{twice[0]}'); rename one of them.")
