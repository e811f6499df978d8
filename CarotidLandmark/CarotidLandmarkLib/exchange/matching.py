"""Which case of a dataset a file is about: by name, by the scan beside it, by the patient's identifier, or by place."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from ..dataset import Case, Dataset, DatasetError, case_of, patient_group
from ..errors import UserError, some_of
from ..volume import VolumeError, is_scan_file, read_volume

SUFFIXES = (".mrk.json", ".seg.nrrd", ".nii.gz")  # a name's end of two parts
MOST_NAMED = 4

Fits = Callable[[Case], bool]


class Matcher:
    """The cases of a dataset, to be asked for one after the other; they are read once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.cases = list(dataset.cases())
        self._named: dict[str, list[Case]] = defaultdict(list)
        self._of_patient: dict[str, list[Case]] = defaultdict(list)
        for case in self.cases:
            for name in {_as_read(case.id), _as_read(_image_stem(case))} - {""}:
                self._named[name].append(case)
            self._of_patient[case.group].append(case)

    def case(self, path: Path, scan: str, fits: Fits) -> tuple[Case, bool]:
        """The case that ``path`` is about, and whether nothing but its place tells so.

        ``scan``: what the file calls the scan, "" where it does not: then its own name, or that of its folder counts.
        ``fits``: whether what the file holds can be of a case. Raises UserError where no case matches, or two.
        """
        words = [scan, stem(scan)] if scan else [stem(path.name), path.absolute().parent.name]
        what = f"'{scan}' in {path.name}" if scan else path.name
        for word in words:
            if named := self._named.get(_as_read(word)):
                return _only(named, what, f"are called {word}"), False
        known = self._beside(path, stem(scan) if scan else words[0])
        if known is not None:
            return known, False
        patients = {patient_group(word) for word in words[: 2 if scan else 1]}
        if same := [case for patient in patients for case in self._of_patient.get(patient, [])]:
            return _only([case for case in same if fits(case)] or same, what, "are of this patient"), False
        fitting = [case for case in self.cases if fits(case)]
        if not fitting:
            raise UserError(
                f"No case of {self._dataset.path.name} matches {what}: none has its name, its patient, or its place; "
                "add the scan first, or name the file after the case."
            )
        return _only(fitting, what, "hold its points"), True

    def _beside(self, path: Path, name: str) -> Case | None:
        """The case that is the scan of the same name in the same folder."""
        for file in sorted(path.absolute().parent.glob("*")):
            if file.name != path.name and _as_read(stem(file.name)) == _as_read(name) and is_scan_file(file):
                try:
                    case_id = case_of(self._dataset, read_volume(file))
                except (VolumeError, DatasetError):
                    continue
                if case_id is not None:
                    return self._dataset.case(case_id)
        return None


def _only(cases: Sequence[Case], what: str, reason: str) -> Case:
    if len(cases) > 1:
        names = some_of([case.id for case in cases], MOST_NAMED)
        raise UserError(f"{what} matches several cases ({names}), which {reason}; name it after one of them.")
    return cases[0]


def _image_stem(case: Case) -> str:
    """What a scan that is only referred to is called on this machine."""
    if case.copied:
        return ""
    try:
        return stem(case.image_path.name)
    except DatasetError:
        return ""


def _as_read(word: str) -> str:
    """In small letters, and signs that Unicode writes in several ways (the ü of macOS) as one."""
    return unicodedata.normalize("NFC", word).lower()


def stem(name: str) -> str:
    """A file's name without folders and its type: ``anna.nii.gz`` is anna."""
    name = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    known = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    return name[: -len(known)] if known else name.rpartition(".")[0] or name
