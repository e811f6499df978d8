"""Slicer's ``.mrk.json``: named points in LPS millimetres, and points that are stated to be missing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .documents import DocumentError, build, parse
from .errors import UserError
from .files import write_text
from .landmarks import Point, is_place

_SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
_SCHEMA_FILE = "markups-schema-v1.0.3.json#"
POINT_LIST = "Fiducial"  # the type of a list of points; control points of an ROI, a line or a plane mean no landmarks
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
    """Read the points of a ``.mrk.json``, of all its point lists, as LPS millimetres; None is one stated to be missing.

    Keys are the labels in the file; ``labels`` (name -> label, as given to `write_markups`) turns them back into
    names. A point that was never placed (``undefined`` or ``preview``) is left out: nobody has said anything about
    it; so is what is no point list (ROI, line, plane). Any schema 1.x, RAS or LPS. Raises MarkupsError on a file that
    can not be read so, or has no point list, OSError when it can not be opened.
    """
    path = Path(path)
    try:
        document = parse(path.read_bytes())
        version = str(document.get("@schema", "")).rpartition("-schema-v")[2]
        if not version.startswith("1."):
            raise MarkupsError(
                f"{path.name} has another markups schema ('{version[:20]}') than 1.x; save it again with Slicer 5."
            )
        markups = build(_File, document).markups
        if not markups:
            raise DocumentError("markups is empty")
        kinds = ", ".join(sorted({markup.type[:20] for markup in markups}))
        markups = tuple(markup for markup in markups if markup.type == POINT_LIST)
        if not markups:
            raise MarkupsError(
                f"{path.name} holds no point list, but markups of another type ({kinds}); place points in Slicer "
                "and save their list."
            )
        marks = [
            (point, _sign_to_lps(markup, path.name))
            for markup in markups
            for point in markup.controlPoints
            if point.positionStatus in ("defined", "missing")
        ]
        positions = {
            point.label: None if point.positionStatus == "missing" else _position(point, sign, path.name)
            for point, sign in marks
        }
    except DocumentError as error:
        raise MarkupsError(f"{path.name} is no Slicer markups file (.mrk.json), or it is damaged: {error}.") from error
    _refuse_duplicates([point.label for point, _ in marks], path.name)
    names = {label: name for name, label in (labels or {}).items()}
    return {names.get(label, label): position for label, position in positions.items()}


@dataclass(frozen=True)
class _ControlPoint:
    """As Slicer writes it. A point that is missing may have any position, or none."""

    label: str
    position: Any = None
    positionStatus: str = "defined"


@dataclass(frozen=True)
class _Markup:
    coordinateSystem: str
    type: str = POINT_LIST
    coordinateUnits: Any = "mm"
    controlPoints: tuple[_ControlPoint, ...] = ()


@dataclass(frozen=True)
class _File:
    markups: tuple[_Markup, ...]


def _sign_to_lps(markup: _Markup, file_name: str) -> int:
    """Of x and y."""
    units = markup.coordinateUnits
    if units not in ("mm", ["mm", "UCUM", "millimeter"]):
        raise MarkupsError(f"{file_name} is not in millimetres (coordinateUnits is {units}); export it in mm.")
    if markup.coordinateSystem not in ("LPS", "RAS"):
        raise MarkupsError(f"{file_name} has the coordinate system '{markup.coordinateSystem}'; it must be LPS or RAS.")
    return 1 if markup.coordinateSystem == "LPS" else -1


def _position(point: _ControlPoint, sign: int, file_name: str) -> Point:
    x, y, z = build(tuple[float, float, float], point.position, "position")
    if not is_place((x, y, z)):
        raise MarkupsError(f"{file_name} has a point ('{point.label}') that is not at a place in a scanner.")
    return sign * x, sign * y, z


def _refuse_duplicates(labels: list[str], where: str) -> None:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise MarkupsError(f"{where} has two points with the same label ('{twice[0]}'); rename one of them.")
