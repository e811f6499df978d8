"""carotid-train finetune: a model learns from annotated cases, and is compared with the model that it was.

Each part goes on where it was stopped: the model that training starts from is measured on the test cases; training runs
with configs/finetune.yaml; the new model is calibrated on the validation cases and measured on the same test cases. It
joins the models of the module and the command line if it is not worse there.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated

import torch
import typer
from CarotidLandmarkLib.bundle import Bundle, is_name, models_directory, open_bundle, resources_directory
from CarotidLandmarkLib.dataset import Dataset, DatasetError, check_patients, freeze_splits
from CarotidLandmarkLib.detection import DEFAULTS
from CarotidLandmarkLib.detector import Detector, bfloat16_is_fast, choose_device
from CarotidLandmarkLib.documents import parse, write
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import is_empty, write_text
from CarotidLandmarkLib.work import Step, part, progress
from rich.console import Console
from torch import Tensor

from ..batches.cases import CaseBatches
from ..batches.datamodule import dataset_sha256, in_digital_necks
from ..evaluation.comparison import Comparison, compare
from ..evaluation.evaluate import Settings, check_landmarks, detect_cases
from ..necks.styles import Styles
from ..records import read_record, write_record
from ..training.fit import ProgressCallback, quiet, train
from ..training.reading import configuration
from ..training.runs import last_checkpoint, read_run
from .card import model_card
from .export import accuracy_of, calibration_of, metadata_of

# The new weights are half-way from the first ones to those at the end of training (Wortsman et al., CVPR 2022,
# arXiv 2109.01903). One comparison, 2 passes: after 10 corrected necks of a child's size the end of training had a mean
# of 2.5 mm on 40 others and had lost 0.6 mm on 23 adults' necks; half-way 2.5 and 0.2, but 20 of 73 landmarks missed,
# not 5.
LEARNT_SHARE = 0.5


@dataclass(frozen=True)
class Recipe:
    """What a run is made of; another recipe is another run.

    ``styles``: of the digital necks that it rehearses, none where they lack its landmarks; ``backgrounds``: sha256 of
    each; ``passes``: of the detections that calibrate the new model.
    """

    start_sha256: str
    dataset_sha256: str
    steps: int
    seed: int
    styles: tuple[str, ...]
    backgrounds: tuple[str, ...]
    passes: int


@dataclass(frozen=True)
class FinetuneResult:
    """The new model, the comparison with its start, what is to be said of its calibration, and whether it is listed."""

    bundle: Bundle
    comparison: Comparison
    calibration: str
    listed: bool


def finetune(
    folder: Path,
    start: Bundle,
    output: Path,
    steps: int = 600,
    settings: Settings | None = None,
    styles: Styles | None = None,
    names: tuple[str, ...] = (),
    rendered: Path | None = None,
    force: bool = False,
    bar: Callable[[], AbstractContextManager[Step]] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> FinetuneResult:
    """Fine-tune ``start`` on the dataset in ``folder``; ``output``, the run's folder, gives the new model its name.

    ``names``: the styles of digital necks to rehearse (none: all of ``styles``); ``rendered``: a folder that keeps them
    for other runs. ``force`` lists a worse model, too. ``say`` is told when another device takes over.
    Raises ValueError with a sentence where something can not be used, KeyboardInterrupt when stopped (also in
    training), OSError.
    """
    settings, styles, bar = settings or Settings(), styles or Styles(), bar or _silent
    dataset = Dataset.open(folder)
    check_landmarks(start.metadata.landmarks, dataset)
    rehearses = in_digital_necks(start.metadata.landmarks)
    if not rehearses and (names or styles.asked_for or rendered):
        raise UserError(
            f"Digital necks know the two carotid bifurcations alone, left first, so {start.metadata.name} rehearses "
            "none; leave out --styles, --background and --rendered."
        )
    styles.check(names)
    _claim_name(output)
    for place in (output, rendered):
        if place is not None:
            _check_folder(place)
    if output.exists() and not (output / "finetune.json").exists() and not is_empty(output):
        raise UserError(f"{output} holds something else; give another --output.")
    detector = Detector(start, settings.device)
    if rehearses:
        styles.open()
    _split(dataset, [landmark.name for landmark in start.metadata.landmarks])  # for good: after what may be refused
    recipe = Recipe(
        start.metadata.weights_sha256, dataset_sha256(dataset), steps, settings.seed,
        names or tuple(styles.available if rehearses else ()), tuple(styles.fingerprint() if rehearses else ()),
        settings.passes,
    )  # fmt: skip
    cases = dataset.annotated_cases()  # one truth for both models, whatever is annotated while this one learns
    tests, validation = ([case for case in cases if case.split == split] for split in ("test", "validation"))
    _claim_folder(output, recipe)
    with bar() as step:
        before = detect_cases(detector, tests, output / "detections" / "before", settings, part(step, "first model, "))
    for note in detector.notes:
        say(note)
    with bar() as step:
        _train(start, dataset, output, recipe, styles, rendered, detector.device, step)
    architecture, state, training = read_run(output)
    state = between(start.state, state, LEARNT_SHARE)
    training = {**training, "learnt_share": LEARNT_SHARE}
    metadata = metadata_of(architecture, output.name, start.metadata.version, training)
    metadata = replace(metadata, judgement=start.metadata.judgement)
    with tempfile.TemporaryDirectory() as temporary:
        detector = Detector(Bundle.save(Path(temporary) / output.name, metadata, state, ""), settings.device)
        detections = output / "detections"
        with bar() as step:
            calibrating = detect_cases(
                detector, validation, detections / "validation", settings, part(step, "calibrating, ")
            )
        with bar() as step:  # one for each part: the time left is that of the part
            after = detect_cases(detector, tests, detections / "after", settings, part(step, "new model, "))
    mirrors = {landmark.name: landmark.mirror for landmark in architecture.landmarks}
    comparison = compare(before, after, mirrors, settings.seed)
    calibration, words = calibration_of(calibrating, architecture)
    metadata = replace(metadata, calibration=calibration, accuracy=accuracy_of(after, dataset.path.resolve().name))
    card = model_card(metadata, date.today())
    bundle = Bundle.save(output / "bundle", metadata, state, card)
    titles = start.metadata.name, metadata.name
    write_text(output / "comparison.md", comparison.markdown(*titles))
    write_text(output / "comparison.csv", comparison.csv())
    listed = force or not comparison.worse or (models_directory() / output.name).exists()  # by an earlier --force
    if listed:
        models_directory().mkdir(parents=True, exist_ok=True)
        Bundle.save(models_directory() / output.name, metadata, state, card)
    return FinetuneResult(bundle, comparison, words, listed)


def between(first: Mapping[str, Tensor], last: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights a ``share`` of the way from the first to the last, which have the same names and shapes."""
    return {name: torch.lerp(first[name].float(), values.float(), share) for name, values in last.items()}


