"""What benchmarks share: their options, processes of their own, and a measurement as a page and as a CSV file."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from carotid_training.pages import csv_of, markdown_table
from CarotidLandmarkLib.detector import bfloat16_is_fast
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.memory import keep_freed_memory

Row = Mapping[str, str | float | int]
NO_GPU = "no GPU here"
RESULTS = Path("docs/results")
Output = Annotated[Path, typer.Option(help="Folder of the table, as Markdown and CSV.")]
Background = Annotated[list[Path] | None, typer.Option(help="Unenhanced CT, or folder of them, for real tissue.")]
Model = Annotated[str | None, typer.Option(help="A bundle's folder or name; default: the shipped one.")]


@dataclass(frozen=True)
class Table:
    """A question that numbers answer. ``not_shown``: what they do not say, though a reader might think so."""

    name: str
    question: str
    not_shown: str

    def write(self, folder: Path, text: str, rows: Sequence[Row]) -> Path:
        """Write NAME.csv for programs and NAME.md for people, and print the latter; returns its path.

        ``text`` says what was measured; every row has the columns of the first.
        """
        columns = list(rows[0])
        head = f"# {self.question}\n\n{text.strip()}\n\n    {_command()}\n\nMeasured {date.today()} on {machine()}.\n\n"
        foot = f"\nIt does not show: {self.not_shown[0].lower()}{self.not_shown[1:]}\n"
        page = head + markdown_table(columns, [list(shown(row).values()) for row in rows]) + foot
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.name}.csv", csv_of(rows))
        write_text(folder / f"{self.name}.md", page)
        print(page, flush=True)
        return folder / f"{self.name}.md"


def run(main: Callable[..., None] | typer.Typer) -> None:
    """A benchmark as a command, its memory as the program's commands have it."""
    keep_freed_memory()
    main() if isinstance(main, typer.Typer) else typer.run(main)


def measured_apart(module: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """The JSON object in the last line of what a module prints in a process of its own. Raises Exit where it fails."""
    child = subprocess.run(
        [sys.executable, "-m", module, *arguments], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    if child.returncode:
        raise typer.Exit(child.returncode)
    return json.loads(child.stdout.splitlines()[-1])


def counted(name: str) -> Callable[[int, int], None]:
    """Tells how many necks of a cohort are done."""
    return lambda done, total: print(f"{name}: neck {done} of {total}", flush=True)


def machine() -> str:
    """One line: processor, whether it multiplies bfloat16 (then detections use it), threads, accelerator, torch."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else NO_GPU
    processor = names[0] if names else platform.processor() or platform.machine()
    numbers = "with bfloat16" if bfloat16_is_fast(torch.device("cpu")) else "without bfloat16"
    return (
        f"{processor} {numbers}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {accelerator}; "
        f"torch {torch.__version__}"
    )


def devices(rows: list[Row], missing: Row) -> Iterator[str]:
    """cpu and, if there is one, cuda; where there is none, ``missing`` joins ``rows``, its other columns empty."""
    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"
    else:
        rows.append({**dict.fromkeys(rows[0], ""), **missing, "device": "cuda"})


def shown(row: Row) -> dict[str, str]:
    """A row as people read it."""
    return {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items()}


def _command() -> str:
    """What was called, without the reader's own folders."""
    words = list(sys.argv[1:])
    if "--output" in words:
        at = words.index("--output")
        del words[at : at + 2]
    words = [Path(word).name if Path(word).is_absolute() else word for word in words]
    script = Path(sys.argv[0])
    return shlex.join(["python", "-m", f"benchmarks.{script.parent.name}.{script.stem}", *words])
