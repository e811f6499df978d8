"""What the whole room shares: its error, names that every file system can tell apart, the reading of one document."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeVar

from ..documents import DocumentError, build, parse
from ..errors import UserError
from ..files import is_device

T = TypeVar("T")

SCHEMA_VERSION = 2  # of every document of a dataset

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class DatasetError(UserError):
    """The dataset can not be used so. The message is one sentence for the user: what is wrong and what to do."""


class UnreadableError(DatasetError):
    """A file is there and may be sound, but can not be read now: rights, disk, network, a newer version."""


def is_safe_name(name: str) -> bool:
    """Whether ``name`` can be part of a file name on every machine."""
    return bool(_SAFE_NAME.fullmatch(name)) and not is_device(name)


def check_name(what: str, name: str) -> None:
    """Raises DatasetError, about ``what``, on a name that is not safe."""
    if is_device(name):
        raise DatasetError(f"{what} '{name}' is the name of a device on Windows; choose another.")
    if not _SAFE_NAME.fullmatch(name):
        raise DatasetError(f"{what} '{name}' must be English letters (a-z, A-Z), digits, '_' and '-' (64 at most).")


def check_annotator(name: str) -> None:
    """Raises DatasetError on a name that can not be part of a file name on every machine."""
    check_name("The annotator's name", name)


def check_case_of_letters(what: str, name: str, known: set[str]) -> None:
    """Raises DatasetError where ``known`` has the same name in other capitals: not every file system sees two."""
    for other in sorted(known):
        if other != name and other.lower() == name.lower():
            raise DatasetError(f"{what} '{name}' is there already as '{other}'; write it in the same letters.")


def names_in(folder: Path, needed: bool = False) -> list[str]:
    """What lies in a folder, in alphabetical order, hidden files left out; nothing where there is no such folder.

    Raises UnreadableError where it can not be listed, or is ``needed`` and not there: nobody may take it for empty.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        remedy = f"can not be listed ({error.strerror}); check its permissions and the disk"
        if isinstance(error, FileNotFoundError):
            if not needed and not folder.is_symlink():
                return []
            remedy = "is not there; restore it, or make it if nothing was in it yet"
        raise UnreadableError(f"The folder {folder.name} of {folder.absolute().parent.name} {remedy}.") from error


def read_entry(kind: type[T], path: Path, what: str, remedy: str, **fields: str) -> T:
    """The document at ``path`` as a ``kind``, with ``fields`` where the file does not have them.

    Raises DatasetError: ``what`` is missing or damaged, and the remedy; UnreadableError where it is of a newer version
    than ours, or nobody can say whether it is damaged.
    """
    try:
        document = parse(path.read_bytes())
        version = document.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UnreadableError(
                f"{what} was written by a newer CarotidLandmark (schema {version}, this one reads {SCHEMA_VERSION}); "
                "update CarotidLandmark."
            )
        return build(kind, {**fields, **document})
    except FileNotFoundError as error:
        raise DatasetError(f"{what} is missing; {remedy}.") from error
    except OSError as error:
        raise UnreadableError(
            f"{what} can not be read ({error.strerror}); check its permissions and the disk."
        ) from error
    except DocumentError as error:
        raise DatasetError(f"{what} is damaged ({error}); {remedy}.") from error
