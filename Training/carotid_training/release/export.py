"""carotid-train export: a training run becomes a model bundle with measured accuracy and calibration."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import CarotidLandmarkLib
import numpy as np
import torch
import typer
from CarotidLandmarkLib.bundle import Architecture, Bundle, BundleMetadata, check_place, is_name
from CarotidLandmarkLib.dataset import Case, Dataset
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from CarotidLandmarkLib.uncertainty import Judgement, calibrate, fewest_for
from CarotidLandmarkLib.work import progress
from rich.console import Console
from torch import Tensor

from ..evaluation.evaluate import check_landmarks
from ..evaluation.outcomes import Outcome, run_cases
from ..training.runs import named_bundle, read_run
from .card import model_card
from .judging import Answers, answers_on, check_enough, judgement_of
from .presence import log_odds_of, platt, with_presence

# What detections ask for unless told otherwise: a model that claims less would refuse them.
CLAIMED_LEVEL = 0.9
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


def main(
    run: Annotated[Path, typer.Argument(help="The run directory, one checkpoint of it, or a bundle or its name.")],
    calibrate_on: Annotated[
        Path, typer.Option("--calibrate", help="Dataset whose validation cases calibrate and whose test cases measure.")
    ],
    measure_on: Annotated[
        Path | None, typer.Option("--measure", help="Another dataset whose test cases measure, instead.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new bundle.")] = Path("bundle"),
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model; default: a bundle keeps its own, a run's is called after --output."),
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version of the model; of a run 1.0.0 by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    judge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DATASET",
            help="Other datasets, on whose validation cases the judgement of answers is fitted; repeatable.",
        ),
    ] = None,
) -> None:
    """Write a model bundle: the run's averaged weights, calibrated and measured on cases it was not trained on."""
    console = Console(stderr=True)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    bundle = export(run, calibrate_on, output, name, version, device, judge or (), measure_on, say)
    say(f"Wrote {bundle.path}: {bundle.metadata.accuracy.get('summary', 'not measured')}")


