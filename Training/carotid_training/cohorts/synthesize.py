"""A cohort of digital necks on disk: whole scans in the annotated-cases layout, with the truth as an annotation.

Whatever is killed half-way goes on where it stopped: a case appears whole or not at all, and depends on its seed alone.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from CarotidLandmarkLib.dataset import Dataset, DatasetError, is_dataset
from CarotidLandmarkLib.detector import choose_device
from CarotidLandmarkLib.documents import parse, write
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from CarotidLandmarkLib.volume import Volume
from CarotidLandmarkLib.work import progress

from .. import seeds
from ..necks.neck import Facts
from ..necks.styles import Styles
from ..pages import csv_of
from ..processes import pool
from ..records import read_record, write_record
from ..scans.sample import Sample
from ..scans.shifts import SHIFTS, check_shift

LANDMARKS = tuple(spec.name for spec in CAROTID_BIFURCATIONS)
ANNOTATOR = "truth"
# The split of Ma et al. (ISBI 2020): 167 scans for training, 42 for validation, 54 for test.
SPLIT_SHARES = {"train": 167, "validation": 42, "test": 54}
# Of a cohort of necks that lack a landmark each is the first of so many that does: one in eight does.
CANDIDATES = 256


@dataclass(frozen=True)
class CaseToMake:
    """A case of a cohort: all that its voxels follow from, but for the styles and their backgrounds."""

    id: str
    patient: str  # of all cohorts: of the same seed, usual or shifted, it is the same one
    split: str
    seeds: tuple[int, ...]  # of one neck, or of the candidates for one that lacks a landmark

    def draw(self, styles: Styles, weights: Mapping[str, float], **options: Any) -> Sample:
        """The case, not rendered yet; ``options``: of `Sample.draw`. Raises UserError where no candidate lacks one."""
        for seed in self.seeds:
            sample = Sample.draw(seed, styles, weights, **options)
            if len(self.seeds) == 1 or not sample.truth.present.all():
                return sample
        raise UserError(
            f"{self.id}: none of {len(self.seeds)} necks lacks a landmark; take shorter scans with --length."
        )


def split_sizes(cases: int) -> dict[str, int]:
    """How many of ``cases`` go into each split, in the paper's proportions.

    Each next case goes to the split that lacks most, so that a longer cohort begins like a shorter one.
    """
    whole = sum(SPLIT_SHARES.values())
    sizes = dict.fromkeys(SPLIT_SHARES, 0)
    for n in range(1, cases + 1):
        sizes[max(sizes, key=lambda split: n * SPLIT_SHARES[split] - sizes[split] * whole)] += 1
    return sizes


def plan(cases: int, seed: int, splits: Sequence[str] = tuple(SPLIT_SHARES), lacking: bool = False) -> list[CaseToMake]:
    """The cases of a cohort, of some splits or all. Raises ValueError where seed, splits or number do not fit."""
    candidates = CANDIDATES if lacking else 1
    for split in splits:
        if split not in SPLIT_SHARES:
            raise UserError(f"There is no split {split!r}; use one of {', '.join(SPLIT_SHARES)}.")
    planned = [
        CaseToMake(
            f"{split}-{index:05d}",
            f"{'lacking' if lacking else 'neck'}-{seed}-{split}-{index:05d}",
            split,
            tuple(seeds.neck_seed(split, seed, index * candidates + one) for one in range(candidates)),
        )
        for split, size in split_sizes(cases).items()
        if split in splits
        for index in range(size)
    ]
    if not planned:
        raise UserError(f"Of {cases} cases none is in the split {' or '.join(splits)}; ask for more with --cases.")
    return planned


def synthesize(
    cases: int,
    seed: int,
    output: Path,
    styles: Styles,
    weights: Mapping[str, float],
    processes: int = 1,
    device: str = "cpu",
    splits: Sequence[str] = tuple(SPLIT_SHARES),
    length_mm: tuple[float, float] | None = None,
    randomised: bool = False,
    shift: str | None = None,
    lacking: bool = False,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Write ``cases`` scans, their truth and `cohort.csv` into ``output``, a new folder or one that this began earlier.

    ``weights``: style -> how often; ``splits``: only these; ``length_mm``: of the scans along the body, drawn where
    None; ``randomised``: also necks that are wilder than any patient; ``shift``: one of `shifts.SHIFTS`, of the scans;
    ``lacking``: only necks that lack a landmark; ``on_case`` is told after each case how many are done. Raises
    ValueError (also DatasetError) where the arguments or the folder do not fit, OSError.
    """
    styles.check(list(weights), randomised)
    if shift is not None:
        check_shift(shift)
    if length_mm is not None and not 0 < length_mm[0] <= length_mm[1] < math.inf:
        raise UserError("The length of scans is two numbers of mm, the shorter first.")
    device = str(choose_device(device))
    styles.check_splits(splits)
    todo = plan(cases, seed, splits, lacking)
    styles.open()
    recipe = {
        "generator": seeds.GENERATOR,
        "seed": seed,
        "styles": dict(sorted(weights.items())),
        "randomised": randomised,
        "tissue": styles.fingerprint(),
    }
    options = {"length_mm": length_mm and list(length_mm), "shift": shift, "lacking": lacking}
    dataset = _open(output, recipe | {name: value for name, value in options.items() if value})
    table = _table(output / "cohort.csv")
    made = {case.id for case in todo if case.id in table and _is_made(dataset, case)}
    make = partial(
        make_case,
        folder=dataset.path,
        styles=styles,
        device=device,
        drawn={"weights": weights, "length_mm": length_mm, "randomised": randomised, "shift": shift},
    )
    left = [case for case in todo if case.id not in made]
    for done, row in enumerate(_results(left, processes, make), len(made) + 1):
        table[str(row["case"])] = row
        on_case(done, len(todo))
    order = {case.id: number for number, case in enumerate(todo)}
    write_text(output / "cohort.csv", csv_of(sorted(table.values(), key=lambda row: order.get(row["case"], -1))))
    return dataset


