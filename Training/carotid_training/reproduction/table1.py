"""carotid-train table1: all methods of Table 1 trained and measured side by side (docs/training/reproduction.md).

Whatever is stopped half-way goes on where it was: a training that is done is not done again, and the test cases are
read once per training, after its checkpoint was chosen on the validation cases. The table is of what is done so far: of
a training its records and answers are all that is needed for it, and they are small enough to carry to another machine.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import matplotlib
import torch
import typer
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.dataset import Dataset, DatasetError, freeze_splits
from CarotidLandmarkLib.detector import choose_device
from CarotidLandmarkLib.documents import parse, write
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import is_empty, write_text
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from CarotidLandmarkLib.uncertainty import calibrate
from CarotidLandmarkLib.work import progress
from rich.console import Console

from ..batches.datamodule import dataset_sha256
from ..cohorts.synthesize import synthesize
from ..evaluation.figures import STYLE, save, volume_against_error
from ..evaluation.outcomes import Outcome
from ..evaluation.summary import Model
from ..necks.styles import Styles
from ..records import read_record, write_record
from ..release.export import LEVELS, scores_of
from ..training.precision import NOTE, is_slow
from .figures import slices, violins
from .predict import NAMES, Scan, Work, predict, read_predictions, shown
from .protocol import METHODS, Protocol, read_protocol
from .report import Row, Training, pairs_csv, pairs_of, row_of, table_csv, table_markdown
from .training import TrainingResult, plan_of, train

# The rows of Figure 3: a heatmap that is regressed, and heatmaps that a centre of mass is taken of.
SHOWN = ("heatmap", "single", "patches", "noise", "ours")
FIGURE_FILE = "figure3.npz"

Say = Callable[[str], None]


def table1(
    cohort: Path,
    output: Path,
    protocol: Protocol,
    name: str = "table1",
    device: str = "auto",
    styles: Styles | None = None,
    only: Sequence[str] = (),
    say: Say = lambda words: None,
) -> list[Row]:
    """Make the cohort, train what is not trained, ask what has not been asked, and write into ``output`` the table of
    all that is done by now.

    ``cohort``: a new folder, one that this began earlier, or any dataset with the three splits, which is then taken
    as it is. ``only``: train and ask these methods alone, for processes side by side. ``say`` is told what happens.
    Raises ValueError with a sentence, KeyboardInterrupt when stopped, OSError.
    """
    if unknown := [key for key in only if key not in protocol.methods]:
        raise UserError(f"The protocol has no method {', '.join(unknown)}; choose of {', '.join(protocol.methods)}.")
    chosen = only or protocol.methods
    if "shipped" in chosen and not (output / "shipped" / "test.csv").exists():  # it is asked after all trainings
        landmarks = open_bundle(protocol.bundle).metadata.landmarks
        if tuple(landmark.name for landmark in landmarks) != NAMES:
            raise UserError(f"Table 1 is about {', '.join(NAMES)}; give a protocol with a bundle that has them so.")
    where = choose_device(device)
    if is_slow(protocol.precision, where):
        say(NOTE)
        protocol = replace(protocol, precision="32-true")
    dataset = _cohort(cohort, protocol, styles or Styles(), say)
    _claim(output, protocol, dataset)
    # All of them before the first training: what else the machine does later takes no steps from any row.
    say("timing the steps of every method")
    plans = {
        key: plan_of(key, protocol, dataset.path, output / key, where) for key in chosen if METHODS[key].trained
    }  # fmt: skip
    for turn in range(len(protocol.seeds)):  # every row once before any row again
        for key in chosen:
            for one in protocol.trainings(key)[turn : turn + 1]:
                folder = _folder(output, key, one, protocol)
                if key in plans:
                    say(f"{METHODS[key].title}: training, seed {one.seed}")
                    with progress() as step:
                        train(key, one, dataset.path, folder, where, plans[key], step)
                calibrated = METHODS[key].passes > 1 and one.seed == protocol.seed
                splits = ("test", "validation") if calibrated else ("test",)
                if any([_ask(key, one, dataset, split, folder, where, say) for split in splits]):
                    _write_tables(name, protocol, dataset, output, where)
    say("tables and figures")
    return _write_tables(name, protocol, dataset, output, where)


def _write_tables(name: str, protocol: Protocol, dataset: Dataset, output: Path, device: torch.device) -> list[Row]:
    """The table and the figures of the trainings that have answered."""
    rows, volumes = [], {}
    for key in protocol.methods:
        trainings = []
        for one in protocol.trainings(key):
            folder = _folder(output, key, one, protocol)
            if (folder / "test.csv").exists():
                result = TrainingResult.read(folder) if METHODS[key].trained else None
                trainings.append(Training(one.seed, read_predictions(folder / "test.csv"), result))
        if trainings:
            rows.append(row_of(key, trainings, protocol.seed))
        if (checks := output / key / "validation.csv").exists():
            model = _calibrated(key, _outcomes(read_predictions(checks)))
            volumes[key] = (_outcomes(trainings[0].scans), model)
    titles = {"figure4_violins": "Errors per method"}
    figures = output / "figures"
    figures.mkdir(exist_ok=True)
    save(violins(rows), figures, "figure4_violins")
    drawn = {key: path for key in SHOWN if (path := output / key / FIGURE_FILE).exists()}
    if drawn:
        case, _, place = shown(dataset.annotated_cases("test"))
        save(slices(case.read_volume(), place, drawn), figures, "figure3_slices")
        titles["figure3_slices"] = "Slices, + annotated, × found, and heatmaps"
    for key, (outcomes, model) in volumes.items():
        with matplotlib.rc_context(STYLE):
            save(volume_against_error(outcomes, model), figures, f"figure5_{key}")
        titles[f"figure5_{key}"] = f"Confidence volume against error, {METHODS[key].title}"
    pairs = pairs_of(rows, protocol.seed)
    counts = {split: len(dataset.annotated_cases(split)) for split in ("train", "validation", "test")}
    write_text(output / "table1.csv", table_csv(rows))
    write_text(output / "pairs.csv", pairs_csv(pairs))
    write_text(output / "table1.md", table_markdown(name, protocol, rows, pairs, counts, machine(device), titles))
    return rows


def _folder(output: Path, key: str, one: Protocol, protocol: Protocol) -> Path:
    """Of one training: METHOD for the protocol's first seed, METHOD-SEED for the others."""
    return output / (key if one.seed == protocol.seed else f"{key}-{one.seed}")