def export(
    run: Path,
    calibrate_on: Path,
    output: Path,
    name: str | None = None,
    version: str | None = None,
    device: str = "auto",
    judge: Sequence[Path] = (),
    measure_on: Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Bundle:
    """`main` for Python callers. Without datasets to ``judge`` on a bundle keeps its judgement, and a run has none:
    presence is then what the heads say, calibrated on the validation cases. ``say`` is told what the calibration is
    worth.

    ``name``, ``version``: a bundle keeps its name and must have another version; a run is called after its ``output``,
    1.0.0. Raises ValueError with a sentence where the run or a dataset can not be used.
    """
    begun = named_bundle(run)
    if begun is not None and version in (None, begun.metadata.version) and name in (None, begun.metadata.name):
        raise UserError(
            f"There is a {begun.metadata.name} {begun.metadata.version} already; give the new model a --version."
        )
    name = name or (output.resolve().name if begun is None else begun.metadata.name)
    version = "1.0.0" if version is None else version
    if not is_name(name):
        words = "letters, digits, '.', '_' and '-' that is a folder's name on Windows, too"
        raise UserError(f"'{name}' can not name a model; give a --name of {words}.")
    if not version[:1].isdigit():  # the newest model is the one with the highest numbers
        raise UserError(f"'{version}' is no version of a model; give a --version such as 1.0.0.")
    check_place(output)  # calibration takes long
    architecture, state, training, judgement = model_of(run)
    dataset, measured = Dataset.open(calibrate_on), Dataset.open(measure_on or calibrate_on)
    judging = [Dataset.open(path) for path in judge]
    for each in (dataset, measured, *judging):
        check_landmarks(architecture.landmarks, each)
    metadata = replace(metadata_of(architecture, name, version, training), judgement=judgement)
    validation, tests = dataset.annotated_cases("validation"), None
    if measure_on or any(case.split == "test" for case in map(measured.case, measured.case_ids())):
        tests = measured.annotated_cases("test")
        check_apart(validation, tests, "calibrate and measure")
    for each in judging:
        judges = each.annotated_cases("validation")
        check_apart(validation, judges, "calibrate and judge")
        check_apart(judges, tests or [], "judge and measure")
    with tempfile.TemporaryDirectory() as folder:

        def detector() -> Detector:
            return Detector(Bundle.save(Path(folder) / name, metadata, state, "Not calibrated yet."), device)

        def outcomes(cases: list, words: str) -> list[Outcome]:
            with progress() as step:
                return run_cases(detector(), cases, lambda case, share: step(f"{words}, {case}", share))

        def answers(datasets: list[Dataset], words: str) -> Answers:
            with progress() as step:
                return answers_on(detector(), datasets, lambda case, share: step(f"{words}, {case}", share))

        # In half precision: answers move by less than 0.05 mm, and a repository keeps every model for ever.
        state = {name: values.half() for name, values in state.items()}
        if judging:
            check_enough(architecture.landmarks, judging)
            of_each = answers(judging, "judging"), answers([dataset], "how often answers are right")
            judgement, words = judgement_of(*of_each, [each.path.resolve().name for each in judging])
            training = {**training, "judgement": words}
            metadata = replace(metadata, judgement=judgement, training=training)
        calibrating = outcomes(validation, "calibrating")
        if judgement is None:
            log_odds, present = log_odds_of(calibrating)
            try:
                state = with_presence(state, *platt(log_odds, present))
            except ValueError as error:
                words = f"not calibrated: {error}"
            else:
                words = f"calibrated on {len(present)} landmarks, {present.count(False)} of them absent"
                calibrating = outcomes(validation, "calibrating regions")  # what is found is another choice now
            metadata = replace(metadata, training={**training, "presence": words})
        calibration, words = calibration_of(calibrating, architecture)
        metadata = replace(metadata, calibration=calibration)
        say(words)
        accuracy = accuracy_of(outcomes(tests, "measuring"), measured.path.name) if tests else {}
        metadata = replace(metadata, accuracy=accuracy)
    return Bundle.save(output, metadata, state, model_card(metadata, date.today()))


def check_apart(some: Sequence[Case], others: Sequence[Case], both: str) -> None:
    """Raises UserError where one patient is in both: the model would be measured, or trusted, as too good.

    A scan is the same by its file or by its voxels: a copy has another file than the scan that is referred to. A group
    that is a case's own name says nothing beyond its dataset.
    """
    for what, field in (("scan", "image_sha256"), ("scan", "voxels_sha256"), ("patient", "group")):
        known = {value: case.id for case in some if (value := getattr(case, field)) not in ("", case.id)}
        for case in others:
            if (same := known.get(getattr(case, field))) is not None:
                raise UserError(f"Cases {same} and {case.id} are one {what}, which can not {both}; remove one.")


def model_of(reference: Path) -> tuple[Architecture, dict[str, Tensor], dict[str, Any], Judgement | None]:
    """Architecture, weights, record and judgement of a run or bundle. Raises UserError."""
    if bundle := named_bundle(reference):
        metadata, state = bundle.metadata, {name: values.float() for name, values in bundle.state.items()}
        return metadata.nets(), state, metadata.training, metadata.judgement
    return *read_run(reference), None


def calibration_of(outcomes: Sequence[Outcome], architecture: Architecture) -> tuple[dict[str, Any], str]:
    """Split-conformal factors, or none where the patients do not suffice for `CLAIMED_LEVEL`; and a sentence.

    A patient counts once, whatever there is of scans and sides: they are no more alike to the next patient for it.
    """
    scores = scores_of(outcomes, [landmark.name for landmark in architecture.landmarks])
    fewest = min(len({patient for patient, _score in mine}) for mine in scores.values())
    if fewest < (needed := fewest_for(CLAIMED_LEVEL)):
        return {}, (
            f"Not calibrated: {fewest} patients are too few for a {CLAIMED_LEVEL:.0%} region; {needed} are needed for "
            "each landmark. Its regions are a Gaussian's and may be too small."
        )
    words = f"Calibrated on {fewest} or more validation patients of each landmark."
    return calibrate(pooled(scores, architecture), [level for level in LEVELS if fewest >= fewest_for(level)]), words


def scores_of(outcomes: Sequence[Outcome], landmarks: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
    """Patients and conformal scores of each landmark, over the cases in which it is and was found."""
    scores: dict[str, list[tuple[str, float]]] = {name: [] for name in landmarks}
    for outcome in outcomes:
        if outcome.score is not None:
            scores[outcome.landmark].append((outcome.group, outcome.score))
    return scores


Scores = Mapping[str, Sequence[tuple[str, float]]]


def pooled(scores: Scores, architecture: Architecture) -> dict[str, list[tuple[str, float]]]:
    """The scores of each landmark and, where one net finds both, of its mirror image: their errors are alike.

    Apart, 55 cases gave carotid-small 0.5.1 radii of 1.15 on the left and 1.56 on the right for the same 90 %.
    """
    if not architecture.mirrored:
        return {name: list(own) for name, own in scores.items()}
    both = {landmark.name: sorted({landmark.name, landmark.mirror}) for landmark in architecture.landmarks}
    return {name: [score for one in both[name] for score in scores[one]] for name in scores}


def intended_use(architecture: Architecture) -> str:
    """What a model of these landmarks is for."""
    what = "the left and right carotid bifurcations in contrast-enhanced CT of the neck"
    if architecture.landmarks != CAROTID_BIFURCATIONS:
        what = f"landmarks ({', '.join(landmark.label for landmark in architecture.landmarks)}) in CT"
    return f"Research: finding {what}, for review by a reader. Not for clinical use."


def metadata_of(architecture: Architecture, name: str, version: str, training: dict[str, Any]) -> BundleMetadata:
    """Metadata of a bundle, not calibrated or measured yet."""
    plain = asdict(architecture)
    known = {key: plain.pop(key) for key in ("scales_mm", "widths", "patch_sizes", "hu_window", "noise_mm")}
    plain.pop("landmarks")
    return BundleMetadata(
        name=name,
        version=version,
        landmarks=architecture.landmarks,
        **known,
        architecture=plain,
        torch_version=torch.__version__,
        lib_version=CarotidLandmarkLib.__version__,
        training=training,
        accuracy={},
        calibration={},
        intended_use=intended_use(architecture),
        licence="Apache-2.0",
    )


def accuracy_of(outcomes: list[Outcome], dataset: str) -> dict[str, Any]:
    """The numbers that a bundle carries about itself."""
    errors = np.array([outcome.error_mm for outcome in outcomes if outcome.error_mm is not None])
    present = [outcome for outcome in outcomes if outcome.truth_lps is not None]
    absent = [outcome for outcome in outcomes if outcome.truth_lps is None]
    common = {
        "dataset": dataset,
        "landmarks": len(present),
        "found": len(errors),
        "absent": len(absent),
        "absent_called_missing": sum(outcome.result.status == "missing" for outcome in absent),
    }
    if not len(errors):
        return {**common, "summary": "no landmark was found" if present else "no scan holds a landmark"}
    mean, median, high = float(errors.mean()), float(np.median(errors)), float(np.percentile(errors, 95))
    return {
        **common,
        "mean_mm": round(mean, 3),
        "sd_mm": round(float(errors.std(ddof=1)), 3) if len(errors) > 1 else None,
        "median_mm": round(median, 3),
        "p95_mm": round(high, 3),
        "over_10mm": round(float((errors > 10).mean()), 4),
        "summary": f"{mean:.2f} mm mean, {median:.2f} median, {high:.2f} 95th percentile over {len(errors)} landmarks",
    }
