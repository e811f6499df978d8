"""What the commands of the library and of training share: how they begin, which paths they take, how they end."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from ..errors import UserError, forget_interrupts, sentence
from ..files import check_path
from ..memory import keep_freed_memory
from .common import BAD_INPUT, CANCELLED, DONE, say


def run(app: typer.Typer, program: str, arguments: list[str] | None, prefix: bool = False) -> NoReturn:
    """Run a program's command line and leave with its exit code. ``prefix``: errors begin with the command's name.

    SIGTERM (a scheduler's end) and SIGHUP (a closed terminal) are a KeyboardInterrupt, as Ctrl-C is.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    keep_freed_memory()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    code = DONE
    try:
        try:
            code = app(arguments or ["--help"], prog_name=program, standalone_mode=False) or DONE
            if code == 130:  # typer's, after Ctrl-C while it reads the arguments
                code = CANCELLED
        except SystemExit as ending:  # jsonargparse's, after its help; rich's, of a reader that has left
            code = CANCELLED if ending.code else DONE
        print(end="", flush=True)
    except OSError as error:  # of stdout: a full disk, or a reader that has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer has to go somewhere
        if code == DONE and isinstance(error, BrokenPipeError):
            code = CANCELLED
        elif code == DONE:
            say((f"{program}: " if prefix else "") + sentence(error))
            code = BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):  # before or after a command, which says so itself
        code = CANCELLED
    except Exception as error:  # typer's own errors say what is wrong with the arguments; the commands catch the rest
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else program
        say((f"{command}: " if prefix else "") + f"{error.format_message().rstrip('.')}. See {command} --help.")
        code = BAD_INPUT
    forget_interrupts()
    sys.exit(code)


class Command(TyperCommand):
    """A command whose options and arguments take no text for a path that is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises BadParameter as `files.check_path` refuses."""
        texts = self.make_parser(ctx).parse_args(args=list(args))[0]  # as given: a Path of "" is the present folder
        kinds = get_type_hints(self.callback)
        each: Any  # typer's own kind, which it does not name
        for each in self.params:
            if _takes_path(kinds.get(str(each.name))) or each.metavar == "BUNDLE":  # a folder or a name
                given = texts.get(str(each.name))
                for text in given if isinstance(given, (list, tuple)) else [given]:
                    if isinstance(text, str):
                        try:
                            check_path(text)
                        except UserError as error:
                            raise typer.BadParameter(str(error), ctx, each) from error  # type: ignore[arg-type]
        return super().parse_args(ctx, args)


def _takes_path(kind: Any) -> bool:
    return kind is Path or any(map(_takes_path, get_args(kind)))
