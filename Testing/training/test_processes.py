"""How carotid-train ends: by a signal, with its processes; and where nobody reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from carotid_training.processes import pool

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, closed pipes and names of bytes")


def write_for_ever(file: str) -> None:
    while True:
        with open(file, "a") as stream:
            stream.write(".")
        time.sleep(0.05)


def work(folder: str) -> None:
    """A command: two processes that write."""
    with pool(2) as workers:
        for each in [workers.submit(write_for_ever, f"{folder}/{number}") for number in range(2)]:
            each.result()


def started(folder: Path, *last: str) -> subprocess.Popen:
    """The program, with a command of the statement ``last``."""
    program = f"""
from types import SimpleNamespace
from carotid_training import cli
from Testing.training.test_processes import work

def command(folder: str) -> None:
    {last[0]}

cli.import_module = lambda *_: SimpleNamespace(main=command)
if __name__ == "__main__":
    cli.main(["synthesize", {str(folder)!r}])
"""
    (folder / "program.py").write_text(program)
    return subprocess.Popen(
        [sys.executable, folder / "program.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (1, 2, 15)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )  # fmt: skip


def wait_for(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def is_still(files: list[Path]) -> bool:
    before = [file.stat().st_size for file in files]
    time.sleep(1)
    return before == [file.stat().st_size for file in files]


def test_processes_end_with_the_one_that_has_started_them(tmp_path):
    program, files = started(tmp_path, "work(folder)"), [tmp_path / "0", tmp_path / "1"]
    assert wait_for(lambda: all(file.exists() for file in files))
    program.kill()
    program.wait()
    assert wait_for(lambda: is_still(files), 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_scheduler_s_end_and_a_closed_terminal_stop_a_command_as_ctrl_c_does(tmp_path, number):
    program = started(tmp_path, "print(flush=True); import time; time.sleep(60)")
    program.stdout.readline()
    program.send_signal(number)
    _, err = program.communicate(timeout=30)
    words = "carotid-train synthesize: stopped; the same command goes on from here."
    assert (program.returncode, err.splitlines()) == (3, [words])


def test_what_nobody_reads_ends_in_silence(tmp_path):
    program = started(tmp_path, "import time; time.sleep(1); print('much', flush=True)")
    program.stdout.close()
    assert (program.wait(timeout=30), program.stderr.read()) == (3, "")


def test_a_name_that_is_no_text_is_printed_as_its_bytes(tmp_path):
    out, err = started(tmp_path, r"print('r\udcfcn')").communicate(timeout=30)
    assert (out, err) == ("r\\udcfcn\n", "")