def machine(device: torch.device) -> str:
    """Processor, threads, accelerator and torch, in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    accelerator = f"; {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{processor}, {torch.get_num_threads()} threads{accelerator}; torch {torch.__version__}"


def _cohort(folder: Path, protocol: Protocol, styles: Styles, say: Say) -> Dataset:
    """The dataset of the run. Raises ValueError where a split is empty or its landmarks are others."""
    if not (folder / "dataset.json").exists() or (folder / "cohort.json").exists():
        say(f"{protocol.cases} digital necks in {folder}")
        weights = dict.fromkeys(styles.patient_like, 1.0)
        processes = os.cpu_count() or 1
        synthesize(
            protocol.cases, protocol.cohort_seed, folder, styles, weights, processes, length_mm=protocol.length_mm,
            on_case=lambda done, total: say(f"digital neck {done} of {total}"),
        )  # fmt: skip
    dataset = Dataset.open(folder)
    if set(dataset.landmarks) != set(NAMES):
        raise DatasetError(f"Table 1 is about {', '.join(sorted(NAMES))}; {folder.name} is about other landmarks.")
    freeze_splits(dataset)  # as training does: the run's record is of the dataset after it
    for split in ("train", "validation", "test"):
        dataset.annotated_cases(split)
    return dataset


def _claim(output: Path, protocol: Protocol, dataset: Dataset) -> None:
    """Begin a run in ``output``, or go on with it. Raises ValueError where another one is there; OSError.

    Digital necks are the same by what they are made of: another processor may round a voxel another way.
    """
    record, recipe = output / "run.json", dataset.path / "cohort.json"
    cohort = read_record(recipe) if recipe.exists() else {"dataset_sha256": dataset_sha256(dataset)}
    document = parse(write({"protocol": asdict(protocol), "cohort": cohort}))
    if not record.exists():
        if output.exists() and not is_empty(output):
            raise UserError(f"{output} holds something else; give another --output.")
        output.mkdir(parents=True, exist_ok=True)
        write_record(record, document)
    elif read_record(record) != document:
        raise UserError(f"{output} holds a run of another protocol or cohort; give another --output for a new run.")


def _ask(
    key: str, protocol: Protocol, dataset: Dataset, split: str, folder: Path, device: torch.device, say: Say
) -> bool:
    """A method's answers on a split, asked for once; whether they are new."""
    path = folder / f"{split}.csv"
    if path.exists():
        return False
    say(f"{METHODS[key].title}: {split} cases")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = TrainingResult.checkpoint(folder) if METHODS[key].trained else None
    figure = folder / FIGURE_FILE if split == "test" and key in SHOWN else None
    work = Work(key, protocol, checkpoint, dataset.path, split, str(device), torch.get_num_threads(), figure)
    predict(work, path)
    return True


def _outcomes(scans: Sequence[Scan]) -> list[Outcome]:
    return [outcome for scan in scans for outcome in scan.outcomes]


def _calibrated(key: str, validation: Sequence[Outcome]) -> Model:
    """A method's confidence regions, calibrated by split conformal prediction on the validation cases."""
    scores = scores_of(validation, NAMES)
    return Model(METHODS[key].title, CAROTID_BIFURCATIONS, calibrate(scores, LEVELS))


def main(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="The digital necks: a new folder, or a dataset.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for nets, answers and the table.")],
    protocol: Annotated[
        str, typer.Option(help="table1, table1-medium, table1-small, or a YAML file like those in Training/configs.")
    ] = "table1",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    background: Annotated[
        list[Path] | None,
        typer.Option(metavar="CT", help="Unenhanced CT for the styles made of real tissue; may be repeated."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="These methods alone, separated by commas: for processes side by side.")
    ] = "",
) -> None:
    """Rebuild Table 1 of the paper on digital necks: its six methods and ours, trained and measured side by side."""
    console = Console(stderr=True)
    chosen = tuple(name.strip() for name in only.split(",") if name.strip())

    def say(words: str, style: str | None = None) -> None:
        console.print(words, style=style, markup=False, highlight=False, soft_wrap=True)

    table1(
        cohort, output, read_protocol(protocol), Path(protocol).stem, device, Styles(background or ()), chosen, say
    )  # fmt: skip
    say(f"Wrote {output / 'table1.md'}")
