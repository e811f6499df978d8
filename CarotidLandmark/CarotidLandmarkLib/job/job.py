"""A detection in a child process, seen from the application: started, polled from a timer, cancelled at once.

Knows neither Qt nor Slicer. No call takes longer than writing `SLAB_BYTES` to a temporary file.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..detection import DEFAULTS, Detection
from ..errors import UserError

SLAB_BYTES = 32 << 20
# Below this share of the work the remaining time is a guess that jumps about.
_ENOUGH_TO_ESTIMATE = 0.1
# For a child to end: it holds open what is to be removed (Windows).
LONGEST_WAIT_S = 0.7
FOLDER_PREFIX = "carotid-landmark-"
ABANDONED_AFTER_S = 24 * 3600

_leftovers: set[Path] = set()


def sweep() -> None:
    """Remove the temporary files of jobs that are over. What is still in use stays for the next time."""
    for folder in list(_leftovers):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            _leftovers.discard(folder)


atexit.register(sweep)


def sweep_abandoned() -> None:
    """Remove what an application that crashed has left, a scan's voxels: folders of jobs, unused for a day."""
    latest = time.time() - ABANDONED_AFTER_S
    for job in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/job.json"):
        with suppress(OSError):  # another user's, or one that just goes
            if max(path.stat().st_mtime for path in (job.parent, *job.parent.iterdir())) < latest:
                _leftovers.add(job.parent)
    sweep()


class DetectionFailed(UserError):
    """The detection ended without a result. The message is one sentence for the user."""


class DetectionCancelled(Exception):
    """Somebody asked to stop, or the volume went away; nothing was produced."""


@dataclass(frozen=True)
class JobSettings:
    """How to detect: see `detector.Detector`."""

    bundle: Path
    passes: int = DEFAULTS.passes
    level: float = DEFAULTS.level
    seed: int = DEFAULTS.seed
    device: str = "auto"


@dataclass(frozen=True)
class JobProgress:
    """``step`` as the detector names it, ``fraction`` of the work done, seconds left (None: not known yet)."""

    step: str
    fraction: float
    remaining_s: float | None


