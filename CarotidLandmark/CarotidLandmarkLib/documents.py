"""The one strict reader of JSON: a document is read as the dataclass that describes it, or refused with the reason.

The dataclass is the format: its fields are the keys, their types and defaults say what may stand there. Keys that it
does not have are left aside, so that a document may gain some.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union

from .errors import UserError

T = TypeVar("T")


class DocumentError(UserError):
    """A document is not what it should be. The message is a clause that says what is wrong, and at which key."""


def parse(text: str | bytes) -> dict[str, Any]:
    """The object in a JSON text, as a file may hold it.

    Raises DocumentError: no JSON, no object, a key that is there twice, NaN, Infinity.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except DocumentError:
        raise
    except (ValueError, RecursionError) as error:
        raise DocumentError("it is not JSON") from error
    if not isinstance(document, dict):
        raise DocumentError("it is not a JSON object")
    return document


def write(document: Mapping[str, Any]) -> str:
    """The JSON text of a document. Raises ValueError on NaN and infinity."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def build(kind: type[T], document: Any, place: str = "") -> T:
    """``document`` (as `parse` gives it) as a ``kind``: a dataclass, or anything that one may hold.

    These are str, bool, int, float (finite), None, Any, Literal, unions, tuples, lists, dicts by str and dataclasses. A
    ValueError of the dataclass itself becomes the reason, which names the ``place``. Raises DocumentError.
    """
    return _build(kind, document, place)


def _build(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (each for each in arguments if each is not type(None))
        return _build(kind, value, place)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _wrong(place, f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(place, "an object")
        return {key: _build(arguments[1], item, _inside(place, key)) for key, item in value.items()}
    return _dataclass(kind, value, place) if is_dataclass(kind) else _scalar(kind, value, place)


def _tuple(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if kinds[-1] is Ellipsis:
        if not isinstance(value, list):
            raise _wrong(place, "a list")
        kinds = kinds[:1] * len(value)
    elif not isinstance(value, list) or len(value) != len(kinds):
        raise _wrong(place, f"a list of {len(kinds)}")
    return tuple(_build(kind, item, f"{place}[{n}]") for n, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(place, "an object")
    known = {}
    for each, hint in _schema(kind):
        if each.name in value:
            known[each.name] = _build(hint, value[each.name], _inside(place, each.name))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise DocumentError(f"{_inside(place, each.name)} is missing")
    try:
        return kind(**known)
    except DocumentError:
        raise
    except ValueError as error:
        raise DocumentError(f"{place + ': ' if place else ''}{error}".rstrip(".")) from error


def _scalar(kind: Any, value: Any, place: str) -> Any:
    is_kind = isinstance(value, (int, float) if kind is float else kind)
    if not is_kind or (isinstance(value, bool) and kind is not bool):
        raise _wrong(place, {str: "text", bool: "true or false", int: "a whole number", float: "a number"}[kind])
    if kind is float and not abs(value) <= sys.float_info.max:
        raise _wrong(place, "a finite number")
    return kind(value)


@cache
def _schema(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(each, hints[each.name]) for each in fields(kind) if each.init]


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _wrong(place: str, wanted: str) -> DocumentError:
    return DocumentError(f"{place or 'it'} is not {wanted}")


def _refuse_constant(name: str) -> Any:
    raise DocumentError(f"it holds {name}, which is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        raise DocumentError(f"it has {next(key for key in keys if keys.count(key) > 1)} twice")
    return document


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as CSV: a line of ``columns``, then a line for each row. Raises ValueError on another column."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
