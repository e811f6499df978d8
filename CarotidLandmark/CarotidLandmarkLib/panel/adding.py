"""Part of the module's panel: the button Add scan, a copy of a scan in the scene as a case of the dataset (Qt)."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .cases import CaseInScene, ReviewQueue
from .words import dicom_patient


class AddScan:
    """Adds the scan that is chosen to the dataset. Wires the field for its patient in ``module``."""

    def __init__(self, module: Any, shown: CaseInScene, queue: ReviewQueue) -> None:
        self._module, self._shown, self._queue = module, shown, queue
        self._volume: Any = None  # whose patient the field has

    def add(self) -> None:
        """What the button does. Raises DatasetError, VolumeError, SceneError, OSError."""
        dataset, volume_node, field = self._shown.dataset, self._module.parameters.inputVolume, self._field
        assert dataset is not None
        patient = field.text.strip() or dicom_patient(volume_node)
        case = self._shown.add(volume_node, patient)
        field.clear()
        self._queue.case_ids.append(case.id)
        self._module.refresh()
        words = _("Added as {case}, the last of the queue: scan {n} of this patient.")
        if not patient:
            words = _("Added as {case}, the last of the queue, as a patient of its own: none is named.")
        count = sum(each.group == case.group for each in dataset.cases())
        self._module.say(words.format(case=case.id, n=count))

    def show(self, volume: Any, is_case: bool) -> None:
        """Bring the widgets in line with the scan that is chosen."""
        if volume is not self._volume:
            self._field.clear()  # another scan is another patient's, unless somebody says so
            self._volume = volume
        for widget in (self._module.ui.addCaseButton, self._field):
            widget.setEnabled(self._shown.dataset is not None and volume is not None and not is_case)

    @property
    def _field(self) -> Any:
        return self._module.ui.patientLineEdit
