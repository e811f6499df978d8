"""carotid-train: one application; its help is quick, its errors are one line, its exit codes say how it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from carotid_training import cli
from carotid_training.processes import pool
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.volume import VolumeError
from torch.utils.data import DataLoader, IterableDataset

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="signals, closed pipes and names of bytes")


def left(*arguments: str) -> int:
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code


def test_help_lists_every_command_and_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from carotid_training.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'torch', 'lightning', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_says_its_options(name, capsys):
    assert left(name, "--help") == 0
    text = capsys.readouterr().out
    assert ("--config" if name == "fit" else f"Usage: carotid-train {name} ") in text
    assert re.findall(r"--\w+ <[^>]*[,\[].*", text) == []  # several values are given as the help writes them


def test_nothing_asked_for_shows_the_help(capsys):
    assert left() == 0
    assert "Usage: carotid-train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "carotid-train: No such command 'nothing'. See carotid-train --help."),
        (["synthesize", "--cases", "few"], "carotid-train synthesize: Invalid value for '--cases': "),
        (["curve"], "carotid-train curve: Missing argument "),
        (["curve", ""], "carotid-train curve: Invalid value for 'run': a path is empty: perhaps a variable"),
        (["curve", "a", "--output="], "carotid-train curve: Invalid value for '--output': a path is empty"),
        (["export", "a", "--calibrate", ""], "carotid-train export: Invalid value for '--calibrate': a path is empty"),
        (["finetune", "a", "--background="], "carotid-train finetune: Invalid value for '--background': a path is"),
        (["finetune", "a", "--model="], "carotid-train finetune: Invalid value for '--model': a path is empty"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(arguments, sentence, capsys):
    assert left(*arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith(sentence) and output.err.count("\n") == 1 and not output.out


def test_an_interrupt_while_a_library_is_imported_ends_with_3_too(tmp_path):
    program = """
from carotid_training import cli

def interrupted(*arguments):
    exec("raise KeyboardInterrupt")  # a library is imported, and makes a dataclass

