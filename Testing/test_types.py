"""Calls and types fit, in the benchmarks, too, which no test runs as a whole."""

import subprocess
import sys
from pathlib import Path


def test_every_call_fits_what_it_calls():
    """A benchmark was broken by a parameter that had gone, and nothing said so."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary"]
    checked = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
