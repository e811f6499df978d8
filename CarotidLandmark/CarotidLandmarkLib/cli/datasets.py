"""The commands of ``carotid-landmark`` for datasets: add scans, check, predict, review, compare annotators."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..detection import DEFAULTS
from ..errors import UserError, lacks_room, sentence
from ..work import Outcome, progress
from . import options
from .common import FAULT, open_model, say, stdout_console
from .many import check_workers, run_tasks

if TYPE_CHECKING:
    from ..dataset import Dataset, KnownCases

DatasetFolder = Annotated[
    Path,
    typer.Argument(metavar="DATASET", help="A dataset: the folder with dataset.json.", callback=options.absolute),
]


def add(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET", help="A dataset; a new or empty folder becomes one.", callback=options.absolute
        ),
    ],
    scans: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN...", help="NRRD, NIfTI or MetaImage files, DICOM folders, zip files; or a folder of such."
        ),
    ],
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="WORD", help="Whose scans these are: kept as a keyed hash. Left out: as DICOM says, or a new one."
        ),
    ] = None,
    series: options.Series = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Leave the files where they are, and keep only size and sha256.")
    ] = False,
    landmark: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="What a new dataset is about; repeatable. Left out: what the shipped model finds."
        ),
    ] = None,
) -> None:
    """Add scans to a dataset, without anything that names the patient; one that is in it already is left out."""
    from ..bundle import default_bundle
    from ..dataset import Dataset, KnownCases, can_become_dataset
    from ..scans import list_scans

    if reference and series is not None:
        raise UserError(
            "A reference is to a whole file, and --series chooses a part of one; leave --reference out, and the series "
            "is copied."
        )
    listing = list_scans(scans, dataset)
    for note in listing.notes:
        say(f"Note: {note}")
    there = dataset.exists()
    new = can_become_dataset(dataset)
    if new:
        opened = Dataset.create(dataset, landmark or [spec.name for spec in default_bundle().metadata.landmarks])
    else:
        opened = Dataset.open(dataset)
        if landmark and set(landmark) != set(opened.landmarks):
            raise UserError(
                f"{dataset.name} is about {', '.join(opened.landmarks)}; leave --landmark out, or name a new folder."
            )
    for name, reason in opened.damaged().items():
        say(f"Note: whether a scan is there already can not be told of cases/{name}: {reason}")
    failed, known = 0, KnownCases(opened)
    try:
        for scan in listing.scans:
            try:
                print(_add(opened, known, scan.path, patient, series, reference), flush=True)
            except (UserError, OSError) as error:
                if lacks_room(error) or not sentence(error):
                    raise
                say(sentence(error))
                failed += 1
        if new and opened.case_ids():
            print(f"{dataset.name} is a new dataset about {', '.join(opened.landmarks)}")
    finally:
        if new and not opened.case_ids():  # nothing has come into it: its landmarks are not settled
            opened.discard()
            if not there:
                dataset.rmdir()
    if failed:
        raise UserError(f"{failed} of {len(listing.scans)} scans could not be added; the lines above say why.")


def _add(
    dataset: Dataset, known: KnownCases, scan: Path, patient: str | None, series: str | None, reference: bool
) -> str:
    """Add one scan, unless it is a known case; what to say of it."""
    from ..dataset import case_of, case_of_file, patient_group
    from ..volume import is_dicom, patient_id, printable, read_volume

    name = printable(scan.name)
    if series is None and scan.is_file() and (same := case_of_file(known, scan)) is not None:
        return f"{same}: {name} was there already"
    volume = read_volume(scan, series)
    for note in volume.notes:
        say(f"Note: {note}")
    same = case_of(known, volume)
    if same is not None:
        return f"{same}: {name} was there already"
    if not patient and is_dicom(scan):
        patient = patient_id(scan, series)
    group = patient_group(patient or "")
    image, case_of_it = scan if reference else volume, partial(case_of, known)
    case_id = dataset.add_case(image, copy=not reference, group=group, case_of=case_of_it)
    count = sum(case.group == group for case in known.cases())
    return f"{case_id}: {name}, {group}" + (f", scan {count} of this patient" if count > 1 else "")


def check(dataset: DatasetFolder) -> None:
    """Name everything in a dataset that does not fit together: lost images, points outside, swapped sides, ..."""
    from ..dataset import Dataset, check_dataset

    opened = Dataset.open(dataset)
    with progress() as step:
        findings = check_dataset(opened, lambda fraction: step("checking", fraction))
    for finding in findings:
        print(finding)
    errors = sum(finding.level == "error" for finding in findings)
    print(f"{len(opened.case_ids())} cases, {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise UserError(f"{dataset.name} has errors; mend them before you train on it.")


def queue(
    dataset: DatasetFolder,
    order: Annotated[Literal["uncertain", "doubtful", "random"], typer.Option(help="What comes first.")] = "uncertain",
    annotator: Annotated[str | None, typer.Option(help="Whose reviews count; left out: anybody's.")] = None,
    asked: Annotated[bool, typer.Option("--asked", help="Only cases about which somebody asks a colleague.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random order.")] = 0,
) -> None:
    """List a dataset's cases in the order in which to review them, the most uncertain first."""
    from rich.table import Table

    from ..dataset import Dataset, order_cases

    opened = Dataset.open(dataset)
    for problem in opened.problems():
        say(f"Left out: {problem}")
    table = Table("case", "verdict", "presence", "longest semi-axis (mm)", "reviewed by")
    for case_id in order_cases(opened, order, seed, annotator):
        case = opened.case(case_id)
        asking = case.asking()
        if asked and not asking:
            continue
        prediction = case.readable_prediction()
        marks = prediction.landmarks if prediction else ()
        table.add_row(
            case_id,
            prediction.quality.verdict if prediction else "not predicted",
            ", ".join(f"{mark.presence:.0%}" for mark in marks),
            ", ".join(f"{mark.confidence.semi_axes_mm[0]:.1f}" if mark.confidence else "–" for mark in marks),
            ", ".join(f"{who} (asks a colleague)" if who in asking else who for who in case.annotators()),
        )
    stdout_console().print(table)


