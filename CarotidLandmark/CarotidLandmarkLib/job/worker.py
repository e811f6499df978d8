"""The child process of the Slicer module: one detection, told about in JSON lines on stdout.

It runs apart from the application because Python threads there stand still whenever the event loop has the lock, and
because ending a process is a Cancel that always works and lack of memory here does not take the application along.

    python -m CarotidLandmarkLib.job.worker FOLDER

FOLDER holds ``job.json``, and ``voxels.npy`` unless the job names an image file, as `job` wrote them. Lines:
``{"step", "fraction"}``, then one of ``{"detection", "notes"}`` and ``{"error"}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import sentence
from ..files import file_sha256

if sys.platform == "win32":
    import _winapi
    import msvcrt

if TYPE_CHECKING:
    from ..volume import Volume


def run(folder: Path) -> None:
    """Read the job, detect, print. What the user can mend becomes an ``error`` line; anything else is raised."""
    tell(step="starting", fraction=0.0)
    from ..bundle import Bundle
    from ..detection import DetectionSettings
    from ..detector import Detector
    from ..memory import keep_freed_memory

    keep_freed_memory()
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        tell(step="reading", fraction=0.0)
        started = time.perf_counter()
        volume = scan(job, folder)
        load_s = time.perf_counter() - started
        detector = Detector(Bundle.load(job["bundle"]), job["device"])
        detection = detector.detect(
            volume,
            DetectionSettings(job["passes"], job["level"], job["seed"]),
            lambda step, fraction: tell(step=step, fraction=fraction),
            load_s,
        )
    except OSError as error:
        tell(error=f"The scan or the model can not be read ({error.strerror or error}).")
    except Exception as error:
        if not (words := sentence(error)):
            raise
        tell(error=words)
    else:
        tell(detection=detection.to_json(), notes=detector.notes)


def scan(job: dict[str, Any], folder: Path) -> Volume:
    """The scan of a job. Raises VolumeError, OSError."""
    from ..volume import VolumeError, from_array, read_volume

    if "image" not in job:
        voxels = np.load(folder / "voxels.npy", mmap_mode="r")
        return from_array(voxels, np.array(job["affine_lps"]), job["name"])
    if file_sha256(Path(job["image"])) != job["sha256"]:
        raise VolumeError("The image is not the one that was added (sha256 differs); restore it.")
    return read_volume(job["image"], alias=job["name"])


def tell(**line: Any) -> None:
    """One JSON line on stdout, now."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    """End this process when the other end of stdin closes or says a word: nobody is left to hear the answer."""

    def watch() -> None:
        if sys.platform == "win32":
            # a read that waits holds up all who ask what stdin is, as libraries of CUDA do while they are loaded
            with suppress(OSError):  # the other end is closed
                while not _winapi.PeekNamedPipe(msvcrt.get_osfhandle(0), 0)[0]:
                    time.sleep(0.1)
        else:
            os.read(0, 1)  # sys.stdin's own lock, held at the end, aborts the process: "_enter_buffered_busy"
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    run(Path(sys.argv[1]))