def _table(path: Path) -> dict[str, Facts]:
    """What an earlier call wrote of each case. Raises UserError where a spreadsheet has written it since; OSError."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [dict(row) for row in csv.DictReader(stream, strict=True)]
    except (UnicodeDecodeError, csv.Error):
        rows = [{}]
    if any(not row.get("case") or None in row or None in row.values() for row in rows):
        raise UserError(f"{path} is not as synthesize has written it; delete it, and the same command writes it anew.")
    return {row["case"]: row for row in rows}


def _is_made(dataset: Dataset, case: CaseToMake) -> bool:
    return case.id in dataset.case_ids() and ANNOTATOR in dataset.case(case.id).annotators()


def make_case(case: CaseToMake, folder: Path, styles: Styles, device: str, drawn: dict[str, Any]) -> Facts:
    """Render, store and annotate one case, unless that has been done; returns its row of the cohort's table.

    ``drawn``: what `CaseToMake.draw` takes.
    """
    dataset = Dataset.open(folder)
    sample = case.draw(styles, **drawn)
    if case.id not in dataset.case_ids():
        array, affine, _ = sample.scanner.acquire(sample.neck, device)
        dataset.add_case(Volume(array, affine, name=case.id), case_id=case.id, group=case.patient, split=case.split)
    if not _is_made(dataset, case):
        truth = zip(LANDMARKS, sample.truth.landmarks_lps.tolist(), sample.truth.present.tolist(), strict=True)
        points = {name: tuple(point) if present else None for name, point, present in truth}
        dataset.save_annotation(
            case.id,
            ANNOTATOR,
            points,
            status={name: "missing" if point is None else "accepted" for name, point in points.items()},
            comment=f"digital neck, style {sample.neck.style}, seed {sample.seed}",
        )
    return {"case": case.id, "split": case.split, **sample.facts()}


def _open(output: Path, recipe: dict) -> Dataset:
    """The dataset to fill. What it is made of is kept beside it, so that another cohort is never mixed into it."""
    path = output / "cohort.json"
    if path.is_file():
        begun, wanted = read_record(path), parse(write(recipe))
        if differing := [name for name in {**wanted, **begun} if begun.get(name) != wanted.get(name)]:
            raise DatasetError(f"{output.name} holds a cohort of another {', '.join(differing)}; choose a new folder.")
        return Dataset.open(output)
    if not (is_dataset(output) and _is_empty(Dataset.open(output))):  # a call that was killed came no further
        Dataset.create(output, LANDMARKS)
    write_record(path, recipe)
    return Dataset.open(output)


def _is_empty(dataset: Dataset) -> bool:
    return not dataset.case_ids() and tuple(dataset.landmarks) == LANDMARKS


def _results(todo: Sequence[CaseToMake], processes: int, make: Callable[[CaseToMake], Facts]) -> Iterator[Facts]:
    """The rows of all cases, in order."""
    if processes == 1:
        yield from map(make, todo)
        return
    with pool(processes, max(1, (os.cpu_count() or 1) // processes)) as workers:
        futures = [workers.submit(make, case) for case in todo]
        for future in futures:
            yield future.result()


def main(
    cases: Annotated[int, typer.Option(help="How many scans (the paper had 263).")],
    output: Annotated[Path, typer.Option(help="Folder of the dataset: new, or one to go on with.")],
    seed: Annotated[int, typer.Option(help="0 to 255; other seeds are other necks.")] = 0,
    styles: Annotated[
        str,
        typer.Option(help="Styles, separated by commas; default: all that look like patients, all with --randomised."),
    ] = "",
    background: Annotated[
        list[Path] | None,
        typer.Option(metavar="CT", help="Unenhanced CT, or folder of such, for the styles of real tissue; repeatable."),
    ] = None,
    unseen_patients: Annotated[
        bool, typer.Option("--unseen-patients", help="Only of patients that no training may see; for --splits test.")
    ] = False,
    randomised: Annotated[
        bool, typer.Option("--randomised", help="Also necks that are wilder than any patient, as in training.")
    ] = False,
    shift: Annotated[str | None, typer.Option(help=f"Scan beyond what training draws: {', '.join(SHIFTS)}.")] = None,
    lacking: Annotated[
        bool, typer.Option("--lacking", help="Only necks that lack a landmark, which one in eight does.")
    ] = False,
    splits: Annotated[str, typer.Option(help="Only these splits, separated by commas.")] = ",".join(SPLIT_SHARES),
    length: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="MM MM", help="Shortest and longest scan along the body; default: 120 to 500."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cases made at the same time.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Write a cohort of digital necks with their truth: a dataset like one that annotators made."""
    available = Styles(background or (), unseen_patients)
    names = [name.strip() for name in styles.split(",") if name.strip()]
    names = names or (available.available if randomised else available.patient_like)
    with progress() as step:
        synthesize(
            cases, seed, output, available, dict.fromkeys(names, 1.0), processes, device,
            [split.strip() for split in splits.split(",")], length, randomised, shift, lacking,
            on_case=lambda done, total: step(f"{done} of {total} digital necks", done / total),
        )  # fmt: skip
