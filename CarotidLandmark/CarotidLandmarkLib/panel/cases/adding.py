"""Part of the module's panel: a scan of the scene becomes a case, and whose it is (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ...dataset import Case

PATIENT_ID = "0010,0020"


class ScanAdder:
    """The word for the patient in ``ui`` belongs to the scan that it was typed for.

    ``add(volume_node, patient)`` copies the scan and returns the case.
    """

    def __init__(self, ui: Any, add: Callable[[Any, str], Case]) -> None:
        self.ui, self._add = ui, add
        self._volume: Any = None

    def show(self, volume_node: Any, addable: bool) -> None:
        """Bring the widgets in line with the scan that is the input."""
        if volume_node is not self._volume:
            self.ui.patientLineEdit.clear()  # another scan is another patient's, unless somebody says so
            self._volume = volume_node
        for widget in (self.ui.addCaseButton, self.ui.patientLineEdit):
            widget.setEnabled(addable)

    def add(self, volume_node: Any) -> Case:
        """Raises DatasetError, VolumeError, SceneError, OSError."""
        case = self._add(volume_node, self.ui.patientLineEdit.text or _dicom_patient(volume_node))
        self.ui.patientLineEdit.clear()
        return case


def _dicom_patient(volume_node: Any) -> str:
    """The Patient ID of a scan that was loaded from the application's DICOM database, else ""."""
    instances = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    return slicer.dicomDatabase.instanceValue(instances[0], PATIENT_ID) if instances else ""
