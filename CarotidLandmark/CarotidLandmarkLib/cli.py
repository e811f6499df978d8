"""The command ``carotid-landmark``. Exit codes: 0 done, 2 bad input or arguments, 3 cancelled, 1 a fault of ours.

Nothing heavy is imported before the arguments are parsed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from . import __version__

if TYPE_CHECKING:
    from .bundle import Bundle
    from .dataset import Dataset
    from .detection import Detection
    from .markups import Point
    from .volume import Volume

DONE, FAULT, BAD_INPUT, CANCELLED = 0, 1, 2, 3

app = typer.Typer(
    name="carotid-landmark",
    help="Find the left and right carotid bifurcation in a CT angiography of the neck. Not for clinical use.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class InputError(ValueError):
    """What was asked for can not be done. The message is one sentence for the user."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(arguments or ["--help"], prog_name="carotid-landmark", standalone_mode=False)
    except Exception as error:  # typer's own errors say what is wrong with the arguments; the commands catch the rest
        if not hasattr(error, "format_message"):
            raise
        _say(f"{error.format_message().rstrip('.')}. See carotid-landmark --help.")
        code = BAD_INPUT
    sys.exit(code or DONE)


def _answers_for_its_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Every way a command can end becomes an exit code and at most one line on stderr."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            _say("Cancelled; nothing is left half-written.")
            raise typer.Exit(CANCELLED) from None
        except typer.Exit:
            raise
        except Exception as error:
            if isinstance(error, InputError) or type(error).__module__.startswith(f"{__package__}."):
                _say(str(error))  # our own error classes speak to the user
            elif isinstance(error, OSError) and error.strerror and error.filename:
                _say(f"{error.filename} can not be used ({error.strerror}); check the path, permissions and disk.")
            else:
                _say(f"A fault of this program, not yours ({type(error).__name__}); the details are in {_log(error)}.")
                raise typer.Exit(FAULT) from None
            raise typer.Exit(BAD_INPUT) from None

    return run


