"""A review session that is killed, or whose disk is full, read-only or away, loses nothing: a few random moments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "safety" / "review_session.py"


def can_mount(tmp_path) -> bool:
    if sys.platform != "linux":
        return False
    tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True)
    if tried.returncode == 0:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    return tried.returncode == 0


def test_nothing_that_was_said_is_lost_at_a_few_random_moments(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if not can_mount(place):
        pytest.skip("a disk of its own needs root")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--moments", "3", "--seed", "3"], capture_output=True, text=True, timeout=280
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, told["lost"]) == (0, []), done.stderr
    assert told["acts"] > 0