def _split(dataset: Dataset, landmarks: Sequence[str]) -> None:
    """Freeze the splits. ``landmarks``: the model's. Raises ValueError where an image is not here, patients are too
    few, a scan is two patients', a split is empty, or no training case has a point."""
    cases = dataset.annotated_cases()
    check_patients(dataset, len({case.group for case in cases}))
    for case in cases:
        _ = case.image_path  # one that is missing is named now, not after the training
    counts = freeze_splits(dataset)
    for split in ("train", "test"):
        if not counts[split]:
            raise DatasetError(
                f"{dataset.path.name} has no annotated case in the split '{split}'; annotate one, or add cases "
                "without a split."
            )
    CaseBatches(dataset, "train", 1, landmarks, {})  # what training would refuse, before anything is measured


def _claim_name(output: Path) -> None:
    """Raises ValueError where the run's folder names a model that is not this run's."""
    name = output.name
    if not is_name(name):
        words = "letters, digits, '.', '_' and '-' that is a folder's name on Windows, too"
        raise UserError(f"'{name}' can not name a model; give an --output of {words}.")
    listed, own = models_directory() / name, output / "bundle"
    same = own.is_dir() and listed.is_dir() and _weights(own) == _weights(listed)
    if (resources_directory() / "Models" / name).exists() or (listed.exists() and not same):
        raise UserError(f"There is a model {name} already; give another --output: its name is the new model's.")


def _weights(bundle: Path) -> str:
    return Bundle.load(bundle).metadata.weights_sha256