Input = Annotated[Path, typer.Argument(metavar="INPUT", help="A NRRD, NIfTI or MetaImage file, or a DICOM folder.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results; made if needed.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="BUNDLE", help="A model bundle's folder, or the name of a model that `info` lists."),
]
Passes = Annotated[int, typer.Option(min=2, max=10_000, help="Noise passes; more make the uncertainty steadier.")]
Level = Annotated[float, typer.Option(help="Confidence level of the regions, between 0 and 1.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise; the same seed gives the same result.")]
Series = Annotated[str | None, typer.Option(metavar="UID|NUMBER", help="Which series of a DICOM folder.")]
DatasetFolder = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset: the folder with dataset.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print detection.json to stdout, and nothing else there.")]


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


@app.command()
@_answers_for_its_errors
def detect(
    scan: Input,
    output: Output,
    model: Model = None,
    passes: Passes = 50,
    level: Level = 0.9,
    device: Device = "auto",
    seed: Seed = 0,
    series: Series = None,
    json: Json = False,
) -> None:
    """Find the bifurcations in one scan; write landmarks.mrk.json, detection.json and report.html."""
    from .bundle import open_bundle

    with _results_folder(output) as folder:
        bundle = open_bundle(model)
        volume, detection = _detect(scan, series, bundle, passes, level, device, seed)
        from .results import write_results

        files = write_results(folder, volume, detection, bundle.metadata.labels)
    if json:
        print(detection.to_json(), end="")
    else:
        _show(detection, bundle, output, files)


@app.command()
@_answers_for_its_errors
def demo(output: Output = Path("demo-output"), model: Model = None, device: Device = "auto", seed: Seed = 0) -> None:
    """Run on the bundled sample scan and compare with its known truth."""
    from .bundle import open_bundle, resources_directory
    from .markups import read_markups
    from .results import write_results

    samples = sorted((resources_directory() / "SampleData").glob("*.nrrd"))
    if not samples:
        raise InputError("No sample scan came with this installation; install CarotidLandmark again.")
    with _results_folder(output) as folder:
        bundle = open_bundle(model)
        truth = read_markups(samples[0].with_name(f"{samples[0].stem}.truth.mrk.json"), bundle.metadata.labels)
        volume, detection = _detect(samples[0], None, bundle, 50, 0.9, device, seed)
        files = write_results(folder, volume, detection, bundle.metadata.labels, truth)
        if importlib.util.find_spec("slicer") is None:
            _say("Note: slicer-core is not installed, so no Slicer scene was written (pip install slicer-core).")
        else:
            from .scene import save_scene

            files += [path.relative_to(folder).as_posix() for path in save_scene(volume, detection, folder)]
    _show(detection, bundle, output, files, truth)


@app.command()
@_answers_for_its_errors
def info(
    bundle: Annotated[str | None, typer.Argument(metavar="BUNDLE", help="As --model; left out: the default.")] = None,
) -> None:
    """Say what a model bundle is: landmarks, training, accuracy, calibration, intended use, licence."""
    from rich.table import Table

    from .bundle import available_bundles, open_bundle

    opened = open_bundle(bundle)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _described(opened).items():
        table.add_row(key, value)
    if bundle is None:
        table.add_row("models here", ", ".join(each.path.name for each in available_bundles()))
    _console().print(table)


@app.command()
@_answers_for_its_errors
def report(
    scan: Input,
    detection: Annotated[Path, typer.Argument(metavar="DETECTION", help="A detection.json made from this scan.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.")] = Path(
        "report.html"
    ),
    series: Series = None,
) -> None:
    """Write the report again from a scan and its detection.json."""
    from .detection import Detection
    from .report import write_report
    from .volume import read_volume

    if output.is_dir():
        raise InputError(f"{output} is a folder; give the name of a file, for example {output / 'report.html'}.")
    text = detection.read_text(encoding="utf-8", errors="replace")
    try:
        found = Detection.from_json(text)
    except ValueError as error:
        raise InputError(f"{detection.name} can not be used: {error}") from error
    print(write_report(output, read_volume(scan, series), found))


@app.command()
@_answers_for_its_errors
def queue(
    dataset: DatasetFolder,
    order: Annotated[Literal["uncertain", "doubtful", "random"], typer.Option(help="What comes first.")] = "uncertain",
    annotator: Annotated[str | None, typer.Option(help="Whose reviews count; left out: anybody's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random order.")] = 0,
) -> None:
    """List a dataset's cases in the order in which to review them, the most uncertain first."""
    from rich.table import Table

    from .dataset import Dataset

    opened = Dataset.open(dataset)
    table = Table("case", "verdict", "presence", "longest semi-axis (mm)", "reviewed by")
    for case_id in opened.review_queue(order, seed, annotator):
        case = opened.case(case_id)
        prediction = case.prediction()
        marks = prediction.landmarks if prediction else ()
        table.add_row(
            case_id,
            prediction.quality.verdict if prediction else "not predicted",
            ", ".join(f"{mark.presence:.0%}" for mark in marks),
            ", ".join(f"{mark.confidence.semi_axes_mm[0]:.1f}" if mark.confidence else "–" for mark in marks),
            ", ".join(case.annotators()),
        )
    _console().print(table)


@app.command()
@_answers_for_its_errors
def cohort(
    dataset: DatasetFolder,
    predict: Annotated[
        bool, typer.Option("--predict", help="Detect in every case that has no such result yet.")
    ] = False,
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all results as one table.")] = None,
    model: Model = None,
    passes: Passes = 50,
    level: Level = 0.9,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Run over a whole dataset; interrupted, it goes on where it stopped."""
    from .dataset import Dataset

    opened = Dataset.open(dataset)
    failed = _predict(opened, model, passes, level, device, seed) if predict else 0
    if table is not None:
        from .cohort import write_table

        print(f"{table}: {write_table(opened, table)} cases")
    cases = [opened.case(case_id) for case_id in opened.case_ids()]
    predicted = sum((case.folder / "prediction.json").exists() for case in cases)
    reviewed = sum(bool(case.annotators()) for case in cases)
    print(f"{len(cases)} cases, {predicted} predicted, {reviewed} reviewed")
    if failed:
        raise InputError(f"{failed} cases could not be predicted; the lines above say why.")


@app.command()
@_answers_for_its_errors
def agreement(
    dataset: DatasetFolder,
    output: Output = Path("agreement"),
    annotators: Annotated[
        str | None, typer.Option(metavar="A,B", help="Compare only these, separated by commas; left out: all.")
    ] = None,
    limit_mm: Annotated[
        float | None, typer.Option(metavar="MM", help="Discuss points farther apart; left out: mean + 1.96 sd.")
    ] = None,
) -> None:
    """Compare annotators; write agreement.csv (per case), agreement.json and agreement.html."""
    from .agreement_report import write_agreement
    from .dataset import Dataset

    who = None if annotators is None else [name.strip() for name in annotators.split(",") if name.strip()]
    result = write_agreement(Dataset.open(dataset), output, who, limit_mm)
    print(f"{result.compared} cases with two or more of {', '.join(result.annotators)}; {result.single} with one")
    if result.limit_mm is None:
        _say("Note: too few distances for the usual limit, so only presence is looked at; give one with --limit-mm.")
    for number, case in enumerate(result.discuss, start=1):
        print(f"discuss {number}. {case.case_id}: {'; '.join(case.reasons)}")
    print(output / "agreement.html")


def _predict(dataset: Dataset, model: str | None, passes: int, level: float, device: str, seed: int) -> int:
    """Predict what is left to do; returns how many cases could not be, each said on stderr."""
    from .bundle import open_bundle
    from .cohort import cases_to_predict, predict_cases
    from .detector import Detector

    bundle = open_bundle(model)
    _check_level(bundle, level)
    waiting = cases_to_predict(dataset, bundle, passes, level, seed)
    failures = {}
    if waiting:
        detector = Detector(bundle, device)
        with _progress() as step:
            for case_id, problem in predict_cases(dataset, waiting, detector, passes, level, seed, step):
                if problem is not None:
                    failures[case_id] = problem
        for note in detector.notes:
            _say(f"Note: {note}")
    for case_id, problem in failures.items():
        _say(f"{case_id}: {problem}")
    return len(failures)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr, when that is a terminal: yields ``step(words, fraction)``."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda words, fraction: bar.update(task, description=words, completed=fraction)


def _detect(
    scan: Path, series: str | None, bundle: Bundle, passes: int, level: float, device: str, seed: int
) -> tuple[Volume, Detection]:
    """Read and detect under a progress bar on stderr; what the user should know beside the result is said there too."""
    with _progress() as step:
        from .volume import read_volume

        started = time.perf_counter()
        volume = read_volume(scan, series, lambda fraction: step("reading", fraction))
        load = time.perf_counter() - started
        step("starting", 0.0)
        from .detector import Detector

        _check_level(bundle, level)
        detector = Detector(bundle, device)
        detection = detector.detect(volume, passes=passes, level=level, seed=seed, progress=step)
    for note in filter(None, (volume.note, *detector.notes)):
        _say(f"Note: {note}")
    timing = {**detection.timing_s, "load": round(load, 3), "total": round(detection.timing_s["total"] + load, 3)}
    return volume, replace(detection, timing_s=timing)


def _check_level(bundle: Bundle, level: float) -> None:
    from .uncertainty import calibrated_radius

    try:
        for landmark in bundle.metadata.landmarks:
            calibrated_radius(bundle.metadata.calibration, landmark.name, level)
    except ValueError as error:
        raise InputError(str(error)) from error


def _results_folder(output: Path) -> Any:
    from .staging import staged_folder

    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; give the name of a folder for the results.")
    return staged_folder(output)


def _show(
    detection: Detection, bundle: Bundle, output: Path, files: list[str], truth: dict[str, Point | None] | None = None
) -> None:
    """The result as a table on stdout, then where the files are."""
    from math import dist

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    reach = f"± at {detection.level:.0%} (mm)" if detection.level else "± (mm)"
    table = Table("landmark", "status", "LPS (mm)", reach, "region (mm³)", box=SIMPLE_HEAD, pad_edge=False)
    if truth is not None:
        table.add_column("error (mm)")
    for landmark in detection.landmarks:
        position, region = landmark.position_lps_mm, landmark.confidence
        row = [
            bundle.metadata.labels[landmark.name],
            f"{landmark.status} {landmark.presence:.0%}",
            _numbers(position),
            _numbers(region.reach_mm if region else None),
            f"{region.volume_mm3:.0f}" if region else "–",
        ]
        if truth is not None:
            known = truth.get(landmark.name)
            row.append(f"{dist(position, known):.1f}" if position and known else "–")
        table.add_row(*row)
    console = _console()
    console.print(table)
    colour = {"ok": "green", "review": "yellow", "reject": "red"}[detection.quality.verdict]
    console.print(f"Verdict: [bold {colour}]{detection.quality.verdict}[/]", highlight=False)
    for reason in detection.quality.reasons:
        console.print(f"  - {reason}", highlight=False, markup=False)
    seconds = detection.timing_s["total"]
    console.print(f"Computed on {detection.device} in {seconds:.1f} s.", highlight=False, markup=False)
    for name in files:
        print(output / name)


def _console() -> Console:
    """For stdout; into a file or pipe lines are as wide as the tables need."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def _numbers(values: tuple[float, ...] | None) -> str:
    return "–" if values is None else ", ".join(f"{value:.1f}" for value in values)


def _described(bundle: Bundle) -> dict[str, str]:
    metadata = bundle.metadata
    return {
        "model": f"{metadata.name} {metadata.version}",
        "landmarks": ", ".join(f"{landmark.label} ({landmark.name})" for landmark in metadata.landmarks),
        "scales": ", ".join(f"{scale:g}" for scale in metadata.scales_mm) + " mm",
        "patch": f"{metadata.patch_size} voxels along each axis",
        "widths": "; ".join("-".join(map(str, widths)) for widths in metadata.widths),
        "HU window": f"{metadata.hu_window[0]:g} to {metadata.hu_window[1]:g}",
        "noise": f"± {metadata.noise_mm:g} mm",
        "training": _words(metadata.training),
        "accuracy": _words(metadata.accuracy),
        "calibration": _words(metadata.calibration) or "none",
        "intended use": metadata.intended_use,
        "licence": metadata.licence,
        "made with": f"torch {metadata.torch_version}, CarotidLandmark {metadata.lib_version}",
        "weights sha256": metadata.weights_sha256,
        "folder": str(bundle.path),
    }


def _words(value: Any) -> str:
    """Nested metadata in one line."""
    if isinstance(value, dict):
        return ", ".join(
            f"{key}: ({_words(item)})" if isinstance(item, dict) else f"{key}: {_words(item)}"
            for key, item in value.items()
        )
    if isinstance(value, list):
        return " ".join(_words(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say(line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr)


def _log(error: Exception) -> str:
    """Write the traceback to a new file and return its path."""
    handle, path = tempfile.mkstemp(prefix="carotid-landmark-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"CarotidLandmark {__version__}, Python {sys.version}, {sys.platform}\n")
        traceback.print_exception(error, file=stream)
    return path


if __name__ == "__main__":
    main()
