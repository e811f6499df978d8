"""Questions to the user (Qt)."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _


def ask(question: str, buttons: Any, title: str = "") -> bool | None:
    """Put a question to the user: True for Yes, False for No, None for Cancel. Yes is the default."""
    # by hand: slicer.util.messageBox sets keywords as attributes, which defaultButton is not
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setIcon(qt.QMessageBox.Question)
    box.setWindowTitle(title or _("Dataset"))
    box.setText(question)
    box.setStandardButtons(buttons)
    box.setDefaultButton(qt.QMessageBox.Yes)
    answer = box.exec_()
    box.deleteLater()
    return None if answer == qt.QMessageBox.Cancel else answer == qt.QMessageBox.Yes
