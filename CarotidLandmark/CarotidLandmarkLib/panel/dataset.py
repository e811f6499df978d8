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
from ..dataset import Case, Dataset, DatasetError, Order, UnreadableError, check_annotator
from ..errors import UserError
from ..scene import DetectionNodes, review_of, write_review
from .cases import (
    CaseInScene,
    CaseList,
    Models,
    ReviewQueue,
    ScanAdder,
    check_detectable,
    landmarks_of,
    open_dataset,
    open_or_create,
)
from .detect_all import DetectAllPanel
from .review import ReviewPanel
from .words import ask

ORDERS: tuple[Order, ...] = ("uncertain", "doubtful", "random")


class DatasetPanel:
    """Wires the dataset widgets of ``ui`` to a folder of cases and to the case in the scene.

    ``parameters`` gives the parameter node (None while the module is not open); ``say`` shows a sentence; ``changed``
    brings the whole panel in line.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        review: ReviewPanel,
        parameters: Callable[[], Any],
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.ui = ui
        self._logic, self._review = logic, review
        self._parameters, self._say, self._changed = parameters, say, changed
        self._shown = CaseInScene(logic.show, lambda: parameters().inputVolume if parameters() else None)
        review.busy = lambda: self._shown.opening
        self._folder, self._order = "", ORDERS[0]  # as the parameter node has them
        self._queue = ReviewQueue()
        self._list = CaseList(ui.caseList, ui.onlyUnreviewedCheckBox, ui.onlyAskedCheckBox, self._queue, self.open_case)
        self._adder = ScanAdder(ui, self._shown.add)
        self._all = DetectAllPanel(ui, logic, self._shown, self._queue, parameters, say, self._detected_all)
        for word in (_("most uncertain first"), _("doubtful presence first"), _("random")):
            ui.orderComboBox.addItem(word)
        ui.orderComboBox.currentTextChanged.connect(lambda *_text: self._choose_order())
        ui.openDatasetButton.clicked.connect(lambda *_checked: self.choose_folder())
        ui.closeDatasetButton.clicked.connect(lambda *_checked: self._attempt(self._close))
        ui.detectAllButton.clicked.connect(lambda *_checked: self._attempt(self._all.start_or_cancel))
        ui.addCaseButton.clicked.connect(lambda *_checked: self._attempt(self._add_case))
        ui.annotatorLineEdit.editingFinished.connect(lambda: self._attempt(self._take_over))
        ui.commentLineEdit.textEdited.connect(lambda *_text: self._comment_typed())
        review.add_action("S", ui.saveNextButton, self.save_and_next)
        review.add_action("Q", ui.askButton, self.ask_colleague)

    @property
    def is_open(self) -> bool:
        return self._shown.dataset is not None

    def choose_folder(self) -> None:
        """Let the user choose a folder and open its first case; an empty folder can become a dataset."""
        title = _("Open a dataset, or choose an empty folder for a new one")
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, self._folder)
        if folder:
            self.open_folder(str(folder))

    def open_folder(self, folder: str) -> None:
        """What choosing ``folder`` does."""
        self._attempt(lambda: self._open_folder(folder))

    def step(self, step: int) -> None:
        """Open the case ``step`` places further in the queue, round and round."""
        self._attempt(lambda: self._step(step))

    def save_and_next(self) -> None:
        """Save the case that is shown, then open the next one of the queue that this annotator has not reviewed."""

        def go() -> None:
            if self._save():
                self._next_unreviewed()

        self._attempt(go)

    def ask_colleague(self) -> None:
        """Put a question to a colleague on the case that is shown, or take it back."""
        found = self._shown.find()
        if found is not None:
            review = review_of(found[1])
            write_review(found[1], replace(review, ask_colleague=not review.ask_colleague))
        self._changed()

    def release(self) -> None:
        """The panel ends: nothing goes on in the background."""
        self._all.release()

    def open_case(self, case_id: str) -> None:
        """Open a case of the queue by its id, as a click on the list does."""

        def go() -> None:
            found = self._shown.find()
            if self._take_over() or (found is not None and found[0].id == case_id) or not self._leave():
                self._changed()
            else:
                self._open_case(self._queue.case_ids.index(case_id))

        self._attempt(go)

    def follow_parameters(self) -> None:
        """Open what the scene's parameters name when that has changed: a saved scene knows its dataset."""
        parameters = self._parameters()
        order = next((order for order in ORDERS if order == parameters.order), ORDERS[0])
        changed, self._order = order != self._order, order
        if parameters.datasetFolder != self._folder:
            self._use(None, parameters.datasetFolder)
            if self._folder:
                self._attempt(lambda: self._use(open_dataset(Path(self._folder), self._models()), self._folder))
        elif changed and self.is_open:
            self._attempt(self._make_queue)
        self.ui.orderComboBox.setCurrentIndex(ORDERS.index(order))

    def show(self) -> None:
        """Keep what has changed as a draft, and bring the widgets in line."""
        self._attempt(self._keep)
        parameters, found = self._parameters(), self._shown.find()
        volume = parameters.inputVolume if parameters else None
        shown = found is not None and found[1].volume is volume
        for widget in (self.ui.closeDatasetButton, self.ui.orderComboBox, self.ui.detectAllButton):
            widget.setEnabled(self.is_open)
        for widget in (self.ui.saveNextButton, self.ui.askButton):
            widget.setEnabled(shown)
        self.ui.askButton.setChecked(found is not None and shown and review_of(found[1]).ask_colleague)
        self._adder.show(volume, self.is_open and volume is not None and not shown)
        self.ui.caseBar.setVisible(self.is_open)
        self.ui.caseLabel.setText(self._where(found))
        self._list.show(found[0].id if found is not None else "")
        self._all.show()

    def detected(self, nodes: DetectionNodes) -> None:
        """Store a new detection with the case it was made on."""
        found = self._shown.find()
        if found is not None and found[1].volume is nodes.volume:
            case_id = found[0].id
            self._attempt(lambda: self._opened().save_prediction(case_id, nodes.detection))

    def check_model(self, title: str) -> None:
        """Raises DatasetError while Detect all runs, or when a detection would not be one of the case shown.

        That is so when the model finds other landmarks, and when the image is not where the dataset has it.
        """
        if self._all.running:
            raise DatasetError(_("Detect all is running; wait for it, or cancel it first."))
        found = self._shown.find()
        if found is not None and found[1].volume is self._parameters().inputVolume:
            self._opened().check_landmarks(set(self._models().get(title, self._opened().landmarks)))
            check_detectable(*found)

    def _attempt(self, action: Callable[[], Any]) -> None:
        """Do it; what goes wrong becomes a sentence."""
        try:
            action()
        except UserError as error:
            self._say(str(error))
        except OSError as error:
            message = _("The dataset can not be read or written ({reason}); check the disk and your rights.")
            self._say(message.format(reason=error.strerror or error))

    # the folder

    def _opened(self) -> Dataset:
        if self._shown.dataset is None:
            raise DatasetError(_("No dataset is open; open one first."))
        return self._shown.dataset

    def _open_folder(self, folder: str) -> None:
        dataset = open_or_create(Path(folder), self._models(), self._parameters().model)
        if dataset is None or not self._leave():
            return
        self._shown.remove()
        self._use(dataset, folder)
        self._parameters().datasetFolder = folder
        self.ui.datasetSection.collapsed = False
        self._changed()
        problems = dataset.problems()
        if not self._queue.case_ids:
            self._say(" ".join([_no_cases(), *problems]))
        else:
            self._annotator()  # says what is wrong with the name
            self._open_case(0, problems)

    def _close(self) -> None:
        if self._leave():
            self._shown.remove()
            self._use(None, "")
            self._parameters().datasetFolder = ""
            self._changed()

    def _use(self, dataset: Dataset | None, folder: str) -> None:
        self._all.cancel()
        self._shown.dataset, self._folder = dataset, folder
        try:
            self._shown.annotator = self._annotator()
        except DatasetError:
            self._shown.annotator = ""
        self._make_queue()

    def _models(self) -> Models:
        return landmarks_of(self._logic.bundles)

    def _add_case(self) -> None:
        dataset, volume_node = self._opened(), self._parameters().inputVolume
        nodes = scene.find_detection(volume_node)
        if nodes is not None and review_of(nodes).reviewed:
            self._take_over()  # corrections are kept under a name
        self._be_idle()
        case = self._adder.add(volume_node)
        self._queue.case_ids.append(case.id)
        self._changed()
        words = _("Added as {case}, the last of the queue.")
        count = sum(each.group == case.group for each in dataset.cases())
        if count > 1:
            words = _("Added as {case}, the last of the queue: scan {n} of this patient.")
        self._say(words.format(case=case.id, n=count))

    # the queue

    def _detected_all(self) -> None:
        if self.is_open:
            self._attempt(self._make_queue)
            self._changed()

    def _make_queue(self) -> None:
        self._queue.make(self._shown.dataset, self._order, self._shown.annotator)

    def _choose_order(self) -> None:
        parameters, order = self._parameters(), ORDERS[self.ui.orderComboBox.currentIndex]
        if parameters and parameters.order != order:
            parameters.order = order

    def _where(self, found: tuple[Case, DetectionNodes] | None) -> str:
        if not self.is_open:
            return _("No dataset is open.")
        shown = found[0].id if found is not None else ""
        words = self._queue.words(self._opened().path.name, shown)
        if any(case.id == shown for case, _nodes in self._shown.unsaved()):
            words += " " + _("This one is not saved yet.")
        return words

    def _step(self, step: int) -> None:
        if not self._queue.case_ids:
            raise DatasetError(_no_cases())
        if self._take_over():
            return
        found = self._shown.find()
        shown = found[0].id if found is not None else ""
        place = self._queue.step(step, shown)
        if place is None and shown not in self._queue.case_ids:
            raise DatasetError(_("No case is listed; take a filter of the list away."))
        if self._leave():
            self._open_case(self._queue.case_ids.index(shown) if place is None else place)

    def _next_unreviewed(self) -> None:
        place = self._queue.next_unreviewed()
        if place is not None:
            self._open_case(place)
        else:
            self._changed()
            words = _("Saved. You have reviewed all {all} cases.")
            if len(self._queue.reviewed) < len(self._queue.case_ids):
                words = _("Saved. You have reviewed all cases that are listed.")
            self._say(words.format(all=len(self._queue.case_ids)))

    def _open_case(self, place: int, words: Sequence[str] = ()) -> None:
        self._queue.place = place
        self.ui.commentLineEdit.clearFocus()  # what is typed there next belongs to the next case
        case = self._opened().case(self._queue.case_ids[place])
        said = self._shown.open(case, lambda volume: setattr(self._parameters(), "inputVolume", volume))
        self._say(" ".join(filter(None, [said, *words])))
        self._changed()
        self.ui.resultsTable.setCurrentCell(-1, -1)
        self._review.step_landmark(1)  # all views go to the first point

    def _be_idle(self) -> None:
        if self._logic.running:
            raise DatasetError(_("A detection is running; wait for it, or cancel it first."))
        if self._shown.opening:
            raise DatasetError(_("A case is being opened; wait for it."))

    def _leave(self) -> bool:
        """Whether the case in the scene may go; asks when there is unsaved work on it.

        Raises DatasetError while a detection runs or a case is being read.
        """
        self._be_idle()
        self._review.write_remarks()
        with suppress(UnreadableError):  # of an older draft: this work is kept elsewhere
            self._keep()
        if self._shown.unsaved() and not self._shown.annotator:
            raise DatasetError(_no_name())
        for case, nodes in self._shown.unsaved():
            question = _("Your work on case {case} is not saved. Save it now? With No it waits as a draft.")
            buttons = qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel
            answer = ask(question.format(case=case.id), buttons)
            if answer is None or (answer and not self._save(case, nodes)):
                return False
        return True

    def _keep(self) -> None:
        words = self._shown.keep()
        if words:
            self._say(words)

    # the annotator's word

    def _annotator(self) -> str:
        name = self._parameters().annotator.strip()
        if not name:
            raise DatasetError(_no_name())
        check_annotator(name)
        return name

    def _take_over(self) -> bool:
        """Make queue and case those of the annotator named in the panel; True when they had been somebody else's.

        Unsaved work of the other one stays a draft of theirs. Raises DatasetError without a proper name.
        """
        if not self.is_open or not self._parameters():
            return False
        name = self._annotator()
        if name == self._shown.annotator:
            return False
        self._be_idle()
        self._keep()
        found = self._shown.find()
        self._shown.annotator = name
        self._make_queue()
        if self._queue.case_ids:
            known = found is not None and found[0].id in self._queue.case_ids
            self._open_case(self._queue.case_ids.index(found[0].id) if found is not None and known else 0)
        return True

    def _comment_typed(self) -> None:
        self._review.write_remarks()
        self._attempt(self._keep)

    def _save(self, case: Case | None = None, nodes: DetectionNodes | None = None) -> bool:
        """Save the case shown, or another one. False when the user would rather not.

        So also when what is shown was not yet the work of the annotator who is named.
        """
        found = self._shown.find() if case is None or nodes is None else (case, nodes)
        if found is None:
            raise DatasetError(_no_cases())
        self._be_idle()
        if self._take_over():
            self._say(_("The queue is that of {name} now; look at the case, then save.").format(name=self._annotator()))
            return False
        self._review.write_remarks()
        if not found[0].folder.is_dir():
            words = _("The folder of {dataset} is out of reach: nothing is saved. Your work is kept on this computer.")
            raise DatasetError(words.format(dataset=self._opened().path.name))
        if not self._shown.save(*found):
            self._say(_("Not saved."))
            return False
        self._queue.read(found[0])
        return True


def _no_name() -> str:
    return _("Type your name in the field Annotator first: your work is kept under it.")


def _no_cases() -> str:
    return _("There is no case in this dataset yet; choose a scan and press Add scan.")
