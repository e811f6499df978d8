"""The command ``carotid-train``. Exit codes: 0 done, 2 bad input or arguments, 3 stopped, 1 a fault of ours.

A command's options stand beside what it does; its module is imported when it is called, so that --help answers at once.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from importlib import import_module
from typing import Any, NoReturn

import typer
from CarotidLandmarkLib.cli import Command, run
from CarotidLandmarkLib.errors import UserError, lacks_memory, sentence
from typer.core import TyperCommand

DONE, BAD_INPUT, STOPPED = 0, 2, 3
PROGRAM = "carotid-train"

# Command -> the module whose `main` it is, and what --help says of it.
COMMANDS = {
    "fit": ("training.fit", "Train: --config Training/configs/small.yaml; lightning's command line."),
    "finetune": ("release.finetune", "A model learns from your annotated cases, and is compared with what it was."),
    "curve": ("training.curve", "Validation errors of a run against steps and hours, as a picture and a table."),
    "evaluate": ("evaluation.evaluate", "Error, calibration and presence of a model on annotated cases."),
    "export": ("release.export", "A model bundle from a training run, calibrated and measured."),
    "synthesize": ("cohorts.synthesize", "A cohort of digital necks on disk, with their truth."),
    "backgrounds": ("necks.tissue.preparation", "Unenhanced CTs analysed once, for necks of real tissue."),
    "table1": ("reproduction.table1", "Table 1 of the paper, all methods trained side by side."),
}

# What the next call of a command that was stopped does; the others go on where they were.
AFTERWARDS = {
    "fit": "the same command with --ckpt_path last goes on from the last checkpoint",
    "export": "nothing is written, and the same command begins again",
}

app = typer.Typer(
    name=PROGRAM,
    help="Digital necks, training, evaluation and export of CarotidLandmark's models. COMMAND --help says its options.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    run(app, PROGRAM, arguments, prefix=True)


class _Lazy(TyperCommand):
    """Leaves its arguments, --help among them, to the command that is imported when it runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = args
        return args


def _run(context: typer.Context) -> None:
    name = str(context.info_name)
    try:
        command = import_module(f".{COMMANDS[name][0]}", __package__).main
    except KeyboardInterrupt:  # that takes seconds
        raise _stopped(name) from None
    command = answers_for_its_errors(name, command)
    if name == "fit":  # lightning's own command line
        command(context.args)
        return
    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    inner.command(cls=Command)(command)
    code = inner(context.args, prog_name=f"{PROGRAM} {name}", standalone_mode=False)
    raise typer.Exit(code or DONE)


def answers_for_its_errors(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """What the user can mend, or has stopped, is an exit code and one line on stderr; a fault keeps its traceback."""

    @functools.wraps(command)
    def answering(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            raise _stopped(name) from None
        except BrokenPipeError:  # whoever read stdout has left
            raise typer.Exit(STOPPED) from None
        except Exception as error:
            if not (words := _words(name, error)):
                raise
            _say(f"{PROGRAM} {name}: {words}")
            raise typer.Exit(BAD_INPUT) from None

    return answering


def _stopped(name: str) -> typer.Exit:
    _say(f"{PROGRAM} {name}: stopped; {_afterwards(name)}.")
    return typer.Exit(STOPPED)


def _afterwards(name: str) -> str:
    return AFTERWARDS.get(name, "the same command goes on from here")


def _words(name: str, error: Exception) -> str:
    """The sentence of an error that the user can mend; "" of a fault of ours."""
    # torch's words for a worker that is not there any more, and the type that a pool of Python has for it
    if str(error).startswith("DataLoader worker") or isinstance(error, BrokenExecutor):
        what = "a process that prepares data was killed, most likely because the machine's memory is full"
        return f"{what}; end other programs, then {_afterwards(name)}."
    if lacks_memory(error):
        return "there is too little memory for this; end other programs, or make batches, patches or widths smaller."
    if name == "fit" and isinstance(error, UnicodeDecodeError):  # lightning reads a configuration
        return "a configuration is not text in UTF-8; save it as that."
    if not isinstance(error, (UserError, OSError)):
        return ""
    words = sentence(error) or str(error)
    if "Original Traceback" in words:  # torch puts it before what a worker raised
        words = words.rstrip().rpartition("\n")[2].partition(": ")[2]
        if disk := re.fullmatch(r"\[Errno (\d+)\] (.+?)(?:: '(.+)')?", words):
            words = sentence(OSError(int(disk[1]), disk[2], disk[3]))
    return words


def _say(line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr)


for _name, (_, _help) in COMMANDS.items():
    app.command(_name, cls=_Lazy, short_help=_help)(_run)
