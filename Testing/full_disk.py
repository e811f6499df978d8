"""A disk with little room, without being root: no file of this process may grow beyond so many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Within the block the system refuses what would make a file, or shared memory, larger: as a full disk does."""
    resource = pytest.importorskip("resource", reason="only POSIX systems limit files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_all_or_nothing(write: Callable[[], object], path: Path, before: bytes | None = None) -> None:
    """Wherever the disk is full, ``write`` raises OSError and leaves at ``path`` what was there; with room it writes.

    ``before``: what is at ``path``; nothing if None.
    """
    write()
    size = path.stat().st_size
    for count in sorted({0, 1, size // 3, size // 2, size - 5000, size - 100, size - 1}):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        with room_for(max(0, count)), pytest.raises(OSError):
            write()
        assert [file.name for file in path.parent.iterdir()] == ([] if before is None else [path.name])
        assert before is None or path.read_bytes() == before
    with room_for(size):
        write()
    assert path.stat().st_size == size
