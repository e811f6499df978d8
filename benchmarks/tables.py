"""A measurement as two files, NAME.md for people and NAME.csv for programs, with the machine it was made on."""

from __future__ import annotations

import csv
import io
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import torch
import typer
from CarotidLandmarkLib.files import write_text

Row = Mapping[str, str | float | int]
NO_GPU = "no GPU here"
RESULTS = Path("docs/results")
Output = Annotated[Path, typer.Option(help="Folder of the table, as Markdown and CSV.")]


def machine() -> str:
    """One line: processor, threads, accelerator, torch."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else NO_GPU
    processor = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {accelerator}; "
        f"torch {torch.__version__}"
    )


def devices(rows: list[Row], missing: Row) -> Iterator[str]:
    """cpu and, if there is one, cuda; where there is none, ``missing`` joins ``rows``, its other columns empty."""
    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"
    else:
        rows.append({**dict.fromkeys(rows[0], ""), **missing, "device": "cuda"})


def write_table(folder: Path, name: str, question: str, text: str, not_shown: str, rows: Sequence[Row]) -> Path:
    """Write both files and return the Markdown's path; every row has the columns of the first.

    ``not_shown``: what the table does not say, though a reader might think so.
    """
    columns = list(rows[0])
    csv_text = io.StringIO()
    writer = csv.DictWriter(csv_text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(shown(row).values()) + " |" for row in rows]
    head = f"# {question}\n\n{text.strip()}\n\n    {_command()}\n\nMeasured {date.today()} on {machine()}.\n\n"
    foot = f"\n\nIt does not show: {not_shown[0].lower()}{not_shown[1:]}\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.csv", csv_text.getvalue())
    write_text(folder / f"{name}.md", head + "\n".join(lines) + foot)
    return folder / f"{name}.md"


def _command() -> str:
    """What was called, without the reader's own folders."""
    words = list(sys.argv[1:])
    if "--output" in words:
        at = words.index("--output")
        del words[at : at + 2]
    words = [Path(word).name if Path(word).is_absolute() else word for word in words]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def shown(row: Row) -> dict[str, str]:
    """A row as people read it."""
    return {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items()}


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
