"""The command ``carotid-landmark``. Exit codes: 0 done, 2 bad input or arguments, 3 cancelled, 1 a fault of ours.

Nothing heavy is imported before the arguments are parsed, so that ``--help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from .. import __version__
from . import datasets, detect, exchange
from .common import DONE, answers_for_its_errors
from .frame import Command, run

app = typer.Typer(
    name="carotid-landmark",
    help="Find the left and right carotid bifurcation in a CT angiography of the neck. Not for clinical use.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    run(app, "carotid-landmark", arguments)


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
