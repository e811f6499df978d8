"""The commands of ``carotid-landmark`` for what comes from elsewhere and goes there: import and export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import UserError, lacks_room, sentence
from ..work import progress
from . import options
from .common import say
from .datasets import DatasetFolder


def import_(
    dataset: DatasetFolder,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="POINTS...",
            help="Slicer .mrk.json or .fcsv, CSV or JSON; with --segmentation label maps or DICOM SEG.",
        ),
    ],
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose points these are; with --segmentation it may be left out.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=LANDMARK",
            help="What a label means; LABEL= leaves it out. With --segmentation LABEL=VESSEL: common, internal, "
            "external or lumen, left_internal and so on. Repeatable.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="x=A,y=B,...",
            help="Columns of a table: x, y, z, label, case, status; case= where none names the case.",
        ),
    ] = None,
    frame: Annotated[
        Literal["LPS", "RAS", "voxel"] | None,
        typer.Option(help="What coordinates are in, where a file does not say it.", case_sensitive=False),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="A landmark without a point is not in the scan; else it is not known.")
    ] = False,
    segmentation: Annotated[
        bool, typer.Option("--segmentation", help="The files are segmented vessels: find the forks, as drafts.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what this annotator has said before.")] = False,
) -> None:
    """Take over points, or the forks of segmented vessels, as somebody's annotations of the cases they belong to."""
    from .. import exchange
    from ..dataset import Dataset, check_annotator
    from ..vessels import ROLES

    opened = Dataset.open(dataset)
    if segmentation and (columns or frame or missing):
        raise UserError("--columns, --frame and --missing are for files of points; leave them out with --segmentation.")
    if annotator is None and not segmentation:
        raise UserError("Say whose points these are with --annotator NAME.")
    annotator = exchange.ANNOTATOR if annotator is None else annotator
    check_annotator(annotator)
    if segmentation:
        steps = exchange.plan_segmentations(opened, files, _meanings(label, "VESSEL", ROLES))
    else:
        roles = exchange.parse_columns(columns) if columns else {}
        how = exchange.PointsOptions(roles, frame, _meanings(label, "LANDMARK", opened.landmarks), missing)
        steps = exchange.plan_points(opened, files, how)
    plan = []
    with progress() as step:
        for item in steps:
            plan.append(item)
            step("reading", min(1.0, len(plan) / len(files)))
    failed = 0
    for item in exchange.without_conflicts(plan):
        try:
            if isinstance(item, UserError):
                raise item
            print(exchange.save_import(opened, item, annotator, segmentation, replace), flush=True)
            place = ["matched by its place alone: look whether it is this scan"] if item.by_place else []
            for note in (*place, *item.notes):
                say(f"Note: {item.case.id}: {note}.")
        except (UserError, OSError) as error:
            if lacks_room(error) or not sentence(error):
                raise
            say(sentence(error))
            failed += 1
    if failed:
        raise UserError(f"{failed} of {len(plan)} could not be imported; the lines above say why.")


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET|DIR",
            help="A dataset, or what detect has written: a folder, or a folder of them.",
            callback=options.absolute,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="A new file for csv, a new folder for the others.")
    ],
    format: Annotated[
        Literal["csv", "mrk.json", "sr"],
        typer.Option(
            help="A table, point lists for Slicer, or DICOM structured reports of what was detected.",
            case_sensitive=False,
        ),
    ] = "csv",
    scan: Annotated[
        Path | None,
        typer.Option(
            metavar="SCAN",
            help="For sr of one folder of detect: the DICOM scan it was made on. Many folders know theirs.",
        ),
    ] = None,
    series: options.Series = None,
) -> None:
    """Write results for other programs: a table, point lists, DICOM reports. Nothing of a dataset names a patient."""
    from ..dataset import Dataset, is_dataset
    from ..exchange import export_dataset, export_reports, export_results, read_results
    from ..report import DETECTION_FILE, ReportError, check_replaceable
    from ..scans import tasks_of

    if not source.is_dir():
        raise UserError(f"{source} is not a folder; give a dataset, or what detect has written.")
    if is_dataset(source):
        if scan is not None or series is not None:
            raise UserError("--scan and --series are for a folder of detect; a dataset exports no patient.")
        opened = Dataset.open(source)
        print(export_dataset(opened, format, output))
        if problems := opened.problems():
            raise UserError(" ".join(f"Left out: {problem}" for problem in problems))
        return
    if scan is not None and format != "sr":
        raise UserError("--scan is for --format sr; leave it out.")
    if series is not None and scan is None:
        raise UserError("--series chooses a series of --scan; give that too.")
    results = read_results(source)
    for folder in [source] if (source / DETECTION_FILE).is_file() else [source / name for name in results]:
        try:
            check_replaceable(folder)
        except ReportError:
            say(f"Note: {folder.name}: its points were changed since; what was detected is exported.")
    if format != "sr":
        print(export_results(results, format, output))
        return
    if scan is not None and len(results) > 1:
        raise UserError(f"--scan is one scan, and here are {len(results)} detections; give the folder of one.")
    tasks = {task.name: task for task in tasks_of(source)}

    def scan_of(name: str) -> Path:
        if scan is not None:
            return scan
        if name not in tasks:
            raise UserError(
                "A detection.json has no patient and no study; give its DICOM scan with --scan, or run detect --sr."
            )
        if tasks[name].has_changed():
            raise UserError("The scan has changed since it was done; detect in it again.")
        return Path(tasks[name].scan)

    written = export_reports(results, scan_of, series, output, say)
    print(f"{output}: reports of {written} of {len(results)} detections")
    if written < len(results):
        raise UserError(f"{len(results) - written} of {len(results)} have no report; the lines above say why.")


def _meanings(texts: list[str] | None, kind: str, known: Sequence[str]) -> dict[str, str]:
    """``LABEL=MEANING`` of ``known`` ones as a mapping; ``LABEL=`` leaves the label out. Raises UserError."""
    given = {}
    for text in texts or []:
        label, equals, meaning = (part.strip() for part in text.rpartition("="))
        if not equals or not label or (meaning and meaning not in known):
            raise UserError(
                f"--label takes LABEL={kind}, or LABEL= to leave it out, where {kind} is one of {', '.join(known)}; "
                f"not '{text}'."
            )
        given[label] = meaning
    return given