def cohort(
    dataset: DatasetFolder,
    predict: Annotated[
        bool,
        typer.Option(
            "--predict",
            help="Detect in every case without a result of this model and these settings; any other is replaced.",
        ),
    ] = False,
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all results as one table.")] = None,
    model: options.Model = None,
    passes: options.Passes = DEFAULTS.passes,
    level: options.Level = DEFAULTS.level,
    device: options.Device = "auto",
    seed: options.Seed = DEFAULTS.seed,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Count what a dataset holds; --predict and --csv run over it, and go on where they were stopped."""
    from ..dataset import Dataset, cases_to_predict, write_table
    from ..files import check_file

    check_workers(workers, scheduler)
    how = model, passes, level, device, seed, workers, scheduler
    if not predict and how != (None, DEFAULTS.passes, DEFAULTS.level, "auto", DEFAULTS.seed, None, None):
        raise UserError("Model, device, workers and the settings of a detection are for predictions; add --predict.")
    if table is not None and table.exists() and table.suffix.lower() != ".csv":  # a slip would replace the dataset
        raise UserError(f"{table.name} is there already and no table; give a name that ends with .csv.")
    opened = Dataset.open(dataset)
    if table is not None:
        check_file(table)
    failed: list[Outcome] = []
    if predict:
        bundle, settings = open_model(model, passes, level, seed)
        waiting = cases_to_predict(opened, bundle, settings)
        failed = run_tasks(waiting, model, bundle, device, workers, scheduler)
    if table is not None:
        predictions, annotations = write_table(opened, table)
        print(f"{table}: predictions of {predictions} cases, {annotations} annotations")
    cases = list(opened.cases())
    predicted = sum(case.readable_prediction() is not None for case in cases)
    reviewed = sum(bool(case.annotators()) for case in cases)
    asking = sum(bool(case.asking()) for case in cases)
    asked = f", {asking} with a question to a colleague" if asking else ""
    print(f"{len(cases)} cases, {predicted} predicted, {reviewed} reviewed{asked}")
    if any(outcome.fault for outcome in failed):
        raise typer.Exit(FAULT)
    problems = [f"{len(failed)} cases could not be predicted; the lines above say why."] if failed else []
    problems += [f"Left out: {problem}" for problem in opened.problems()]
    if problems:
        raise UserError(" ".join(problems))


def locate(
    dataset: DatasetFolder,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Where to look, with all folders below it.", exists=True, file_okay=False
        ),
    ],
) -> None:
    """Find again the scans that a dataset refers to, by their content, after they were moved or on another machine."""
    from ..dataset import Dataset

    opened = Dataset.open(dataset)
    for case_id in opened.locate_images(folder, say):
        print(f"{case_id}: {opened.case(case_id).image_path}")
    referred = [case for case in opened.cases() if not case.copied]
    lost = [case.id for case in referred if not case.has_image]
    print(f"{len(referred) - len(lost)} of {len(referred)} scans that the dataset refers to are here.")
    if lost:
        raise UserError(f"The images of {', '.join(lost)} are not in {folder}; look elsewhere, or restore them.")


def repair(dataset: DatasetFolder) -> None:
    """Remove what killed programs and older versions have left in a dataset, and bring it to the present version."""
    from ..dataset import Dataset, repair_dataset

    done = repair_dataset(Dataset.open(dataset))
    for line in done:
        print(line)
    if not done:
        print("There is nothing to repair.")


def agreement(
    dataset: DatasetFolder,
    output: options.Output = Path("agreement"),
    annotators: Annotated[
        str | None, typer.Option(metavar="A,B", help="Compare only these, separated by commas; left out: all.")
    ] = None,
    limit_mm: Annotated[
        float | None, typer.Option(metavar="MM", help="Discuss points farther apart; left out: mean + 1.96 sd.")
    ] = None,
) -> None:
    """Compare annotators; write agreement.csv (per case), agreement.json and agreement.html."""
    from ..dataset import Dataset
    from ..report import write_agreement

    who = None if annotators is None else [name.strip() for name in annotators.split(",") if name.strip()]
    if who == []:
        raise UserError("--annotators names nobody; give names separated by commas, or leave it out to compare all.")
    opened = Dataset.open(dataset)
    for problem in opened.problems():
        say(f"Left out: {problem}")
    result = write_agreement(opened, output, who, limit_mm)
    print(f"{result.compared} cases with two or more of {', '.join(result.annotators)}; {result.single} with one")
    if result.limit_mm is None:
        say("Note: too few distances for the usual limit, so only presence is looked at; give one with --limit-mm.")
    for number, case in enumerate(result.discuss, start=1):
        print(f"discuss {number}. {case.case_id}: {'; '.join(case.reasons)}")
    print(output / "agreement.html")
