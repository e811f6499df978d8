"""A folder of results appears whole or not at all: filled under a temporary name, moved into place at the end."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .atomic import TEMPORARY_PREFIX


@contextmanager
def staged_folder(destination: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """A temporary folder by ``destination``; what is in it moves there when the block ends without an exception.

    Files of the same name in ``destination`` are replaced one by one and others stay; with ``replace`` the whole folder
    is exchanged. After an exception (Ctrl-C too) nothing in ``destination`` has changed, and a folder that is new is
    not there. Raises OSError; NotADirectoryError when ``destination`` is a file.
    """
    destination = Path(destination).absolute()
    if destination.exists() and not destination.is_dir():
        raise NotADirectoryError(f"{destination} is a file, not a folder")
    new_parents = [parent for parent in destination.parents if not parent.exists()]
    # An existing folder may be a mount of its own, and files move whole only inside one file system.
    parent = destination if destination.exists() and not replace else destination.parent
    staging = parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{destination.name}"
    try:
        try:
            staging.mkdir(parents=True)
        except OSError as error:  # name the folder that was asked for, not ours
            raise OSError(error.errno, error.strerror, str(destination)) from error
        yield staging
        if not destination.exists():
            os.replace(staging, destination)
        elif replace:
            _exchange(staging, destination)
        else:
            _move_into(staging, destination)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # one that somebody else has put something into stays
            for parent in new_parents:
                parent.rmdir()
        raise


def _move_into(staging: Path, destination: Path) -> None:
    for source in sorted(staging.rglob("*")):
        target = destination / source.relative_to(staging)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            os.replace(source, target)
    shutil.rmtree(staging)


def _exchange(staging: Path, destination: Path) -> None:
    retired = staging.with_name(f"{staging.name}-old")
    os.replace(destination, retired)
    os.replace(staging, destination)
    shutil.rmtree(retired)
