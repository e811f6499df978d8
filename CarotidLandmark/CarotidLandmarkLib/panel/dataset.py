"""Part of the module's panel: a dataset's folder, its review queue, and who reviews (Qt)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .. import scene
from ..dataset import Case, Dataset, DatasetError, Order, UnreadableError, check_annotator, check_case_of_letters
from ..scene import DetectionNodes, review_of, write_review
from .adding import AddScan
from .cases import (
    CaseInScene,
    CaseList,
    Models,
    ReviewQueue,
    Work,
    open_or_create,
    without_model,
)
from .detect_all import DetectAll
from .words import YES_NO, answers_for_its_errors, ask, no_name, timer

ORDERS: tuple[Order, ...] = ("uncertain", "doubtful", "random")


class DatasetPanel:
    """Wires the dataset widgets of ``module``, the module's widget, to a folder of cases and the case in the scene."""

    def __init__(self, module: Any) -> None:
        self._module, self.ui, self.say = module, module.ui, module.say
        ui = self.ui
        self._shown = CaseInScene(
            module.logic.show, lambda: module.parameters.inputVolume if module.parameters else None
        )
        self._folder, self._order = "", ORDERS[0]  # as the parameter node has them
        self._queue = ReviewQueue()
        self._list = CaseList(ui, self._queue, self.open_case)
        self._all = DetectAll(module, self._shown, self._queue, self._detected_all)
        self._adding = AddScan(module, self._shown, self._queue)
        self._turn = timer(self._take_turn)
        ui.orderComboBox.addItems([_("most uncertain first"), _("doubtful presence first"), _("random")])
        ui.orderComboBox.currentTextChanged.connect(lambda *_text: self._choose_order())
        ui.openDatasetButton.clicked.connect(lambda *_checked: self.choose_folder())
        ui.closeDatasetButton.clicked.connect(lambda *_checked: self._attempt(self._close))
        ui.detectAllButton.clicked.connect(lambda *_checked: self._attempt(self._all.start_or_cancel))
        ui.addCaseButton.clicked.connect(lambda *_checked: self._attempt(self._add_case))
        ui.annotatorLineEdit.editingFinished.connect(lambda: self._attempt(self._take_over))
        ui.commentLineEdit.textEdited.connect(lambda *_text: self._comment_typed())

    @property
    def is_open(self) -> bool:
        return self._shown.dataset is not None

    @property
    def opening(self) -> bool:
        """Whether a case is being opened: nothing else may be done then."""
        return self._shown.opening

    def choose_folder(self) -> None:
        """Let the user choose a folder and open its first case; an empty folder can become a dataset."""
        title = _("Open a dataset, or choose an empty folder for a new one")
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, self._folder)
        if folder:
            self.open_folder(str(folder))

    @answers_for_its_errors
    def open_folder(self, folder: str) -> None:
        """What choosing ``folder`` does."""
        if not self._leave():
            return
        dataset = open_or_create(Path(folder), self._models(), self._module.parameters.model)
        if dataset is None:
            return
        self._shown.remove()
        self._use(dataset, folder)  # the cases of a scene whose dataset was away are known from here on
        self._module.parameters.datasetFolder = folder
        self.ui.datasetSection.collapsed = False
        self._module.refresh()
        problems = [*without_model(dataset, self._models()), *dataset.problems()]
        if not self._queue.case_ids:
            self.say(" ".join([_no_cases(), *problems]))
        else:
            self._annotator()  # says what is wrong with the name
            self._open_case(self._place_of(self._shown.case_id), problems)

    @answers_for_its_errors
    def step(self, step: int) -> None:
        """Open the case ``step`` places further in the queue, round and round."""
        if not self._queue.case_ids:
            raise DatasetError(_no_cases())
        if self._take_over():
            return
        shown = self._shown.case_id
        place = self._queue.step(step, shown)
        if place is None and shown not in self._queue.case_ids:
            raise DatasetError(_("No case is listed; take a filter of the list away."))
        if self._leave():
            self._open_case(self._queue.case_ids.index(shown) if place is None else place)

    @answers_for_its_errors
    def save_and_next(self) -> None:
        """Save the case that is shown, then open the next one of the queue that this annotator has not reviewed."""
        if not self._save():
            return
        place = self._queue.next_unreviewed()
        if place is not None:
            self._open_case(place)
            return
        self._module.refresh()
        words = _("Saved. You have reviewed all {all} cases.")
        if len(self._queue.reviewed) < len(self._queue.case_ids):
            words = _("Saved. You have reviewed all cases that are listed.")
        self.say(words.format(all=len(self._queue.case_ids)))

    def ask_colleague(self) -> None:
        """Put a question to a colleague on the case that is shown, or take it back."""
        shown = self._shown.find()
        if shown is not None:
            review = review_of(shown[1])
            write_review(shown[1], replace(review, ask_colleague=not review.ask_colleague))
        self._module.refresh()

    def cancel(self) -> None:
        """Let nothing go on in the background."""
        self._turn.stop()
        self._all.cancel()

    @answers_for_its_errors
    def open_case(self, case_id: str) -> None:
        """Open a case of the queue by its id, as a click on the list does."""
        try:
            if not self._take_over() and not self._shown.is_up_to_date(case_id) and self._leave():
                self._open_case(self._queue.case_ids.index(case_id))
        finally:
            self._module.refresh()  # the list marks the case that is shown

    def open_named_dataset(self) -> None:
        """Open what the scene's parameters name when that has changed: a saved scene knows its dataset."""
        parameters = self._module.parameters
        order = next((order for order in ORDERS if order == parameters.order), ORDERS[0])
        if parameters.datasetFolder != self._folder:
            self._order = order
            self._use(None, parameters.datasetFolder)
            if self._folder:
                self._attempt(lambda: self._use(Dataset.open(Path(self._folder)), self._folder))
        elif order != self._order:
            self._attempt(lambda: self._make_queue(order))
        self.ui.orderComboBox.setCurrentIndex(ORDERS.index(order))

    def keep(self) -> None:
        """Keep what has changed as a draft, whatever module is open."""
        self._attempt(self._keep)

    def show(self) -> None:
        """Bring the widgets in line."""
        volume = self._module.parameters.inputVolume
        nodes = self._nodes_of(volume)
        for widget in (self.ui.closeDatasetButton, self.ui.orderComboBox, self.ui.detectAllButton):
            widget.setEnabled(self.is_open)
        for widget in (self.ui.saveNextButton, self.ui.askButton):
            widget.setEnabled(nodes is not None)
        self.ui.askButton.setChecked(nodes is not None and review_of(nodes).ask_colleague)
        self._adding.show(volume, nodes is not None)
        self.ui.caseBar.setVisible(self.is_open)
        self.ui.caseLabel.setText(self._where())
        self._list.show(self._shown.case_id)
        self._all.show()

    def _nodes_of(self, volume: Any) -> DetectionNodes | None:
        """Those of the case in the scene, where ``volume`` is its scan."""
        shown = self._shown.find()
        return shown[1] if shown is not None and shown[1].volume is volume else None

    def detected(self, nodes: DetectionNodes) -> None:
        """Store a new detection with the case it was made on."""
        case = self._shown.of_volume(nodes.volume)
        if case is not None:
            self._attempt(lambda: self._opened().save_prediction(case.id, nodes.detection))

    def check_can_detect(self, title: str) -> None:
        """Raises DatasetError while Detect all runs, or when a detection would not be one of the case shown.

        That is so when the model finds other landmarks, and when the image is not where the dataset has it.
        """
        if self._all.running:
            raise DatasetError(_("Detect all is running; wait for it, or cancel it first."))
        volume = self._module.parameters.inputVolume
        case = self._shown.of_volume(volume)
        if case is not None:
            self._opened().check_landmarks(set(self._models().get(title, self._opened().landmarks)))
            self._shown.image.check_to_detect(case, volume)

    @answers_for_its_errors
    def _attempt(self, action: Callable[[], Any]) -> None:
        action()

    # the folder

    def _opened(self) -> Dataset:
        if self._shown.dataset is None:
            raise DatasetError(_("No dataset is open; open one first."))
        return self._shown.dataset

    def _close(self) -> None:
        if self._leave():
            self._shown.remove()
            self._use(None, "")
            self._module.parameters.datasetFolder = ""
            self._module.refresh()

    def _use(self, dataset: Dataset | None, folder: str) -> None:
        self._all.cancel()
        self._shown.use(dataset)
        self._folder, self._shown.annotator = folder, ""
        with suppress(DatasetError):
            self._shown.annotator = self._annotator()
        self._make_queue()

    def _models(self) -> Models:
        return self._module.logic.landmarks()

    def _add_case(self) -> None:
        nodes = scene.find_detection(self._module.parameters.inputVolume)
        if nodes is not None and Work.of_nodes(nodes) != Work():
            self._take_over()  # corrections and remarks are kept under a name
        self._be_idle()
        self._adding.add()

    # the queue

    def _detected_all(self) -> None:
        if self.is_open:
            self._attempt(self._make_queue)
            self._module.refresh()

    def _make_queue(self, order: Order | None = None) -> None:
        order = order or self._order
        self._queue.make(self._shown.dataset, order, self._shown.annotator)
        self._order = order

    def _choose_order(self) -> None:
        parameters, order = self._module.parameters, ORDERS[self.ui.orderComboBox.currentIndex]
        if parameters and parameters.order != order:
            parameters.order = order

    def _where(self) -> str:
        if not self.is_open:
            return _("No dataset is open.")
        shown = self._shown.case_id
        words = self._queue.words(self._opened().path.name, shown)
        if any(case.id == shown for case, _nodes in self._shown.unsaved()):
            words += " " + _("This one is not saved yet.")
        return words

    def _place_of(self, case_id: str) -> int:
        return self._queue.case_ids.index(case_id) if case_id in self._queue.case_ids else 0

    def _open_case(self, place: int, words: Sequence[str] = ()) -> None:
        Dataset.open(self._opened().path)  # says whether it is out of reach
        self._queue.place = place
        self.ui.commentLineEdit.clearFocus()  # what is typed there next belongs to the next case
        case = self._opened().case(self._queue.case_ids[place])
        notice = self._shown.open(case, lambda volume: setattr(self._module.parameters, "inputVolume", volume))
        self.say(" ".join(filter(None, [notice, *words])))
        self._module.refresh()
        self._module.selectFirst()

    def _be_idle(self) -> None:
        if self._module.logic.running:
            raise DatasetError(_("A detection is running; wait for it, or cancel it first."))
        if self._shown.opening:
            raise DatasetError(_("A case is being opened; wait for it."))

    def _leave(self) -> bool:
        """Whether the case in the scene may go; asks when there is unsaved work on it.

        Raises DatasetError while a detection runs or a case is being read.
        """
        self._be_idle()
        self._module.review.write_remarks()
        if self._is_anothers_turn and self._shown.not_kept():
            self._take_over()
        with suppress(UnreadableError):  # of an older draft: this work is kept elsewhere
            self._keep()
        if self._shown.unsaved() and not self._shown.annotator:
            raise DatasetError(no_name())
        for case, nodes in self._shown.unsaved():
            question = _("Your work on case {case} is not saved. Save it now? With No it waits as a draft.")
            answer = ask(question.format(case=case.id), YES_NO | qt.QMessageBox.Cancel)
            if answer is None or (answer and not self._save(case, nodes)):
                return False
        return True

    def _keep(self) -> None:
        if self._is_anothers_turn:
            self._turn.start()  # in the next turn of the event loop: not in the middle of a change
            return
        words = self._shown.keep()
        if words:
            self.say(words)
        if not self._shown.annotator and self._module.parameters and self._shown.unsaved():
            self._annotator()  # raises: nothing is kept yet

    # the annotator's word

    def _annotator(self) -> str:
        name = self._module.parameters.annotator.strip()
        if not name:
            raise DatasetError(no_name())
        check_annotator(name)
        if self.is_open and name != self._shown.annotator:
            check_case_of_letters(_("The annotator"), name, self._opened().annotator_names())
        return name

    def _take_over(self) -> bool:
        """Make queue and case those of the annotator named in the panel; True when they had been somebody else's.

        Unsaved work of the other one stays a draft of theirs; work that was nobody's yet, and what was done since the
        other name stood in the field, is theirs who are named now. Raises DatasetError without a proper name.
        """
        if not self.is_open or not self._module.parameters:
            return False
        name = self._annotator()
        if name == self._shown.annotator == self._queue.annotator:
            return False
        self._be_idle()
        nobodys = not self._shown.annotator and bool(self._shown.unsaved())
        shown = self._shown.case_id
        if not nobodys:
            self._shown.hand_to(name)
            self._shown.remove()  # it must not become theirs where the case can not be opened again
        self._shown.annotator = name
        self._make_queue()
        if nobodys:
            self._module.refresh()
        elif self._queue.case_ids:
            self._open_case(self._place_of(shown))
        return True

    @property
    def _is_anothers_turn(self) -> bool:
        """Whether the name in the field is another one than that under which work is kept."""
        named = self.ui.annotatorLineEdit.text.strip()
        return self.is_open and bool(self._shown.annotator) and named != self._shown.annotator

    @answers_for_its_errors
    def _take_turn(self) -> None:
        """Take over once that can be done; says why not where work waits for it."""
        follower, typing = self._module.logic.follower, self.ui.annotatorLineEdit.hasFocus()
        if self._is_anothers_turn and not (typing or follower.dragging or slicer.mrmlScene.IsBatchProcessing()):
            follower.settle()
            try:
                self._take_over()
            except DatasetError:
                if self._shown.not_kept():
                    raise

    def _comment_typed(self) -> None:
        self._module.review.write_remarks()
        self._attempt(self._keep)

    def _save(self, case: Case | None = None, nodes: DetectionNodes | None = None) -> bool:
        """Save the case shown, or another one. False when the user would rather not.

        So also when what is shown was not yet the work of the annotator who is named.
        """
        shown = self._shown.find() if case is None or nodes is None else (case, nodes)
        if shown is None:
            raise DatasetError(_no_cases())
        self._be_idle()
        if self._take_over():
            self.say(_("The queue is that of {name} now; look at the case, then save.").format(name=self._annotator()))
            return False
        self._module.review.write_remarks()
        if not shown[0].folder.is_dir():
            words = _(
                "The folder of case {case} is out of reach: nothing is saved. Your work is kept on this computer."
            )
            raise DatasetError(words.format(case=shown[0].id))
        if not self._shown.save(*shown):
            self.say(_("Not saved."))
            return False
        self._queue.read(shown[0])
        return True


def _no_cases() -> str:
    return _("There is no case in this dataset yet; choose a scan and press Add scan.")
