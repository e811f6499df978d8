"""Part of the module's panel: questions and sentences to the user, timers, what the application may lack (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import sentence

PATIENT_ID = "0010,0020"
YES_NO = qt.QMessageBox.Yes | qt.QMessageBox.No


def question_box(question: str, buttons: Any, title: str, default: Any, escape: Any) -> Any:
    """The box of a question, not shown yet."""
    # by hand: slicer.util.messageBox sets keywords as attributes, which defaultButton is not
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setIcon(qt.QMessageBox.Question)
    box.setWindowTitle(title or _("Dataset"))
    box.setText(question)
    box.setStandardButtons(buttons)
    box.setDefaultButton(default)
    box.setEscapeButton(qt.QMessageBox.Cancel if buttons & qt.QMessageBox.Cancel else escape)
    return box


def ask(
    question: str,
    buttons: Any = YES_NO,
    title: str = "",
    default: Any = qt.QMessageBox.Yes,
    escape: Any = qt.QMessageBox.No,
) -> bool | None:
    """Put a question to the user: True for Yes, False for No, None for Cancel.

    ``escape`` is the button of the key Escape where nothing can be cancelled.
    """
    box = question_box(question, buttons, title, default, escape)
    answer = box.exec_()
    box.deleteLater()
    return None if answer == qt.QMessageBox.Cancel else answer == qt.QMessageBox.Yes


def answers_for_its_errors(method: Callable[..., None]) -> Callable[..., None]:
    """What goes wrong in a method of a part of the panel becomes a sentence: what its ``say`` is given."""

    @wraps(method)
    def attempt(panel: Any, *arguments: Any) -> None:
        try:
            method(panel, *arguments)
        except OSError as error:
            message = _("The dataset can not be read or written ({reason}); check the disk and your rights.")
            panel.say(message.format(reason=error.strerror or error))
        except Exception as error:
            if not (words := sentence(error)):
                raise
            panel.say(words)

    return attempt


def no_name() -> str:
    return _("Type your name in the field Annotator first: your work is kept under it.")


def timer(action: Callable[[], None], every_ms: int = 0) -> Any:
    """A QTimer, not started: once in the next turn of the event loop, or again and again every so many ms."""
    made = qt.QTimer()
    made.setSingleShot(every_ms == 0)
    made.setInterval(every_ms)
    made.timeout.connect(action)
    return made


def rendering_logic() -> Any:
    """The volume rendering module's logic; None where that is switched off, and while the application ends."""
    module = getattr(slicer.modules, "volumerendering", None)
    return None if module is None else module.logic()


def dicom_patient(volume_node: Any) -> str:
    """The Patient ID of a scan that was loaded from the application's DICOM database, else ""."""
    instances = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)  # none before a folder for it was chosen
    return database.instanceValue(instances[0], PATIENT_ID).strip() if instances and database else ""
