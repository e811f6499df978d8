"""What the commands of ``carotid-landmark`` share: exit codes, the model that they open, and sentences for errors."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from .. import __version__
from ..detection import DetectionSettings
from ..errors import sentence

if TYPE_CHECKING:
    from ..bundle import Bundle

DONE, FAULT, BAD_INPUT, CANCELLED = 0, 1, 2, 3


def answers_for_its_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Every way a command can end becomes an exit code and at most one line on stderr."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            say("Cancelled; nothing is left half-written.")
            raise typer.Exit(CANCELLED) from None
        except (BrokenPipeError, SystemExit):  # whoever read stdout has left; rich makes SystemExit of it
            raise typer.Exit(CANCELLED) from None
        except typer.Exit:
            raise
        except Exception as error:
            if text := sentence(error):
                say(text)
                raise typer.Exit(BAD_INPUT) from None
            log = log_text("".join(traceback.format_exception(error)))
            say(f"A fault of this program, not yours ({type(error).__name__}); the details are in {log}.")
            raise typer.Exit(FAULT) from None

    return run


def open_model(reference: str | None, passes: int, level: float, seed: int) -> tuple[Bundle, DetectionSettings]:
    """The bundle and the settings of the options, once it is known that it can do them. Raises UserError."""
    from ..bundle import open_bundle
    from ..uncertainty import check_level

    bundle, settings = open_bundle(reference), DetectionSettings(passes, level, seed)
    check_level(bundle.metadata.calibration, bundle.metadata.labels, level)
    return bundle, settings


def stdout_console() -> Console:
    """For stdout; into a file or pipe lines are as wide as the tables need."""
    return Console() if sys.stdout is not None and sys.stdout.isatty() else Console(width=120)


def say(line: str) -> None:
    if sys.stderr is not None:  # print would take stdout then
        print(" ".join(line.split()), file=sys.stderr)


def log_text(text: str) -> str:
    """Write a traceback to a new file and return its path."""
    with NamedTemporaryFile(
        "w", prefix="carotid-landmark-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as log:
        log.write(f"CarotidLandmark {__version__}, Python {sys.version}, {sys.platform}\n{text}")
    return log.name
