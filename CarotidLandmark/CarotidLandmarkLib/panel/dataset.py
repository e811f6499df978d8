"""Part of the module's panel: a dataset's folder, its review queue, and who reviews (Qt)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from .. import scene
from ..dataset import Case, Dataset, DatasetError, Order, check_annotator
from ..scene import DetectionNodes
from ..scene.review import review_of
from ..volume import VolumeError
from .case import SAME_FRAME_MM, CaseInScene
from .queue import CaseList, ReviewQueue
from .review import ReviewPanel
from .words import ask

ORDERS: tuple[Order, ...] = ("uncertain", "doubtful", "random")
PATIENT_ID = "0010,0020"


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
        self._list = CaseList(ui.caseList, ui.onlyUnreviewedCheckBox, self.open_case)
        for word in (_("most uncertain first"), _("doubtful presence first"), _("random")):
            ui.orderComboBox.addItem(word)
        ui.orderComboBox.currentTextChanged.connect(lambda *_text: self._choose_order())
        ui.openDatasetButton.clicked.connect(lambda *_checked: self.choose_folder())
        ui.closeDatasetButton.clicked.connect(lambda *_checked: self._attempt(self._close))
        ui.addCaseButton.clicked.connect(lambda *_checked: self._attempt(self._add_case))
        ui.annotatorLineEdit.editingFinished.connect(lambda: self._attempt(self._take_over))
        ui.commentLineEdit.textEdited.connect(lambda *_text: self._comment_typed())
        review.add_action("S", ui.saveNextButton, self.save_and_next)

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
                self._attempt(lambda: self._use(self._usable(Dataset.open(self._folder)), self._folder))
        elif changed and self.is_open:
            self._attempt(self._make_queue)
        self.ui.orderComboBox.setCurrentIndex(ORDERS.index(order))

    def show(self) -> None:
        """Keep what has changed as a draft, and bring the widgets in line."""
        self._attempt(self._keep)
        parameters, found = self._parameters(), self._shown.find()
        volume = parameters.inputVolume if parameters else None
        shown = found is not None and found[1].volume is volume
        self.ui.closeDatasetButton.setEnabled(self.is_open)
        self.ui.orderComboBox.setEnabled(self.is_open)
        self.ui.saveNextButton.setEnabled(shown)
        for widget in (self.ui.addCaseButton, self.ui.patientLineEdit):
            widget.setEnabled(self.is_open and volume is not None and not shown)
        self.ui.caseLabel.setText(self._where(found))
        self._list.show(self._queue, found[0].id if found is not None else "")

    def detected(self, nodes: DetectionNodes) -> None:
        """Store a new detection with the case it was made on."""
        found = self._shown.find()
        if found is not None and found[1].volume is nodes.volume:
            case_id = found[0].id
            self._attempt(lambda: self._opened().save_prediction(case_id, nodes.detection))

    def check_model(self, title: str) -> None:
        """Raises DatasetError when a detection would not be one of the case that is the input.

        That is so when the model finds other landmarks, and when the image is not where the dataset has it.
        """
        found, names = self._shown.find(), self._landmarks().get(title)
        if found is None or found[1].volume is not self._parameters().inputVolume:
            return
        if names:
            self._opened().check_landmarks(set(names))
        if not np.allclose(scene.affine_of(found[1].volume), found[0].affine_lps, atol=SAME_FRAME_MM):
            words = _("The scan of case {case} was moved since it was opened; open it again, then detect.")
            raise DatasetError(words.format(case=found[0].id))

    def _attempt(self, action: Callable[[], Any]) -> None:
        """Do it; what goes wrong becomes a sentence."""
        try:
            action()
        except (DatasetError, VolumeError, scene.SceneError) as error:
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
        path = Path(folder)
        if path.is_dir() and not any(path.iterdir()):
            question = _("{folder} is empty. Make it a new dataset?").format(folder=path.name)
            if not ask(question, qt.QMessageBox.Yes | qt.QMessageBox.No):
                return
            dataset = Dataset.create(path, self._landmarks().get(self._parameters().model, tuple(scene.LABELS)))
        else:
            dataset = self._usable(Dataset.open(path))
        if not self._leave():
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
        self._shown.dataset, self._folder = dataset, folder
        try:
            self._shown.annotator = self._annotator()
        except DatasetError:
            self._shown.annotator = ""
        self._make_queue()

    def _usable(self, dataset: Dataset) -> Dataset:
        """Raises DatasetError for landmarks that neither the module nor a model here knows."""
        if set(dataset.landmarks) not in [set(scene.LABELS), *map(set, self._landmarks().values())]:
            raise DatasetError(
                _("{folder} is about {landmarks}, which no model here finds; choose another dataset.").format(
                    folder=dataset.path.name, landmarks=", ".join(dataset.landmarks)
                )
            )
        return dataset

    def _landmarks(self) -> dict[str, tuple[str, ...]]:
        """What each model finds, by the model's title."""
        from .logic import bundle_title

        return {
            bundle_title(bundle): tuple(landmark.name for landmark in bundle.metadata.landmarks)
            for bundle in self._logic.bundles
        }

    def _add_case(self) -> None:
        dataset, volume_node = self._opened(), self._parameters().inputVolume
        nodes = scene.find_detection(volume_node)
        if nodes is not None and review_of(nodes).reviewed:
            self._take_over()  # corrections are kept under a name
        case = self._shown.add(volume_node, self.ui.patientLineEdit.text or _dicom_patient(volume_node))
        self.ui.patientLineEdit.clear()  # the next scan is another patient's, unless somebody says so
        self._queue.case_ids.append(case.id)
        self._changed()
        words = _("Added as {case}, the last of the queue.")
        count = sum(each.group == case.group for each in dataset.cases())
        if count > 1:
            words = _("Added as {case}, the last of the queue: scan {n} of this patient.")
        self._say(words.format(case=case.id, n=count))

    # the queue

    def _make_queue(self) -> None:
        self._queue.make(self._shown.dataset, self._order, self._shown.annotator)

    def _choose_order(self) -> None:
        parameters, order = self._parameters(), ORDERS[self.ui.orderComboBox.currentIndex]
        if parameters and parameters.order != order:
            parameters.order = order

    def _where(self, found: tuple[Case, DetectionNodes] | None) -> str:
        if not self.is_open:
            return _("No dataset is open.")
        queue = self._queue
        words = {"folder": self._opened().path.name, "all": len(queue.case_ids), "done": len(queue.reviewed)}
        if found is None or found[0].id not in queue.case_ids:
            return _("{folder}: {all} cases, {done} reviewed.").format(**words)
        words["n"] = queue.case_ids.index(found[0].id) + 1
        if any(case.id == found[0].id for case, _nodes in self._shown.unsaved()):
            return _("{folder}: case {n} of {all}, {done} reviewed. This one is not saved yet.").format(**words)
        return _("{folder}: case {n} of {all}, {done} reviewed.").format(**words)

    def _step(self, step: int) -> None:
        if not self._queue.case_ids:
            raise DatasetError(_no_cases())
        if self._take_over():
            return
        found = self._shown.find()
        place = self._queue.step(step, found[0].id if found is not None else "")
        if self._leave():
            self._open_case(place)

    def _next_unreviewed(self) -> None:
        place = self._queue.next_unreviewed()
        if place is not None:
            self._open_case(place)
        else:
            self._changed()
            self._say(_("Saved. You have reviewed all {all} cases.").format(all=len(self._queue.case_ids)))

    def _open_case(self, place: int, words: Sequence[str] = ()) -> None:
        self._queue.place = place
        self.ui.commentLineEdit.clearFocus()  # what is typed there next belongs to the next case
        case = self._opened().case(self._queue.case_ids[place])
        said = self._shown.open(case, self._choose_volume)
        self._say(" ".join(filter(None, [said, *words])))
        self._changed()
        self.ui.resultsTable.setCurrentCell(-1, -1)
        self._review.step_landmark(1)  # all views go to the first point

    def _be_idle(self) -> None:
        if self._logic.running:
            raise DatasetError(_("A detection is running; wait for it, or cancel it first."))
        if self._shown.opening:
            raise DatasetError(_("A case is being opened; wait for it."))

    def _choose_volume(self, volume: Any) -> None:
        self._parameters().inputVolume = volume

    def _leave(self) -> bool:
        """Whether the case in the scene may go; asks when there is unsaved work on it.

        Raises DatasetError while a detection runs or a case is being read.
        """
        self._be_idle()
        self._review.write_remarks()
        self._keep()
        for case, nodes in self._shown.unsaved():
            answer = ask(
                _("Your work on case {case} is not saved. Save it now? With No it waits as a draft.").format(
                    case=case.id
                ),
                qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel,
            )
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
        self._queue.reviewed.add(found[0].id)
        return True


def _dicom_patient(volume_node: Any) -> str:
    """The Patient ID of a scan that was loaded from the application's DICOM database, else ""."""
    instances = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    return slicer.dicomDatabase.instanceValue(instances[0], PATIENT_ID) if instances else ""


def _no_name() -> str:
    return _("Type your name in the field Annotator first: your work is kept under it.")


def _no_cases() -> str:
    return _("There is no case in this dataset yet; choose a scan and press Add scan.")
