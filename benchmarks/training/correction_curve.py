"""What a model gains from 10, 20, 40 corrected cases of a style of neck it does poorly on, and loses on the others.

    carotid-train synthesize --cases 120 --seed 7 --length 120 180 --styles STYLE --output style
    carotid-train synthesize --cases 100 --seed 8 --length 120 180 --styles OTHERS --output original
    python -m benchmarks.training.correction_curve style --original original --rehearse OTHERS \\
        --model BUNDLE --output curve

The annotator is simulated: he corrects each case to its known truth. Cases are corrected in the order of the review
queue (most uncertain first) and in random order; after each count the command ``carotid-train finetune`` makes a new
model from the first one, which is measured even where the command would not list it: on cases of the same style that
nobody has corrected, and on cases of the original styles. Fine-tuning rehearses the original styles only. It splits the
corrected cases as for any annotator, so that it learns from a part of them. All runs rehearse the same necks, which are
rendered once and kept in the output. Writes curve.csv, curve.md, curve.svg;
stopped, the same command goes on where it was. Models and places of images stay in the output, not in the user's home.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from carotid_training.cohorts.synthesize import ANNOTATOR as TRUTH
from carotid_training.evaluation.evaluate import Settings, detect_cases
from carotid_training.evaluation.outcomes import Outcome, outcomes_of
from CarotidLandmarkLib.bundle import models_directory, open_bundle
from CarotidLandmarkLib.dataset import AnnotationStatus, Dataset, DatasetError, order_cases
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.memory import keep_freed_memory

from .correction_report import ORDERS, ORIGINAL, STYLE, Mark, Marks, Point, write_curve

ANNOTATOR = "simulated"
COUNTS = (10, 20, 40)
UNSEEN = 40
COMMANDS = Path(sys.executable).parent


def choose_cases(
    style: Dataset, counts: Sequence[int], unseen: int, seed: int
) -> tuple[list[str], dict[str, list[str]]]:
    """The ids of unseen cases, drawn at random, and for each order the others, as many as the largest count.

    The same cases are unseen for every order and count; a longer list begins like a shorter one. Raises DatasetError
    when there are too few cases to choose from, or some without a prediction.
    """
    wanted = unseen + max(counts)
    ids = style.case_ids()
    if len(ids) <= wanted:
        raise DatasetError(
            f"{style.path.name} has {len(ids)} cases and more than {wanted} are needed, or both orders would choose "
            "the same; synthesize more."
        )
    bare = [case_id for case_id in ids if style.case(case_id).prediction() is None]
    if bare:
        raise DatasetError(
            f"{len(bare)} cases of {style.path.name} have no prediction ({bare[0]}); predict them first."
        )
    test_ids = order_cases(style, "random", seed, ANNOTATOR)[:unseen]
    aside = set(test_ids)
    orders = {order: order_cases(style, order, seed + 1, ANNOTATOR) for order in ORDERS}
    return test_ids, {
        order: [case_id for case_id in queue if case_id not in aside][: max(counts)] for order, queue in orders.items()
    }


def correct(style: Dataset, chosen: Sequence[str], folder: Path) -> Dataset:
    """A dataset of the chosen cases with the detector's answer and the truth as its correction; goes on with one begun.

    The images are referred to, not copied. Raises DatasetError, OSError.
    """
    made = Dataset.open(folder) if (folder / "dataset.json").is_file() else Dataset.create(folder, style.landmarks)
    for case_id in chosen:
        case = style.case(case_id)
        if case_id not in made.case_ids():
            made.add_case(case.image_path, case_id, copy=False, group=case.group)
        prediction = case.prediction()
        assert prediction is not None  # `choose_cases` has looked
        truth = case.annotation(TRUTH).points
        if ANNOTATOR not in made.case(case_id).annotators():
            made.save_prediction(case_id, prediction)
            status: dict[str, AnnotationStatus] = {
                name: "missing" if point is None else "corrected" for name, point in truth.items()
            }
            made.save_annotation(case_id, ANNOTATOR, truth, status)
    return made


def finetune(corrected: Dataset, output: Path, options: Sequence[str | Path]) -> tuple[str, bool]:
    """The new bundle's folder, and whether it is listed. The command goes on by itself where it was stopped.

    Raises RuntimeError with what the command said when it fails.
    """
    command = [COMMANDS / "carotid-train", "finetune", corrected.path, "--output", output, *options]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"carotid-train finetune ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return str(output / "bundle"), (models_directory() / output.name).is_dir()


def measure(
    model: str, sets: dict[str, tuple[Dataset, list[str]]], folder: Path, settings: Settings
) -> dict[str, Marks]:
    """The model on the cases of each set; detections are kept in ``folder``."""
    detector = Detector(open_bundle(model), settings.device)
    marks = {}
    for name, (dataset, ids) in sets.items():
        where = folder / name.replace(" ", "-")
        cases = list(map(dataset.case, ids))
        marks[name] = marks_of(detect_cases(detector, cases, where, settings, lambda words, share: None))
    return marks


def predicted(dataset: Dataset, ids: Sequence[str]) -> Marks:
    """What the first model finds in these cases: their predictions, by which the queue is ordered."""
    cases = [(case, case.prediction()) for case in map(dataset.case, ids)]
    return marks_of([row for case, prediction in cases if prediction for row in outcomes_of(case, prediction)])


def cost_of_corrected(style: Dataset, queues: dict[str, list[str]], counts: Sequence[int]) -> str:
    """In words: what the first model costs on the cases that are corrected, in every order."""

    def cost(order: str, cases: int) -> str:
        marks = predicted(style, queues[order][:cases])
        return f"{np.mean([mark.cost_mm for mark in marks.values()]):.1f}"

    words = [f"{' and '.join(cost(order, cases) for order in ORDERS)} mm on {cases} cases" for cases in counts]
    return f"mean cost, most uncertain first and in random order: {', '.join(words)}"


def marks_of(outcomes: Sequence[Outcome]) -> Marks:
    return {
        f"{outcome.case_id}/{outcome.landmark}": Mark(
            outcome.group, outcome.truth_lps is not None, outcome.result.status == "detected", outcome.error_mm
        )
        for outcome in outcomes
    }


def kept_point(file: Path, make: Callable[[], Point]) -> Point:
    """The point in ``file``, or one that ``make`` measures and that is kept there."""
    if not file.is_file():
        point = make()
        plain = {name: {key: vars(mark) for key, mark in marks.items()} for name, marks in point.marks.items()}
        write_text(file, json.dumps(vars(point) | {"marks": plain}, indent=1) + "\n")
    document = json.loads(file.read_text(encoding="utf-8"))
    marks = {name: {key: Mark(**mark) for key, mark in marks.items()} for name, marks in document["marks"].items()}
    return Point(**document | {"marks": marks})


def same_settings(output: Path, settings: dict) -> None:
    """Refuse a folder with a curve of other settings. Raises DatasetError."""
    file = output / "settings.json"
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != json.loads(json.dumps(settings)):
        raise DatasetError(f"{output.name} holds a curve of another model, dataset or settings; choose a new folder.")
    output.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(settings, indent=2) + "\n")


def main(arguments: argparse.Namespace) -> None:
    """The whole curve; each point is written when it is measured."""
    output = arguments.output.resolve()
    bundle = open_bundle(arguments.model)
    os.environ["CAROTID_LANDMARK_HOME"] = str(output / "home")
    style, original = Dataset.open(arguments.style), Dataset.open(arguments.original)
    evaluation = Settings(arguments.device, arguments.passes, arguments.seed)
    same_settings(
        output,
        {"model": bundle.metadata.weights_sha256, "style": style.case_ids(), "original": original.case_ids(),
         "rehearse": arguments.rehearse, "steps": arguments.steps, "passes": arguments.passes, "seed": arguments.seed,
         "counts": arguments.counts, "unseen": arguments.unseen},
    )  # fmt: skip
    where = ["--model", str(bundle.path), "--device", arguments.device, "--passes", str(arguments.passes)]
    where += ["--seed", str(arguments.seed)]
    subprocess.run([COMMANDS / "carotid-landmark", "cohort", style.path, "--predict", *where], check=True)
    unseen, queues = choose_cases(style, arguments.counts, arguments.unseen, arguments.seed)
    # All: one landmark that flips by 25 mm among 72 is 0.35 mm of their mean.
    sets = {STYLE: (style, unseen), ORIGINAL: (original, original.case_ids())}
    (output / "points").mkdir(exist_ok=True)
    options = [*where, "--steps", str(arguments.steps), "--styles", arguments.rehearse]
    options += ["--rendered", str(output / "necks")]
    options += [word for path in arguments.background for word in ("--background", str(path.resolve()))]

    def measured(order: str, cases: int) -> Point:
        name = f"{order}-{cases}"
        if not cases:
            marks = measure(str(bundle.path), {ORIGINAL: sets[ORIGINAL]}, output / "detections" / name, evaluation)
            return Point(order, cases, True, {STYLE: predicted(style, unseen), **marks})
        corrected = correct(style, queues[order][:cases], output / "corrected" / name)
        new, listed = finetune(corrected, output / "models" / name, options)
        return Point(order, cases, listed, measure(new, sets, output / "detections" / name, evaluation))

    def point(order: str, cases: int) -> Point:
        return kept_point(output / "points" / f"{order}-{cases}.json", lambda: measured(order, cases))

    facts = {
        "first model": f"{bundle.metadata.name} {bundle.metadata.version}",
        "first model on what is corrected": cost_of_corrected(style, queues, arguments.counts),
        "corrected style": f"{style.path.resolve().name}, {len(unseen)} unseen cases",
        "original styles": f"{original.path.resolve().name}, {len(original.case_ids())} cases",
        "fine-tuning": f"{arguments.steps} steps each, from the first model; rehearsed: {arguments.rehearse}",
        "noise passes": f"{arguments.passes}, seed {arguments.seed}",
    }
    before = point("before", 0)
    points: list[Point] = []
    for cases in arguments.counts:
        for order in ORDERS:
            print(f"{cases} cases, {order} order", flush=True)
            points.append(point(order, cases))
            write_curve(output, before, points, facts)
    print(output / "curve.md")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("style", type=Path, help="dataset of the style that is corrected, with its truth")
    parser.add_argument("--original", type=Path, required=True, help="dataset of the styles the model knows")
    parser.add_argument("--rehearse", required=True, help="these styles, separated by commas")
    parser.add_argument("--background", type=Path, action="append", default=[], help="CT for styles of real tissue")
    parser.add_argument("--model", required=True, help="the first model: a bundle's folder or name")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="of corrected cases")
    parser.add_argument("--unseen", type=int, default=UNSEEN, help="cases of the style to measure by")
    parser.add_argument("--steps", type=int, default=600, help="of each fine-tuning")
    parser.add_argument("--passes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    keep_freed_memory()  # as the commands do
    try:
        main(parser.parse_args())
    except (ValueError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"correction_curve: {error}")
    except KeyboardInterrupt:
        sys.exit("correction_curve: stopped; the same command goes on from here.")