cli.import_module = interrupted
cli.main(["curve", "runs/none"])
"""
    (tmp_path / "interrupted.py").write_text(program)
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    words = "carotid-train curve: stopped; the same command goes on from here."
    assert (done.returncode, done.stderr.splitlines()) == (3, [words])


def test_fit_hands_its_arguments_to_lightning_as_they_are(monkeypatch):
    handed = []
    monkeypatch.setattr("carotid_training.training.fit.main", handed.append)
    arguments = ["--config", "a.yaml", "--data.styles={a: 1}", "-c", "b.yaml", "--", "--help"]
    assert left("fit", *arguments) == 0
    assert handed == [arguments]


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("No\n such run."), 2), (VolumeError("No\n such run."), 2), (OSError("No such run."), 2)],
)
def test_what_the_user_can_mend_is_one_line(error, code, monkeypatch, capsys):
    def fail(arguments):
        raise error

    monkeypatch.setattr("carotid_training.training.fit.main", fail)
    assert left("fit") == code
    assert capsys.readouterr().err == "carotid-train fit: No such run.\n"


def test_a_command_that_is_stopped_ends_with_3(monkeypatch, capsys):
    def stop(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("carotid_training.training.fit.main", stop)
    assert left("fit") == 3
    assert capsys.readouterr().err == (
        "carotid-train fit: stopped; the same command with --ckpt_path last goes on from the last checkpoint.\n"
    )


def test_a_command_that_is_stopped_while_it_is_imported_ends_with_3(monkeypatch, capsys):
    def stop(*names):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", stop)
    assert left("evaluate", "a", "b") == 3
    assert capsys.readouterr().err == "carotid-train evaluate: stopped; the same command goes on from here.\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (VolumeError("a.nrrd is damaged; restore it."), "a.nrrd is damaged; restore it."),
        (
            OSError(28, "No space left on device", "cache/a.pt"),
            "cache/a.pt can not be used (No space left on device); check the path and the disk.",
        ),
        (
            OSError(28, "No space left on device"),
            "A file or the output can not be used (No space left on device); check the path and the disk.",
        ),
    ],
)
def test_what_a_worker_could_not_use_is_told_without_its_traceback(monkeypatch, capsys, error, words):
    class Unreadable(IterableDataset):
        def __iter__(self):
            raise error

    monkeypatch.setattr(
        "carotid_training.training.fit.main", lambda arguments: list(DataLoader(Unreadable(), num_workers=1))
    )
    assert left("fit") == 2
    assert capsys.readouterr().err == f"carotid-train fit: {words}\n"


class Large(IterableDataset):
    """What the system kills for the memory that it takes."""

    def __iter__(self):
        die(None)


def die(what):
    os.kill(os.getpid(), signal.SIGKILL)


def pool_of_one(arguments):
    with ProcessPoolExecutor(1) as pool:
        list(pool.map(die, [1]))


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("work", [lambda arguments: list(DataLoader(Large(), num_workers=1)), pool_of_one])
def test_a_process_that_the_system_kills_is_told_as_such(monkeypatch, capsys, work):
    monkeypatch.setattr("carotid_training.training.fit.main", work)
    assert left("fit") == 2
    assert capsys.readouterr().err == (
        "carotid-train fit: a process that prepares data was killed, most likely because the machine's memory is full; "
        "end other programs, then the same command with --ckpt_path last goes on from the last checkpoint.\n"
    )


class Huge(IterableDataset):
    def __iter__(self):
        yield torch.empty(10**15)


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_a_training_is_refused_is_told_as_such(monkeypatch, capsys, workers):
    monkeypatch.setattr(
        "carotid_training.training.fit.main", lambda arguments: list(DataLoader(Huge(), num_workers=workers))
    )
    assert left("fit") == 2
    assert capsys.readouterr().err == (
        "carotid-train fit: there is too little memory for this; end other programs, or make batches, patches or "
        "widths smaller.\n"
    )


def test_what_a_disk_refuses_is_told_by_its_file_or_as_the_disks(monkeypatch, capsys):
    def fail(error):
        def main(arguments):
            raise error

        monkeypatch.setattr("carotid_training.training.fit.main", main)
        assert left("fit") == 2
        return capsys.readouterr().err

    assert fail(FileExistsError(17, "File exists", "runs/a")) == (
        "carotid-train fit: runs/a can not be used (File exists); check the path and the disk.\n"
    )
    words = "A file or the output can not be used (No space left on device); check the path and the disk."
    assert fail(OSError(28, "No space left on device")) == f"carotid-train fit: {words}\n"


def test_a_fault_of_ours_is_not_called_bad_input(monkeypatch):
    def fail(arguments):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("carotid_training.training.fit.main", fail)
    with pytest.raises(ValueError, match="broadcast"):
        cli.main(["fit"])


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


def started(folder: Path, statement: str) -> subprocess.Popen:
    """The program, whose command is one ``statement``."""
    program = f"""
from types import SimpleNamespace
from carotid_training import cli
from Testing.training.test_cli import work

def command(folder: str) -> None:
    {statement}

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


@posix
def test_processes_end_with_the_one_that_has_started_them(tmp_path):
    program, files = started(tmp_path, "work(folder)"), [tmp_path / "0", tmp_path / "1"]
    assert wait_for(lambda: all(file.exists() for file in files))
    program.kill()
    program.wait()
    assert wait_for(lambda: is_still(files), 20)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_scheduler_s_end_and_a_closed_terminal_stop_a_command_as_ctrl_c_does(tmp_path, number):
    program = started(tmp_path, "print(flush=True); import time; time.sleep(60)")
    program.stdout.readline()
    program.send_signal(number)
    _, err = program.communicate(timeout=30)
    words = "carotid-train synthesize: stopped; the same command goes on from here."
    assert (program.returncode, err.splitlines()) == (3, [words])


@posix
def test_what_nobody_reads_ends_in_silence(tmp_path):
    program = started(tmp_path, "import time; time.sleep(1); print('much', flush=True)")
    program.stdout.close()
    assert (program.wait(timeout=30), program.stderr.read()) == (3, "")


@posix
def test_a_name_that_is_no_text_is_printed_as_its_bytes(tmp_path):
    out, err = started(tmp_path, r"print('r\udcfcn')").communicate(timeout=30)
    assert (out, err) == ("r\\udcfcn\n", "")
