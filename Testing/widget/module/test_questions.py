"""The panel asks as the application lets it ask: message boxes there are stricter than they look."""

from __future__ import annotations

import pytest
import qt
import slicer
from CarotidLandmarkLib.panel.words import ask

BUTTONS = qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel


def test_the_applications_own_message_box_takes_properties_as_keywords_and_refuses_slots(widget, application):
    application.answers = [qt.QMessageBox.Yes]
    assert slicer.util.messageBox("Go on?", windowTitle="A", standardButtons=BUTTONS) == qt.QMessageBox.Yes
    with pytest.raises(AttributeError, match="can not be overwritten"):
        slicer.util.messageBox("Go on?", standardButtons=BUTTONS, defaultButton=qt.QMessageBox.Yes)
    assert application.asked == ["Go on?"]


@pytest.mark.parametrize(("button", "meaning"), [("Yes", True), ("No", False), ("Cancel", None)])
def test_a_question_is_answered_by_yes_no_or_cancel(widget, application, button, meaning):
    application.answers = [getattr(qt.QMessageBox, button)]
    assert ask("Go on?", BUTTONS) is meaning
    assert application.asked == ["Go on?"]


def test_escape_is_no_where_nothing_can_be_cancelled(widget, application):
    application.answers = [qt.QMessageBox.Cancel]
    assert ask("Go on?", qt.QMessageBox.Yes | qt.QMessageBox.No) is False
