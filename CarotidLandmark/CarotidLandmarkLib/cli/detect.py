"""The commands of ``carotid-landmark`` for one scan: detect, show, report; and what a model bundle is."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..detection import DEFAULTS, percent
from ..errors import UserError
from ..work import progress
from . import options
from .common import open_model, say, stdout_console
from .many import check_workers, detect_many

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..detection import Detection, DetectionSettings
    from ..landmarks import Point
    from ..volume import Volume

Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="A NRRD, NIfTI or MetaImage file, a DICOM folder or zip file.")
]
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="SCAN", help="NRRD, NIfTI or MetaImage files, DICOM folders, zip files; or a folder of such."
    ),
]
SR_FILE = "landmarks.dcm"
Json = Annotated[bool, typer.Option("--json", help="Print detection.json to stdout, and nothing else there.")]

Sr = Annotated[bool, typer.Option("--sr", help="Of one DICOM scan: also write a DICOM report, landmarks.dcm.")]


def detect(
    scans: Inputs,
    output: options.Output,
    model: options.Model = None,
    passes: options.Passes = DEFAULTS.passes,
    level: options.Level = DEFAULTS.level,
    device: options.Device = "auto",
    seed: options.Seed = DEFAULTS.seed,
    series: options.Series = None,
    json: Json = False,
    sr: Sr = False,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Find the bifurcations in one scan; write landmarks.mrk.json, detection.json and report.html.

    Of many scans, or a folder of scans: a folder of these for each, and summary.csv and summary.html. The same command
    goes on where it was stopped.
    """
    from ..exchange import check_dicom, write_report
    from ..report import results_folder, write_results
    from ..scans import list_scans
    from ..volume import series_headers

    check_workers(workers, scheduler)
    _check_output(output)
    listing = list_scans(scans, output)
    if listing.many or workers is not None or scheduler is not None:
        for option, given in (("--series", series is not None), ("--json", json), ("--sr", sr)):
            if given:
                other = "it out for many" if listing.many else "--workers and --scheduler out"
                more = "; the command export makes reports of their results" if option == "--sr" else ""
                raise UserError(f"{option} is for one scan; leave {other}{more}.")
        detect_many(listing, output, model, *open_model(model, passes, level, seed), device, workers, scheduler)
        return
    (scan,) = listing.scans
    if sr:
        check_dicom(scan.path)
    with results_folder(output) as folder:
        bundle, settings = open_model(model, passes, level, seed)
        volume, detection = _detect(scan.path, series, bundle, settings, device, scan.notes)
        files = write_results(folder, volume, detection)
        if sr:
            write_report(folder / SR_FILE, detection, series_headers(scan.path, series))
            files.append(SR_FILE)
    if not sr and (old := output / SR_FILE).exists():
        old.unlink()
        say(f"Note: {SR_FILE} of an earlier detection was removed; --sr writes that of this one.")
    if json:
        print(detection.to_json(), end="")
    else:
        _show(detection, output, files)


def demo(
    output: options.Output = Path("demo-output"),
    model: options.Model = None,
    device: options.Device = "auto",
    seed: options.Seed = DEFAULTS.seed,
) -> None:
    """Run on the bundled sample scan and compare with its known truth."""
    from ..bundle import resources_directory
    from ..markups import read_markups
    from ..report import results_folder, write_results

    samples = sorted((resources_directory() / "SampleData").glob("*.nrrd"))
    if not samples:
        raise UserError("No sample scan came with this installation; install CarotidLandmark again.")
    _check_output(output)
    with results_folder(output) as folder:
        bundle, settings = open_model(model, DEFAULTS.passes, DEFAULTS.level, seed)
        truth = read_markups(samples[0].with_name(f"{samples[0].stem}.truth.mrk.json"), bundle.metadata.labels)
        volume, detection = _detect(samples[0], None, bundle, settings, device)
        files = write_results(folder, volume, detection, truth)
        if importlib.util.find_spec("slicer") is None:
            say("Note: slicer-core is not installed, so no Slicer scene was written (pip install slicer-core).")
        else:
            from ..scene import save_scene

            files += [path.relative_to(folder).as_posix() for path in save_scene(volume, detection, folder)]
    _show(detection, output, files, truth)


def info(
    bundle: Annotated[str | None, typer.Argument(metavar="BUNDLE", help="As --model; left out: the default.")] = None,
) -> None:
    """List the models that are here, and say what one is for, and how good; its card says more."""
    from rich.table import Table
    from rich.text import Text

    from ..bundle import available_bundles, open_bundle

    opened, console = open_bundle(bundle), stdout_console()
    if bundle is None:
        models = Table("model", "version", "landmarks", "regions", box=None, pad_edge=False)
        for each in available_bundles():
            said = each.metadata
            row = each.path.name, said.version, ", ".join(said.labels.values()), _calibrated(said.calibration)
            models.add_row(*map(Text, row))
        console.print(models)
        console.print()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _described(opened).items():
        table.add_row(key, Text(value))
    console.print(table)


