"""What leaves: the results in a dataset or in folders of detections, as a table, as point lists, as DICOM reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from ..dataset import Dataset, write_table
from ..detection import CSV_COLUMNS, Detection
from ..documents import DocumentError, csv_text
from ..errors import UserError
from ..files import check_file, is_empty, staged_folder, write_text
from ..landmarks import label
from ..markups import write_markups
from ..volume import is_dicom, read_volume, series_headers
from .structured_report import write_anonymous_report, write_report

Format = Literal["csv", "mrk.json", "sr"]


def export_dataset(dataset: Dataset, kind: Format, output: Path) -> str:
    """Write a dataset's predictions, and but for reports its annotations; a sentence on what is there now.

    A CSV is one file; else ``output`` is a new folder with ``CASE.mrk.json`` and ``CASE.ANNOTATOR.mrk.json``, or
    ``CASE.dcm``. No patient is in any of them. Raises UserError, DatasetError, OSError.
    """
    _check_new(output, kind)
    if kind == "csv":
        predictions, annotations = write_table(dataset, output)
        return f"{output}: predictions of {predictions} cases, {annotations} annotations"
    predictions = annotations = 0
    with staged_folder(output) as folder:
        for case in dataset.cases():
            prediction = case.readable_prediction()
            if prediction is not None and kind == "sr":
                write_anonymous_report(folder / f"{case.id}.dcm", prediction, case.group)
            elif prediction is not None:
                _write_points(folder / f"{case.id}.mrk.json", prediction)
            predictions += prediction is not None
            for annotator in case.annotators() if kind == "mrk.json" else ():
                points = case.annotation(annotator).points
                write_markups(
                    folder / f"{case.id}.{annotator}.mrk.json", points, {name: label(name) for name in points}
                )
                annotations += 1
        if not predictions and not annotations:
            none = (
                "no case is predicted, and a report is of a prediction"
                if kind == "sr"
                else "no case is predicted, or annotated"
            )
            raise UserError(f"{dataset.path.name} has nothing to export: {none}.")
    more = f", {annotations} annotations" if kind == "mrk.json" else ""
    return f"{output}: predictions of {predictions} cases{more}"


def read_results(folder: Path) -> dict[str, Detection]:
    """The detections in a folder of `detect`, or in the folders in it, by folder. Raises UserError, OSError."""
    single = folder / "detection.json"
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    results = {}
    for file in [single] if single.is_file() else [folder / name / "detection.json" for name in names]:
        try:
            results[file.absolute().parent.name] = Detection.from_json(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except DocumentError as error:
            raise UserError(f"{file.parent.name}/{file.name} can not be used: {error}") from error
    if not results:
        raise UserError(f"{folder.name} is no dataset, and holds no detection.json; give what add or detect has made.")
    return results


def export_results(results: Mapping[str, Detection], kind: Literal["csv", "mrk.json"], output: Path) -> str:
    """Write detections by folder as a table or point lists; a sentence on what is there now. Raises UserError, OSError.

    ``output``: as for `export_dataset`, with folders' names in place of cases'.
    """
    _check_new(output, kind)
    if kind == "csv":
        rows = [{"folder": name} | row for name, each in results.items() for row in each.to_csv_rows()]
        write_text(output, csv_text(("folder", *CSV_COLUMNS), rows))  # scans of many patients may have one name
        return f"{output}: {len(results)} detections"
    with staged_folder(output) as folder:
        for name, detection in results.items():
            _write_points(folder / f"{name}.mrk.json", detection)
    return f"{output}: {len(results)} detections"


def export_reports(
    results: Mapping[str, Detection],
    scan_of: Callable[[str], Path],
    series: str | None,
    output: Path,
    tell: Callable[[str], None],
) -> int:
    """Write FOLDER.dcm, a DICOM report, of each detection into a new folder; how many there are now.

    ``scan_of``: a folder's DICOM scan, which has the patient, the study and the frame, or a UserError. ``tell`` is
    given what reading a scan decided, and of several why one has no report. Raises UserError where none has one,
    OSError.
    """
    _check_new(output, "sr")
    written = 0
    with staged_folder(output) as folder:
        for name, detection in results.items():
            about = f"{name}: " if len(results) > 1 else ""
            try:
                scan = scan_of(name)
                check_dicom(scan)
                volume = read_volume(scan, series)
                for note in volume.notes:
                    tell(f"Note: {about}{note}")
                if difference := detection.volume.difference(volume.info):
                    raise UserError(
                        f"The detection was made on another scan: {scan.name} has {difference}; give that scan, or "
                        "choose its series with --series."
                    )
                write_report(folder / f"{name}.dcm", detection, series_headers(scan, series))
                written += 1
            except UserError as error:
                if not about:
                    raise
                tell(f"{about}{error}")
        if not written:
            raise UserError(f"None of the {len(results)} detections has a report; the lines above say why.")
    return written


def check_dicom(scan: Path) -> None:
    """Raises UserError where a scan has no DICOM headers to make a report from; VolumeError where there is none."""
    if not is_dicom(scan):
        raise UserError(
            f"{scan.name} is not DICOM, and has no patient, study or frame of reference for a DICOM report; "
            "give the DICOM scan."
        )


def _check_new(output: Path, kind: Format) -> None:
    name = output.resolve().name or output  # . and / have none of their own
    if kind == "csv":
        if output.exists():
            raise UserError(f"{name} is there already; give the name of a new file.")
        check_file(output)
    elif output.exists() and (not output.is_dir() or not is_empty(output)):
        raise UserError(f"{name} is there already and not an empty folder; give the name of a new one.")


def _write_points(path: Path, detection: Detection) -> None:
    write_markups(path, {mark.name: mark.position_lps_mm for mark in detection.landmarks}, detection.labels)
