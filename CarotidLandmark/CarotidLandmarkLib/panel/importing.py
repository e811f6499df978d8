"""Part of the module's panel: points of another program's file for the scan that is shown (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .. import scene
from ..errors import UserError
from ..exchange import PointsOptions, points_of_scan
from ..scene import DetectionNodes
from ..scene.review import names_of, remember, restore_landmarks, review_of, reviewed_landmarks

FILES = "Points (*.mrk.json *.fcsv *.csv *.tsv *.json);;All files (*)"


class ImportPoints:
    """Wires *Import points...* of ``ui``: ``current`` gives the detection shown, ``say`` shows a sentence, ``changed``
    brings the panel in line."""

    def __init__(
        self,
        ui: Any,
        current: Callable[[], DetectionNodes | None],
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._current, self._say, self._changed = current, say, changed
        ui.importPointsButton.clicked.connect(lambda *_checked: self.choose_file())

    def choose_file(self) -> None:
        """Let the user choose a file and take its points over."""
        title = _("Import points of this scan")
        file = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", FILES)
        file = file[0] if isinstance(file, (tuple, list)) else file
        if file:
            self.import_file(Path(str(file)))

    def import_file(self, file: Path) -> None:
        """What choosing ``file`` does: its points count as corrected; Undo takes them back."""
        nodes = self._current()
        if nodes is None:
            self._say(_("Open a case, or detect in a scan, before you import its points."))
            return
        try:
            geometry = scene.volume_from_node(nodes.volume).geometry
            name = nodes.volume.GetName()
            points, notes = points_of_scan(file, geometry, names_of(nodes), name, PointsOptions({}, None, {}))
        except UserError as error:
            self._say(str(error))
            return
        except OSError as error:
            self._say(_("{name} can not be read ({reason}).").format(name=file.name, reason=error.strerror or error))
            return
        review = review_of(nodes)
        taken = {name: ("missing" if point is None else "corrected", point) for name, point in points.items()}
        remember(nodes)
        restore_landmarks(nodes, {**reviewed_landmarks(nodes), **taken}, review.annotator, review.comment)
        self._changed()
        words = _("{count} points of {name} were taken over.").format(count=len(points), name=file.name)
        self._say(" ".join([words, *(f"{note[0].upper()}{note[1:]}." for note in notes)]))