class DetectionJob:
    """One detection. Call `poll` often until it returns a Detection; call `cancel` to stop at any time.

    ``voxels`` [k, j, i] is read while the job starts and not kept after; ``affine_lps`` [4, 4] maps (i, j, k, 1) to LPS
    millimetres. ``python`` is the interpreter to run. Raises DetectionFailed.
    """

    def __init__(
        self,
        voxels: np.ndarray,
        affine_lps: np.ndarray,
        name: str,
        settings: JobSettings,
        python: str = sys.executable,
    ) -> None:
        self._prepare({"name": name, "affine_lps": np.asarray(affine_lps, dtype=float).tolist()}, settings, python)
        self._slabs: Iterator[None] | None = self._write_voxels(voxels)

    @classmethod
    def of_file(
        cls, image: Path, sha256: str, name: str, settings: JobSettings, python: str = sys.executable
    ) -> DetectionJob:
        """The same on an image file, which the child reads: refused there when its content has another ``sha256``."""
        job = cls.__new__(cls)
        job._prepare({"name": name, "image": str(image), "sha256": sha256}, settings, python)
        job._slabs = iter(())
        return job

    def _prepare(self, scan: dict[str, Any], settings: JobSettings, python: str) -> None:
        self.progress = JobProgress("reading", 0.0, None)
        self.notes: list[str] = []
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0
        self._began: float | None = None
        with _temporary_files():
            sweep_abandoned()
            self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            try:
                text = json.dumps({**scan, **asdict(settings)}, default=str)
                (self._folder / "job.json").write_text(text, encoding="utf-8")
            except OSError:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise

    def poll(self) -> Detection | None:
        """Go on by a little and return the result, or None while there is none.

        Raises DetectionFailed with a sentence for the user. The job is over then, and after it has returned a result.
        """
        try:
            with _temporary_files():
                detection = self._go_on()
        except BaseException:
            self.cancel()
            raise
        if detection is not None:
            self.cancel()
        return detection

    def _go_on(self) -> Detection | None:
        if self._slabs is not None:
            if next(self._slabs, self) is self:
                self._slabs = None
                self._start()
            return None
        assert self._process is not None
        ended = self._process.poll() is not None
        detection = self._listen()
        if detection is None and ended:
            raise DetectionFailed(self._why_it_ended())
        return detection

    def cancel(self) -> None:
        """Stop, whatever it is doing, and remove the temporary files. Safe to call twice.

        Returns after `LONGEST_WAIT_S` at the latest; files that can not be removed yet go later, see `sweep`.
        """
        self._slabs = None
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.closed:
            end = time.monotonic() + LONGEST_WAIT_S
            listening = self._tell_to_end()
            self._process.kill()
            self._process.wait()
            # what was started may have been a launcher, whose child still runs
            while listening and time.monotonic() < end:
                time.sleep(0.01)
                listening = self._tell_to_end()
            self._process.stdin.close()
        _leftovers.add(self._folder)
        sweep()

    def _tell_to_end(self) -> bool:
        """A word on the pipe that the child listens to. Whether anybody is there to hear it."""
        assert self._process is not None and self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), b".")
        except OSError:
            return False
        return True

    def _write_voxels(self, voxels: np.ndarray) -> Iterator[None]:
        """``voxels.npy``, a slab at a time, so that the application's event loop turns in between."""
        height = max(1, SLAB_BYTES // max(1, voxels[:1].nbytes))
        with (self._folder / "voxels.npy").open("wb") as stream:
            descr = np.lib.format.dtype_to_descr(voxels.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": voxels.shape}
            np.lib.format.write_array_header_2_0(stream, header)
            for first in range(0, len(voxels), height):
                stream.write(np.ascontiguousarray(voxels[first : first + height]).data)
                yield

    def _start(self) -> None:
        library = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(part for part in (library, os.environ.get("PYTHONPATH")) if part)
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            try:
                self._process = subprocess.Popen(
                    [self._python, "-m", f"{__package__}.worker", str(self._folder)],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    # safe: a json.py in the present folder, beside the data, is not Python's
                    env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"},
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            except OSError as error:
                reason = error.strerror or error
                raise DetectionFailed(f"The detection's own Python can not be started ({reason}).") from error

    def _listen(self) -> Detection | None:
        """What the child has said since the last time, whole lines only."""
        with (self._folder / "out").open("rb") as stream:
            stream.seek(self._told)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._told += len(whole)
        for line in whole.splitlines():
            if not line.startswith(b"{"):
                continue  # a library's own words, as MKL has some
            message = json.loads(line)
            if "error" in message:
                raise DetectionFailed(message["error"])
            if "detection" in message:
                self.notes = message["notes"]
                return Detection.from_json(message["detection"])
            self.progress = JobProgress(message["step"], message["fraction"], self._remaining(message["fraction"]))
        return None

    def _remaining(self, fraction: float) -> float | None:
        now = time.monotonic()
        if fraction <= 0.0 or self._began is None:
            self._began = now
        if fraction < _ENOUGH_TO_ESTIMATE:
            return None
        return (now - self._began) * (1 - fraction) / fraction

    def _why_it_ended(self) -> str:
        assert self._process is not None
        complaint = (self._folder / "err").read_text(encoding="utf-8", errors="replace").strip()
        logging.getLogger(__name__).error(
            "The detection process ended with %s.\n%s", self._process.returncode, complaint
        )
        # a launcher of the application ends with 1 when its child was killed
        killed = self._process.returncode in (-9, 137) or "exit abnormally" in complaint
        if killed or "MemoryError" in complaint:
            return (
                "The detection was ended from outside, most often for lack of memory; "
                "close other programs, or crop the scan to the neck."
            )
        if "No module named 'torch'" in complaint or "No module named 'safetensors'" in complaint:
            return (
                "PyTorch or safetensors is not installed in this Python; press Detect again and agree to install them."
            )
        last = complaint.splitlines()[-1] if complaint else f"exit status {self._process.returncode}"
        return f"The detection failed ({last}); the application log has the details."


@contextmanager
def _temporary_files() -> Iterator[None]:
    """What can not be written inside the block is said in a sentence."""
    try:
        yield
    except OSError as error:
        words = (
            f"Temporary files can not be written ({error.strerror or error}); free some space on the disk, then go on."
        )
        raise DetectionFailed(words) from error
