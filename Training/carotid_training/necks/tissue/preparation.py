"""A folder of unenhanced CTs, analysed once: a prepared background (.npz) for each that can be used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.volume import VolumeError, read_volume
from rich.console import Console

from ...processes import pool
from .background import Background
from .backgrounds import PREPARED, repeated_name, scan_name, scan_sha256, scans


def prepare_folder(
    folder: Path, output: Path, processes: int = 1, on_scan: Callable[[str, str], None] = lambda name, refusal: None
) -> tuple[int, int]:
    """Write ``output``/NAME.npz for every CT of a folder (files, or DICOM series in folders), but those that are there;
    one that was prepared of another scan of that name is prepared anew.

    ``on_scan`` is told of each scan its name and why it was refused, or "". Returns how many are prepared and how many
    were refused. Raises ValueError where the folder holds no CT or two of one name, OSError.
    """
    if not folder.is_dir():
        raise UserError(f"{folder.name} is no folder; give one that holds unenhanced CTs.")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    todo = [path for path in scans(folder) if path.suffix.lower() != PREPARED] + inside
    if not todo:
        raise UserError(f"{folder.name} holds no CT; give a folder with one file or DICOM series per patient.")
    if twice := repeated_name(todo):
        raise UserError(f"{folder.name} holds two scans named {twice}; rename one of them.")
    output.mkdir(parents=True, exist_ok=True)
    refused = 0
    with pool(processes, 1) as workers:
        for path, refusal in zip(todo, workers.map(partial(_prepare, output), todo), strict=True):
            refused += bool(refusal)
            on_scan(scan_name(path), refusal)
    return len(todo) - refused, refused


def _prepare(output: Path, path: Path) -> str:
    """Why a CT was refused; "" where it is prepared."""
    target = output / f"{scan_name(path)}{PREPARED}"
    try:
        known = Background.check(target) if target.exists() else None
    except VolumeError as error:  # another file of that name, or one of an earlier version
        return f"{str(error).removesuffix('.')} when the file is removed."
    try:
        source = scan_sha256(path)
        if known not in ("", source):
            Background.prepare(read_volume(path)).save(target, source)
    except VolumeError as error:
        return str(error)
    return ""


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of unenhanced neck CTs: files, or DICOM series in folders.")],
    output: Annotated[Path, typer.Option(help="Folder of the prepared backgrounds: new, or one to go on with.")],
    processes: Annotated[int, typer.Option(min=1, help="CTs analysed at the same time.")] = 1,
) -> None:
    """Prepare CTs as backgrounds for `data.backgrounds` and --background."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def say(name: str, refusal: str) -> None:
        console.print(f"{name}: {refusal or 'prepared'}", style="yellow" if refusal else "")

    prepared, refused = prepare_folder(folder, output, processes, say)
    console.print(f"{prepared} of {prepared + refused} scans are prepared in {output.name}, {refused} refused.")
    if not prepared:
        raise typer.Exit(2)
