"""One case of a dataset: a scan, what the detector found in it, and what annotators say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..detection import Detection
from ..documents import write
from ..files import file_sha256, write_text
from ..geometry import Geometry
from ..landmarks import Point
from ..volume import Volume, read_volume
from .agreement import consensus
from .annotations import Annotation, annotation_names, read_annotation
from .common import SCHEMA_VERSION, DatasetError, read_entry
from .references import place_of, voxels_sha256

IMAGE_FILE = "image.nrrd"

_Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageDocument:
    """The image of `CaseDocument`: in the case's folder, or a file elsewhere."""

    copied: bool
    bytes: int
    sha256: str
    voxels_sha256: str = ""  # version 1 did not have it

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 is not one")


@dataclass(frozen=True)
class CaseDocument:
    """``case.json``."""

    group: str
    split: str | None
    image: ImageDocument
    size: tuple[int, int, int]
    affine_lps: tuple[_Row, _Row, _Row, _Row]
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Raises ValueError where the geometry is none, or the group is empty: it would be everybody's."""
        if not self.group.strip():
            raise ValueError("group is empty")
        self.geometry()

    def geometry(self) -> Geometry:
        return Geometry(np.array(self.affine_lps), self.size)


@dataclass(frozen=True)
class Case:
    """One scan of a dataset."""

    id: str
    folder: Path
    group: str
    split: str | None
    geometry: Geometry
    copied: bool
    image_bytes: int
    image_sha256: str
    voxels_sha256: str  # "" in a case of version 1

    @classmethod
    def of(cls, folder: Path) -> Case:
        """The case in ``folder``. Raises DatasetError when its case.json is missing or damaged."""
        document = read_case(folder)
        image = document.image
        return cls(
            folder.name, folder, document.group, document.split, document.geometry(), image.copied, image.bytes,
            image.sha256, image.voxels_sha256,
        )  # fmt: skip

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        return self.geometry.size

    @property
    def affine_lps(self) -> np.ndarray:
        """Voxel (i, j, k, 1) to LPS millimetres, [4, 4]."""
        return self.geometry.affine_lps

    @property
    def image_path(self) -> Path:
        """The image file. Raises DatasetError when it is not on this machine."""
        path = self.folder / IMAGE_FILE if self.copied else place_of(self.image_sha256)
        if path is None or not path.is_file():
            remedy = (
                "restore it"
                if self.copied
                else "restore it, or say where it is: carotid-landmark locate DATASET FOLDER"
            )
            raise DatasetError(f"The image of case {self.id} is not here; {remedy}.")
        return path

    @property
    def has_image(self) -> bool:
        """Whether the image file is on this machine."""
        with suppress(DatasetError):
            return self.image_path.is_file()
        return False

    def read_volume(self) -> Volume:
        """The scan, named by the case, also in its notes. Raises as `verify_image` does, and VolumeError."""
        with suppress(OSError):  # the reader says what is the matter
            self.verify_image()
        volume = read_volume(self.image_path, alias=self.id)
        if not self.geometry.same_as(volume.geometry):  # another series of the file, or files around it have changed
            raise DatasetError(
                f"The image of case {self.id} has another size or place than when it was added; restore it, or add the "
                "scan anew."
            )
        return volume

    def verify_image(self) -> None:
        """Raises DatasetError when the image is not here, or is not the one that was added; OSError when unreadable."""
        path = self.image_path
        if path.stat().st_size != self.image_bytes or file_sha256(path) != self.image_sha256:
            raise DatasetError(f"The image of case {self.id} is not the one that was added; restore it.")

    def voxels_digest(self) -> str:
        """`voxels_sha256` of its voxels; a case of version 1 has to be read. Raises DatasetError, VolumeError."""
        return self.voxels_sha256 or voxels_sha256(self.read_volume().array)

    def prediction(self) -> Detection | None:
        """The detector's stored result. Raises DatasetError on a damaged file."""
        path = self.folder / "prediction.json"
        if not path.exists():
            return None
        try:
            return Detection.from_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DatasetError(f"prediction.json of case {self.id} can not be read; predict the case again.") from error

    def readable_prediction(self) -> Detection | None:
        """The same, or None: a damaged file counts as none, `problems` names it."""
        with suppress(DatasetError):
            return self.prediction()
        return None

    def annotations(self) -> dict[str, Annotation]:
        """Everybody's annotation, by annotator. One that can not be read is none: `problems` names it."""
        readable = {}
        with suppress(DatasetError):
            for annotator in annotation_names(self.folder):
                with suppress(DatasetError):
                    readable[annotator] = self.annotation(annotator)
        return readable

    def annotators(self) -> list[str]:
        """Who has annotated this case, readably."""
        return list(self.annotations())

    def annotation(self, annotator: str) -> Annotation:
        """One annotator's word. Raises DatasetError on a missing or damaged file."""
        return read_annotation(self.folder, annotator)

    @cached_property
    def truth_annotations(self) -> dict[str, Annotation]:
        """Everybody's annotation, by annotator, read once: annotators go on while a training runs for hours.

        Raises DatasetError where one can not be read.
        """
        return {who: self.annotation(who) for who in annotation_names(self.folder)}

    def consensus(self, landmarks: Sequence[str]) -> dict[str, Point | None]:
        """What training and evaluation go by: `agreement.consensus` of `truth_annotations`.

        Raises DatasetError, also where nobody has spoken of a landmark: unsaid is not missing.
        """
        for name in landmarks:
            if not any(name in annotation.points for annotation in self.truth_annotations.values()):
                raise DatasetError(f"No annotation of case {self.id} says where {name} is; review the case again.")
        return consensus([annotation.points for annotation in self.truth_annotations.values()], landmarks)

    def asking(self) -> list[str]:
        """The annotators who ask a colleague about this case."""
        return [who for who, annotation in self.annotations().items() if annotation.ask_colleague]

    def has_annotation(self, annotator: str) -> bool:
        """Whether there is an annotation by that name, readable or not. Raises UnreadableError where nobody can say."""
        return annotator in annotation_names(self.folder)

    def problems(self) -> Iterator[tuple[str, DatasetError]]:
        """What of this case can not be read: the name of the file or folder inside the case's, and the reason."""
        try:
            self.prediction()
        except DatasetError as error:
            yield "prediction.json", error
        try:
            annotators = annotation_names(self.folder)
        except DatasetError as error:
            yield "annotations", error
            return
        for annotator in annotators:
            try:
                self.annotation(annotator)
            except DatasetError as error:
                yield f"annotations/{annotator}.json", error


def read_case(folder: Path) -> CaseDocument:
    """``case.json`` of the case in ``folder``. Raises DatasetError."""
    what = f"case.json of case {folder.name}"
    return read_entry(CaseDocument, folder / "case.json", what, "restore it from a backup")


def write_case(folder: Path, document: CaseDocument) -> None:
    """Write ``case.json``, atomically. Raises OSError."""
    write_text(folder / "case.json", write(asdict(document)))
