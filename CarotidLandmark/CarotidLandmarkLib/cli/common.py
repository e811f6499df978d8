"""What the commands of ``carotid-landmark`` share: exit codes, option types, progress, and sentences for errors."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..detection import DetectionSettings
from ..errors import UserError

if TYPE_CHECKING:
    from ..bundle import Bundle

DONE, FAULT, BAD_INPUT, CANCELLED = 0, 1, 2, 3
DEFAULTS = DetectionSettings()


class InputError(UserError):
    """What was asked for can not be done. The message is one sentence for the user."""


def answers_for_its_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Every way a command can end becomes an exit code and at most one line on stderr."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            say("Cancelled; nothing is left half-written.")
            raise typer.Exit(CANCELLED) from None
        except typer.Exit:
            raise
        except Exception as error:
            if isinstance(error, UserError):
                say(str(error))
            elif isinstance(error, OSError) and error.strerror and error.filename:
                say(f"{error.filename} can not be used ({error.strerror}); check the path, permissions and disk.")
            else:
                log = log_text("".join(traceback.format_exception(error)))
                say(f"A fault of this program, not yours ({type(error).__name__}); the details are in {log}.")
                raise typer.Exit(FAULT) from None
            raise typer.Exit(BAD_INPUT) from None

    return run


Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results; made if needed.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="BUNDLE", help="A model bundle's folder, or the name of a model that `info` lists."),
]
Passes = Annotated[int, typer.Option(min=2, max=10_000, help="Noise passes; more make the uncertainty steadier.")]
Level = Annotated[float, typer.Option(help="Confidence level of the regions, between 0 and 1.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise; the same seed gives the same result.")]
Series = Annotated[
    str | None,
    typer.Option(metavar="UID|NUMBER", help="Which series of a DICOM folder, as the command series lists them."),
]


Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="So many processes of this machine at once, each with a model of its own."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="The workers of a dask scheduler, for example tcp://host:8786, or its file."),
]


def settings_for(bundle: Bundle, passes: int, level: float, seed: int) -> DetectionSettings:
    """The settings of the options, once it is known that the bundle can do them. Raises UserError."""
    from ..uncertainty import check_level

    settings = DetectionSettings(passes, level, seed)
    check_level(bundle.metadata.calibration, [landmark.name for landmark in bundle.metadata.landmarks], level)
    return settings


def stdout_console() -> Console:
    """For stdout; into a file or pipe lines are as wide as the tables need."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def say(line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr)


def log_text(text: str) -> str:
    """Write a traceback to a new file and return its path."""
    handle, path = tempfile.mkstemp(prefix="carotid-landmark-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"CarotidLandmark {__version__}, Python {sys.version}, {sys.platform}\n")
        stream.write(text)
    return path
