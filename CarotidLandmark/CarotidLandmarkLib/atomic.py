"""Writing to disk so that a reader sees the old content or the new, never half of either."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write ``content`` to ``path`` through a temporary file beside it, fsync and rename. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; results are shared like any other
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """`write_bytes` of the UTF-8 form of ``text``."""
    return write_bytes(path, text.encode("utf-8"))


@contextmanager
def staged_folder(destination: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``destination``; what is in it moves there when the block ends without an exception.

    Files of the same name in ``destination`` are replaced one by one and others stay; with ``replace`` the whole folder
    is exchanged. After an exception (Ctrl-C too) nothing in ``destination`` has changed, and a new folder
    is not there. Raises OSError, and NotADirectoryError when ``destination`` is a file.
    """
    destination = Path(destination)
    if destination.exists() and not destination.is_dir():
        raise NotADirectoryError(f"{destination} is a file, not a folder")
    missing_parents = [parent for parent in destination.absolute().parents if not parent.exists()]
    destination.absolute().parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".tmp", dir=destination.absolute().parent))
    try:
        os.chmod(staging, 0o777 & ~_umask())
        yield staging
        if destination.is_dir() and replace:
            _exchange(staging, destination)
        elif destination.is_dir():
            _move_into(staging, destination)
        else:
            os.replace(staging, destination)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in missing_parents:  # nearest first; stops at the first one that somebody else now uses
            try:
                parent.rmdir()
            except OSError:
                break
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
    retired = staging.with_suffix(".old")
    os.replace(destination, retired)
    os.replace(staging, destination)
    shutil.rmtree(retired)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
