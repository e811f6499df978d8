"""What image libraries in C++ need around them: silence on the console, and paths that they can take."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_descriptors = threading.RLock()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what image libraries print off stdout and stderr: our own one sentence is the whole story."""
    # GDCM and MetaIO write to the C streams, past Python and past ITK's warning switch
    with _descriptors:
        saved = []
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            with open(os.devnull, "wb") as sink:
                for descriptor in (1, 2):
                    saved.append((descriptor, os.dup(descriptor)))
                    os.dup2(sink.fileno(), descriptor)
        except OSError:  # a program without console has no descriptors to protect
            pass
        try:
            yield
        finally:
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)


@contextmanager
def utf8_path(path: Path) -> Iterator[str]:
    """``path`` for SimpleITK, which aborts the process on what is not UTF-8: then a link to it, of the same suffix."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, path.name.encode("ascii", "replace").decode())
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)
