"""Where configurations lie, and how they are read: more strictly than jsonargparse and YAML do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from CarotidLandmarkLib.documents import build
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import check_path
from CarotidLandmarkLib.landmarks import LandmarkSpec
from jsonargparse import Namespace, get_loader, set_loader
from jsonargparse.typing import register_type

LARGEST = 2**32  # of all numbers; seeds are below it, everything else by far


def configuration(name: str) -> Path:
    """One of the configurations that come with the program, for example "finetune"; in a checkout or in a wheel."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "configs", package.parent / "configs")
    return next(folder for folder in folders if folder.is_dir()) / f"{name}.yaml"


def check_numbers(config: Namespace) -> None:
    """Raises UserError where a number of a configuration is infinite, none, or absurd."""
    for key, value in _numbers(config.as_dict(), ""):
        if not -LARGEST < value < LARGEST:
            raise UserError(f"{key} can not be {value:.6g}; give a number that is nearer to the usual ones.")


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, (int, float)):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(inner, key)


def _loaded(text: str) -> Any:
    """What a YAML text holds. Raises YAMLError, also where a key is there twice: YAML takes the last one."""
    _check_keys(yaml.compose(text, Loader=yaml.SafeLoader))
    return _any_yaml(text)


def _check_keys(node: yaml.Node | None) -> None:
    if not isinstance(node, yaml.CollectionNode):
        return
    keys = set()
    for item in node.value:
        key, value = item if isinstance(item, tuple) else (None, item)
        if key is not None and str(key.value) in keys:
            raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {key.value} is there already; leave one of them out")
        keys.add(key and str(key.value))
        _check_keys(value)


def _landmark(fields: dict[str, Any]) -> LandmarkSpec:
    if unknown := fields.keys() - LandmarkSpec.__annotations__.keys():
        raise UserError(f"a landmark has no {', '.join(sorted(unknown))}")
    return build(LandmarkSpec, fields)


def _path(text: str) -> Path:
    check_path(text)
    return Path(text)


_any_yaml = get_loader("yaml")
set_loader("yaml", _loaded, (yaml.YAMLError,))
# Or a default set of landmarks would be printed, and kept with a run, as text that no configuration can be made of.
register_type(LandmarkSpec, asdict, _landmark, (AttributeError, UserError))
register_type(Path, str, _path, (UserError,), isinstance, fail_already_registered=False)
