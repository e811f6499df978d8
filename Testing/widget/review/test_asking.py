"""A question to a colleague: put with a key, kept with the case, shown and listed."""

from __future__ import annotations

import pytest
from CarotidLandmarkLib.dataset import read_draft
from panel_steps import case_shown, press, type_name
from PySide6.QtCore import Qt

SURE, UNSURE, ALARMED = "sure", "unsure", "alarmed"  # the cases of the fixture `dataset`


def rows(widget):
    cases = widget.ui.caseList
    return [cases.item(n).text() for n in range(cases.count)]


def test_the_key_puts_a_question_that_is_a_draft_and_is_saved_with_the_case(widget, opened_dataset, application):
    press(application, Qt.Key.Key_Q)
    assert widget.ui.askButton.checked
    assert widget.ui.caseLabel.text.endswith("This one is not saved yet.")
    assert read_draft(opened_dataset.case(ALARMED), "anna").ask_colleague
    press(application, Qt.Key.Key_S)
    assert case_shown(widget) == UNSURE and not widget.ui.askButton.checked
    assert opened_dataset.case(ALARMED).annotation("anna").ask_colleague
    assert rows(widget) == [f"{ALARMED} (reviewed, anna asks a colleague)", UNSURE, SURE]


def test_the_question_is_there_when_the_case_is_opened_again_and_can_be_taken_back(widget, opened_dataset, application):
    press(application, Qt.Key.Key_Q)
    press(application, Qt.Key.Key_S)
    widget.dataset.open_case(ALARMED)
    assert widget.ui.askButton.checked
    widget.ui.askButton.click()
    press(application, Qt.Key.Key_S)
    assert opened_dataset.case(ALARMED).asking() == []
    assert rows(widget)[0] == f"{ALARMED} (reviewed)"


def test_a_colleague_lists_and_steps_through_the_questions_alone(widget, opened_dataset, application):
    press(application, Qt.Key.Key_Q)
    press(application, Qt.Key.Key_S)
    type_name(widget, "ben")
    assert f"{ALARMED} (anna asks a colleague)" in rows(widget)
    widget.ui.onlyAskedCheckBox.click()
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == ALARMED
    assert rows(widget) == [f"{ALARMED} (anna asks a colleague)"]
    press(application, Qt.Key.Key_S)
    assert widget.ui.statusLabel.text == "Saved. You have reviewed all cases that are listed."
    widget.ui.onlyAskedCheckBox.click()
    assert len(rows(widget)) == 3


@pytest.mark.parametrize("name", ["saveNextButton", "askButton", "annotatorLineEdit", "caseLabel"])
def test_while_a_dataset_is_open_what_every_case_needs_stands_above_all_else(widget, opened_dataset, application, name):
    application.processEvents()
    control = getattr(widget.ui, name)
    assert control.isVisible()
    below = widget.ui.detectSection.mapTo(widget.parent, widget.ui.detectSection.rect.topLeft()).y()
    assert control.mapTo(widget.parent, control.rect.bottomLeft()).y() < below


def test_without_a_dataset_there_is_no_case_to_save_or_ask_about(widget):
    assert not widget.ui.caseBar.isVisible()
    assert widget.ui.annotatorLineEdit.isVisible()
