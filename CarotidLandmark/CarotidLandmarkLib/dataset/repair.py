"""What a killed program, or an older version, has left in a dataset: put in order by whoever says so, never by opening.

Nothing that somebody may still need goes: no file that a save under way is writing, and no points that differ from the
annotation beside them.
"""

from __future__ import annotations

from pathlib import Path

from ..documents import parse
from ..files import file_sha256, remove_stale
from ..markups import MarkupsError, read_markups
from .annotations import annotation_names, same_points
from .cases import Case
from .common import SCHEMA_VERSION, DatasetError, names_in
from .dataset import Dataset


def repair_dataset(dataset: Dataset) -> list[str]:
    """Remove what is left over, and make the dataset one of the present version; a sentence for each thing done, and
    for each that may not be removed.

    Raises DatasetError, OSError.
    """
    done = [
        f"{path}: a killed program has left it, and it can not be removed ({refusal.strerror}); its owner may."
        if refusal
        else f"{path.relative_to(dataset.path).as_posix()}: removed, a killed program had left it."
        for path, refusal in remove_stale(dataset.path, dataset.temporary_files()).items()
    ]
    for case in dataset.cases():
        for path in twins(case):
            if twin_problem(case, path) is None:
                path.unlink()
                where, owner = path.relative_to(dataset.path).as_posix(), twin_owner(path)
                done.append(f"{where}: removed, its points are in {owner}.json.")
    if dataset.version() < SCHEMA_VERSION:
        dataset.write_version()
        done.append(f"dataset.json: version {SCHEMA_VERSION} now; CarotidLandmark 0.1 can not open it any more.")
    return done


def twins(case: Case) -> list[Path]:
    """The ``.mrk.json`` files that version 1 wrote beside annotations. Raises UnreadableError."""
    folder = case.folder / "annotations"
    return [folder / name for name in names_in(folder) if name.endswith(".mrk.json")]


def twin_owner(path: Path) -> str:
    """The annotator whose points a ``.mrk.json`` repeats."""
    return path.name.removesuffix(".mrk.json")


def twin_problem(case: Case, path: Path) -> str | None:
    """Why a ``.mrk.json`` does not just repeat an annotation, in a sentence; None when it does."""
    owner = twin_owner(path)
    if owner not in annotation_names(case.folder):
        return f"There is no {owner}.json beside it, so it does not count; annotate the case again."
    try:
        shown, points = read_markups(path), case.annotation(owner).points
    except DatasetError:  # said of the annotation itself
        return f"{owner}.json beside it, which counts, can not be read."
    except (MarkupsError, OSError) as error:
        return f"It can not be read: {error}"
    # where version 1 was killed between the two files of an annotation, this one is of the save before
    replaces = parse(path.with_name(f"{owner}.json").read_bytes()).get("replaces_markups_sha256")
    if not same_points(shown, points) and replaces != file_sha256(path):
        return f"Its points are not those of {owner}.json, which count; save the annotation again."
    return None
