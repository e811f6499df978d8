"""Part of the module's panel: what is saved of a case, and what must be right before it is (Qt)."""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from ... import scene
from ...dataset import AnnotationStatus, Case, DatasetError, Point, voxels_sha256
from ...detection import Detection, LandmarkResult, ModelInfo, Quality
from ...landmarks import Points, pairs
from ...scene import LEAST_MOVE_MM, DetectionNodes, moved_mm, names_of, review_of, reviewed_landmarks
from ...volume import Volume
from ..words import ask

NO_MODEL = ModelInfo("no model", "", "")
SAME_FRAME_MM = 1e-3


def unseen(volume: Volume, landmarks: tuple[str, ...]) -> Detection:
    """What stands for a detection where no model has looked: points can be placed by hand."""
    nothing = tuple(LandmarkResult(name, "missing", 0.0) for name in landmarks)
    return Detection(volume.info, NO_MODEL, 0, 0, "", {}, nothing, Quality("review", (_("No model has looked."),)))


class ImageCheck:
    """Whether what is in the scene is still the image of the case. Voxels are compared again when they have changed."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}  # by case: modification time of voxels that were its own

    def trust(self, case: Case, volume_node: Any) -> None:
        """The voxels were just read from the case."""
        self._seen = {case.id: _voxel_time(volume_node)}

    def check_to_detect(self, case: Case, volume_node: Any) -> None:
        """Raises DatasetError when a detection would be of another image, or of another place."""
        if not np.allclose(scene.affine_of(volume_node), case.affine_lps, atol=SAME_FRAME_MM):
            words = _("The scan of case {case} was moved since it was opened; open it again, then detect.")
            raise DatasetError(words.format(case=case.id))
        self._check_voxels(case, volume_node)

    def check_to_save(self, case: Case, nodes: DetectionNodes) -> None:
        """Raises DatasetError when size, geometry or voxels are those of another image."""
        image = nodes.volume.GetImageData()
        if (
            image is None
            or image.GetDimensions() != case.size
            or not np.allclose(scene.frame_of(nodes), case.affine_lps, atol=SAME_FRAME_MM)
        ):
            words = _("The scan of case {case} was cropped, resampled, or detected again after it was moved.")
            raise _another_image(words, case)
        self._check_voxels(case, nodes.volume)

    def _check_voxels(self, case: Case, volume_node: Any) -> None:
        if self._seen.get(case.id) != _voxel_time(volume_node):
            if case.voxels_digest() != voxels_sha256(scene.voxels_from_node(volume_node)[0]):
                words = _("The scan of case {case} was changed: its voxels are not those of the dataset's image.")
                raise _another_image(words, case)
            self._seen[case.id] = _voxel_time(volume_node)


def _another_image(words: str, case: Case) -> DatasetError:
    return DatasetError(" ".join([words.format(case=case.id), _("Open the case again (Next, Previous).")]))


def _voxel_time(volume_node: Any) -> int:
    image = volume_node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    return -1 if scalars is None else scalars.GetMTime()


def outcome_of(nodes: DetectionNodes) -> tuple[dict[str, Point | None], dict[str, AnnotationStatus]]:
    """Points and statuses to save: what is shown counts, looked at or not, unless no model has looked either.

    Raises DatasetError then, and for a point that is not placed.
    """
    points: dict[str, Point | None] = {}
    status: dict[str, AnnotationStatus] = {}
    touched, labels = reviewed_landmarks(nodes), review_of(nodes).labels
    for index, name in enumerate(names_of(nodes)):
        if scene.is_unset(nodes, index):
            words = _("{label} is not placed: press Undo, bring it back, or mark it missing.")
            raise DatasetError(words.format(label=labels[name]))
        if name not in touched and nodes.detection.model == NO_MODEL:
            words = _("{label}: place it (Bring back), or accept that it is missing.")
            raise DatasetError(words.format(label=labels[name]))
        points[name], moved = scene.position_lps(nodes, index), moved_mm(nodes, index)
        if points[name] is None:
            status[name] = "missing"
        else:
            status[name] = "accepted" if moved is not None and moved <= LEAST_MOVE_MM else "corrected"
    return points, status


def shall_be_saved(case: Case, nodes: DetectionNodes, points: Points) -> bool:
    """Whether the points can be right; asks about what the dataset's check would call an error."""
    labels = review_of(nodes).labels
    questions = [
        _("{label} lies outside the scan. Save it so?").format(label=labels[name])
        for name, point in points.items()
        if point is not None and not case.geometry.contains(point)
    ]
    for pair in pairs(points):
        left, right = points[pair.left], points[pair.right]
        if left is not None and right is not None and left[0] <= right[0]:
            words = _("{left} is not on the patient's left of {right}. Save them so?")
            questions.append(words.format(left=labels[pair.left], right=labels[pair.right]))
    return all(ask(question, default=qt.QMessageBox.No) for question in questions)
