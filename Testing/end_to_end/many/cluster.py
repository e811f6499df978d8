"""Commands and dask processes of the tests: started, watched, killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

LONGEST_S = 240.0  # seconds on a quiet machine; two busy cores took more than 120


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command line in a process group of its own, one thread a worker."""
    return subprocess.Popen(
        [sys.executable, "-m", "CarotidLandmarkLib.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in jobs that run in the background
    )


def lines(err: str) -> list[str]:
    """What a command said on stderr, without how far it was every minute: tests may be slow."""
    return [line for line in err.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]


def wait_until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not what():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that a command has started to compute in."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if any("spawn_main" in word for word in child.cmdline())]


def done(output: Path) -> dict[str, int]:
    """The scans that have results, and when those were written."""
    return {file.parent.name: file.stat().st_mtime_ns for file in output.glob("[!.]*/detection.json")}


@contextmanager
def dask(kind: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """``scheduler`` or ``worker`` of dask's own command line; killed at the end."""
    program = f"from distributed.cli.dask_{kind} import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
