"""The options that several commands of ``carotid-landmark`` have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def absolute(path: Path) -> Path:
    """With a name, which "." has not: sentences call a folder by it."""
    return Path(os.path.abspath(path))


Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder for the results; made if needed.", file_okay=False),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="BUNDLE", help="A model bundle's folder, or the name of a model that `info` lists."),
]
Passes = Annotated[int, typer.Option(min=2, max=10_000, help="Noise passes; more make the uncertainty steadier.")]
Level = Annotated[
    float, typer.Option(help="Confidence level of the regions, up to what the model is calibrated for (shipped: 0.95).")
]
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
