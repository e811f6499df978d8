"""The command ``carotid-landmark``. Exit codes: 0 done, 2 bad input or arguments, 3 cancelled, 1 a fault of ours.

Nothing heavy is imported before the arguments are parsed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import forget_interrupts, sentence
from ..memory import keep_freed_memory
from . import datasets, detect, exchange
from .common import BAD_INPUT, CANCELLED, DONE, answers_for_its_errors, say
from .frame import Command

app = typer.Typer(
    name="carotid-landmark",
    help="Find the left and right carotid bifurcation in a CT angiography of the neck. Not for clinical use.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    keep_freed_memory()
    for name in ("SIGTERM", "SIGHUP"):  # a scheduler's end and a closed terminal are cancelled as Ctrl-C is
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    code = DONE
    try:
        code = app(arguments or ["--help"], prog_name="carotid-landmark", standalone_mode=False) or DONE
        print(end="", flush=True)
    except (OSError, SystemExit) as error:  # of stdout: a full disk, or a reader that has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer has to go somewhere
        if code == DONE and isinstance(error, (BrokenPipeError, SystemExit)):
            code = CANCELLED
        elif code == DONE:
            say(sentence(error))
            code = BAD_INPUT
    except Exception as error:  # typer's own errors say what is wrong with the arguments; the commands catch the rest
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "carotid-landmark"
        say(f"{error.format_message().rstrip('.')}. See {command} --help.")
        code = BAD_INPUT
    forget_interrupts()
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit(DONE)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


for command in (
    detect.detect,
    detect.demo,
    detect.info,
    detect.report,
    detect.series,
    datasets.add,
    datasets.check,
    datasets.locate,
    datasets.repair,
    datasets.queue,
    datasets.cohort,
    datasets.agreement,
    exchange.import_,
    exchange.export,
):
    app.command(command.__name__.rstrip("_"), cls=Command)(answers_for_its_errors(command))