def report(
    scan: Input,
    detection: Annotated[Path, typer.Argument(metavar="DETECTION", help="A detection.json made from this scan.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.", dir_okay=False)
    ] = Path("report.html"),
    series: options.Series = None,
) -> None:
    """Write the report again from a scan and its detection.json."""
    from ..detection import Detection
    from ..report import write_report
    from ..volume import read_volume

    try:
        result = Detection.from_json(detection.read_bytes())
    except UserError as error:
        raise UserError(f"{detection.name} can not be used: {error}") from error
    volume = read_volume(scan, series)
    for note in volume.notes:
        say(f"Note: {note}")
    print(write_report(output, volume, result))


def series(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A DICOM folder, zip file or multi-frame file.")],
) -> None:
    """List the series of a DICOM folder: the number that --series takes, what each is, which one is read and why."""
    from rich.table import Table
    from rich.text import Text

    from ..volume import list_series

    table = Table("number", "description", "type", "slices", "spacing (mm)", "part", "why", show_edge=False)
    for row in list_series(folder):
        table.add_row(*map(Text, row.cells), style="bold" if row.chosen else None)
    stdout_console().print(table)


def _check_output(output: Path) -> None:
    """Raises UserError inside a dataset: what lies in its folders is taken for its own."""
    from ..dataset import is_dataset

    for folder in (output.absolute(), *output.absolute().parents):
        if is_dataset(folder):
            raise UserError(f"{output} lies in the dataset {folder.name}; give a folder outside it for the results.")


def _detect(
    scan: Path,
    series: str | None,
    bundle: Bundle,
    settings: DetectionSettings,
    device: str,
    notes: tuple[str, ...] = (),
) -> tuple[Volume, Detection]:
    """Read and detect under a progress bar on stderr; what was decided for the user is said there too, with ``notes``
    on the choice of the scan."""
    with progress(lines=False) as step:
        from ..volume import read_volume

        started = time.perf_counter()
        volume = read_volume(scan, series, lambda fraction: step("reading", fraction))
        volume = replace(volume, notes=(*volume.notes, *notes))
        load_s = time.perf_counter() - started
        step("starting", 0.0)
        from ..detector import Detector

        detection = Detector(bundle, device).detect(volume, settings, step, load_s)
    for note in detection.notes:
        say(f"Note: {note}")
    return volume, detection


def _show(detection: Detection, output: Path, files: list[str], truth: dict[str, Point | None] | None = None) -> None:
    """The result as a table on stdout, then where the files are."""
    from math import dist

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    reach = f"± at {percent(detection.level)}% (mm)" if detection.level else "± (mm)"
    table = Table("landmark", "status", "LPS (mm)", reach, "region (mm³)", box=SIMPLE_HEAD, pad_edge=False)
    if truth is not None:
        table.add_column("error (mm)")
    for landmark in detection.landmarks:
        position, region = landmark.position_lps_mm, landmark.confidence
        row = [
            landmark.label,
            f"{landmark.status} {landmark.presence:.0%}",
            _numbers(position),
            _numbers(region.reach_mm if region else None),
            f"{region.volume_mm3:.0f}" if region else "–",
        ]
        if truth is not None:
            known = truth.get(landmark.name)
            row.append(f"{dist(position, known):.1f}" if position and known else "–")
        table.add_row(*row)
    console = stdout_console()
    console.print(table)
    colour = {"ok": "green", "review": "yellow", "reject": "red"}[detection.quality.verdict]
    console.print(f"Verdict: [bold {colour}]{detection.quality.verdict}[/]", highlight=False)
    for reason in detection.quality.reasons:
        console.print(f"  - {reason}", highlight=False, markup=False)
    seconds = detection.timing_s["total"]
    console.print(f"Computed on {detection.device} in {seconds:.1f} s.", highlight=False, markup=False)
    for name in files:
        print(output / name)


def _numbers(values: tuple[float, ...] | None) -> str:
    return "–" if values is None else ", ".join(f"{value:.1f}" for value in values)


def _described(bundle: Bundle) -> dict[str, str]:
    from ..bundle import CARD_FILE

    metadata = bundle.metadata
    return {
        "model": f"{metadata.name} {metadata.version}",
        "intended use": metadata.intended_use,
        "landmarks": ", ".join(f"{landmark.label} ({landmark.name})" for landmark in metadata.landmarks),
        "accuracy": _accuracy(metadata.accuracy),
        "regions": _calibrated(metadata.calibration),
        "scales": ", ".join(f"{scale:g}" for scale in metadata.scales_mm) + " mm",
        "patches": f"{', '.join(map(str, metadata.patch_sizes))} voxels along each axis",
        "HU window": f"{metadata.hu_window[0]:g} to {metadata.hu_window[1]:g}",
        "noise": f"± {metadata.noise_mm:g} mm",
        "licence": metadata.licence,
        "made with": f"torch {metadata.torch_version}, CarotidLandmark {metadata.lib_version}",
        "weights sha256": metadata.weights_sha256,
        "more": str(bundle.path / CARD_FILE),
    }


def _calibrated(calibration: Mapping[str, Any]) -> str:
    """What a model's regions are worth."""
    return f"calibrated, up to {percent(max(map(float, calibration)))}%" if calibration else "not calibrated"


def _accuracy(record: Mapping[str, Any]) -> str:
    """Its sentence, or its numbers; what is nested is on the card."""
    plain = {key: value for key, value in record.items() if isinstance(value, (str, int, float))}
    words = plain.get("summary") or ", ".join(f"{key}: {value}" for key, value in plain.items())
    return f"{words or 'not measured'}"