def _check_folder(folder: Path) -> None:
    """Raises OSError where it is none, or could not be made: the first that is there of it and those above is a file,
    or may not be written to."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        code = errno.EACCES if there.is_dir() else errno.ENOTDIR
        raise OSError(code, os.strerror(code), str(folder))


def _claim_folder(output: Path, recipe: Recipe) -> None:
    """Begin a run in ``output``, or go on with it. Raises ValueError where it was begun otherwise; OSError."""
    record, document = output / "finetune.json", parse(write(asdict(recipe)))
    if not record.exists():
        output.mkdir(parents=True, exist_ok=True)
        write_record(record, document)
        return
    begun = {"passes": recipe.passes, **read_record(record)}  # earlier records do not say
    differing = [key.replace("_sha256", "") for key in document if begun.get(key) != document[key]]
    if differing:
        raise UserError(
            f"The run in {output} was begun with other {', '.join(differing)}; give another --output for a new run."
        )


def _train(
    start: Bundle,
    dataset: Dataset,
    output: Path,
    recipe: Recipe,
    styles: Styles,
    rendered: Path | None,
    device: str,
    step: Step,
) -> None:
    """Train with configs/finetune.yaml, from the last checkpoint if there is one. Raises KeyboardInterrupt."""
    checkpoint = last_checkpoint(output)
    if checkpoint is not None and read_run(output)[2]["steps"] >= recipe.steps:
        return
    where = choose_device(device)
    options: dict[str, object] = {
        "seed_everything": recipe.seed,
        "model.seed": recipe.seed,
        "model.start_from": str(start.path.resolve()),
        "data.seed": recipe.seed,
        "data.dataset": str(dataset.path.resolve()),
        "data.necks_per_step": 1 if recipe.styles else 0,
        "data.styles": dict.fromkeys(recipe.styles, 1.0) or None,
        "data.backgrounds": [str(path.resolve()) for path in styles.paths] if recipe.styles else [],
        "trainer.default_root_dir": str(output),
        "trainer.max_steps": recipe.steps,
        "trainer.accelerator": "gpu" if where.type == "cuda" else where.type,
        "trainer.devices": [where.index or 0] if where.type == "cuda" else 1,
        "trainer.precision": "bf16-mixed" if bfloat16_is_fast(where) else "32-true",
    }
    if rendered is not None:
        options["data.rendered"] = str(rendered.resolve())
    with quiet():
        train(configuration("finetune"), options, [ProgressCallback(step)], checkpoint)


@contextmanager
def _silent() -> Iterator[Step]:
    yield lambda words, share: None


def main(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The folder with dataset.json.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE", help="Where to start: a bundle's folder, or a model's name; default: the shipped model."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; its name is the new model's. Default: runs/MODEL-DATASET."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 600,
    passes: Annotated[int, typer.Option(min=2, help="Noise passes of each detection that measures.")] = DEFAULTS.passes,
    seed: Annotated[int, typer.Option(min=0, max=255, help="Of training, noise and bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    styles: Annotated[
        str,
        typer.Option(help="Digital necks to rehearse, separated by commas; default: sculpted, with --background all."),
    ] = "",
    background: Annotated[
        list[Path] | None,
        typer.Option(metavar="CT", help="Unenhanced CT for the styles made of real tissue; may be repeated."),
    ] = None,
    rendered: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep rendered necks here for other runs: 1.1 GB for 600 steps.")
    ] = None,
    force: Annotated[bool, typer.Option(help="List the new model even if it is worse.")] = False,
) -> None:
    """Teach a model with annotated cases, compare it with what it was, and list it if it is not worse."""
    console = Console(stderr=True)

    def say(sentence: str, style: str | None = None) -> None:
        console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)

    start = open_bundle(model)
    folder = output or Path("runs") / f"{start.metadata.name}-{dataset.resolve().name}"
    names = tuple(name.strip() for name in styles.split(",") if name.strip())
    result = finetune(
        dataset, start, folder, steps, Settings(device, passes, seed), Styles(background or ()), names, rendered,
        force, progress, say,
    )  # fmt: skip
    new, comparison = result.bundle.metadata.name, result.comparison
    Console().print(comparison.table(start.metadata.name, new))
    say(comparison.words)
    say(result.calibration)
    if not result.listed:
        say(f"Not listed: {new} is worse than {start.metadata.name}. It is kept in {result.bundle.path}; "
            "the same command with --force lists it.", "yellow")  # fmt: skip
    else:
        though = ", although it is worse: --force" if comparison.worse else ""
        say(f"Listed{though}: {new} is now among the models of the module, and of carotid-landmark --model {new}.")
