"""Part of the module's panel: the table of results and the sentences around it (Qt)."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from .. import scene
from ..bundle import Bundle
from ..detection import Detection, LandmarkResult, percent
from ..job import JobProgress
from ..scene import DetectionNodes, Review, position_lps, review_of
from ..uncertainty import confidence_region
from .words import timer

VERDICT_COLOURS = {"ok": "#2e7d32", "review": "#b26a00", "reject": "#b3261e"}
REVIEWED_ROW_COLOUR = "#1a5fb4"  # somebody's word, not the model's
NOT_FOUND_COLOUR = "#5f6368"
STATUS_COLUMN, LEAST_MOVE_SHOWN_MM = 1, 0.05
LEAST_PX, LARGEST_PX, FRAME_PX = 100, 260, 4
WIDEST_COLUMN_PX = 130


def at_level(detection: Detection, level: float, bundle: Bundle) -> Detection:
    """The same detection with regions for another level. Raises ValueError above what ``bundle`` is calibrated for."""

    def moved(landmark: LandmarkResult) -> LandmarkResult:
        if landmark.confidence is None:
            return landmark
        covariance, std = np.array(landmark.covariance_mm2), np.array(landmark.std_mm)
        region = confidence_region(covariance, std, landmark.name, level, bundle.metadata.calibration)
        return replace(landmark, confidence=region)

    return replace(detection, landmarks=tuple(moved(landmark) for landmark in detection.landmarks))


def verdict_word(verdict: str) -> str:
    return {"ok": _("ok"), "review": _("review"), "reject": _("reject")}[verdict]


def reviewed_words(nodes: DetectionNodes, index: int, review: Review) -> str:
    """Who has looked at the point and what came of it; "" while it is the model's word."""
    status = review.status[nodes.detection.landmarks[index].name]
    if status == "predicted":
        return ""
    who, distance = review.annotator, scene.moved_mm(nodes, index)
    if distance is not None and distance >= LEAST_MOVE_SHOWN_MM:
        words = _("reviewed by {name}, moved {distance:.1f} mm") if who else _("reviewed, moved {distance:.1f} mm")
    elif status == "missing":
        words = _("missing, says {name}") if who else _("missing")
    elif status == "accepted":
        words = _("accepted by {name}") if who else _("accepted")
    else:
        words = _("placed by {name}") if who else _("placed")
    return words.format(name=who, distance=distance)


def advice(detection: Detection) -> str:
    """One line for the radiologist: what to do with these points."""
    if detection.quality.verdict == "ok":
        return _("No sign of trouble. Look at the points before you use them.")
    return " ".join(detection.quality.reasons)


def nothing_words(volume: Any, bundles: list[Bundle]) -> str:
    """Why there is nothing in the table."""
    if not bundles:
        return _("There is no model here that can be used (the log says more); install CarotidLandmark again.")
    if volume is None:
        return _("Choose the scan under CT angiography.")
    if problem := scene.unreadable(volume):
        words = _("The points of this scan can not be read here and are left alone ({reason}).")
        return words.format(reason=problem)
    return _("Nothing has been detected in this scan yet.")


def advice_html(nodes: DetectionNodes) -> str:
    """`advice` behind the verdict, a word on its colour; the detector's notes, and which model it was, if any."""
    detection = nodes.detection
    verdict, model = detection.quality.verdict, detection.model
    words = " ".join([advice(detection), *detection.notes])
    if scene.voxels_changed(nodes):
        verdict, words = "review", _("The voxels of the scan have changed since the detection; detect again.")
    badge = f"background-color: {VERDICT_COLOURS[verdict]}; color: #ffffff"
    if model.sha256:
        words += " " + _("Model: {name} {version}.").format(name=model.name, version=model.version)
    return f'<b style="{badge}">&nbsp;{verdict_word(verdict)}&nbsp;</b> {html.escape(words)}'


def progress_words(progress: JobProgress) -> str:
    """What the detector is doing, and how long it will be."""
    names = {
        "starting": _("starting"),
        "reading": _("reading"),
        "pyramid": _("resampling"),
        "coarse": _("coarse"),
        "brighter": _("brighter"),
        "enlarged": _("enlarged"),
        "done": _("done"),
    }
    words = names.get(progress.step, progress.step)
    if progress.step.startswith("pass "):
        number, total = progress.step.split()[1::2]
        words = _("pass {number} of {total}").format(number=number, total=total)
    if progress.remaining_s is None:
        return words
    return _("{step}, about {seconds} s left").format(step=words, seconds=max(1, round(progress.remaining_s)))


class ResultsTable:
    """Fills a ``QTableWidget`` with one row per landmark and says which row the user selects."""

    def __init__(self, table: Any, selected: Callable[[int], None]) -> None:
        self._table = table
        self._selected = selected
        self._filling = False
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        self._fit()
        self._resized = timer(self._fit)  # once for many rows, when all have their heights
        table.verticalHeader().sectionResized.connect(lambda *_sizes: self._resized.start())
        table.setTextElideMode(qt.Qt.ElideNone)
        table.horizontalHeader().setMaximumSectionSize(WIDEST_COLUMN_PX)  # a long name of a landmark wraps
        table.itemSelectionChanged.connect(self._tell)

    def show(self, nodes: DetectionNodes | None) -> None:
        """Show what is in the scene now; nothing for None. The selected row stays selected."""
        row = self.row()
        detection = None if nodes is None else nodes.detection
        level = (detection.level if detection else None) or 0.9
        reach = _("± {level}%\n(mm)").format(level=percent(level))
        titles = [_("Landmark"), _("Status"), _("Presence"), reach, _("R A S (mm)")]
        self._filling = True
        try:
            self._table.setColumnCount(len(titles))
            self._table.setHorizontalHeaderLabels(titles)
            self._table.setRowCount(0 if detection is None else len(detection.landmarks))
            if nodes is not None and detection is not None:
                review = review_of(nodes)
                for index, landmark in enumerate(detection.landmarks):
                    self._fill(index, nodes, detection, landmark, review)
            header = self._table.horizontalHeader()
            for column in range(len(titles)):  # the status takes what the others leave, and wraps
                fit = qt.QHeaderView.Stretch if column == STATUS_COLUMN else qt.QHeaderView.ResizeToContents
                header.setSectionResizeMode(column, fit)
            self._resized.start()
            if 0 <= row < self._table.rowCount:
                self._table.selectRow(row)
        finally:
            self._filling = False

    def row(self) -> int:
        """The selected row, -1 without one."""
        return self._table.currentRow()

    def select(self, row: int) -> None:
        """Select a row as the user would."""
        self._table.selectRow(row)

    def _fit(self) -> None:
        """As high as what is in it, up to `LARGEST_PX`."""
        rows = sum(self._table.rowHeight(row) for row in range(self._table.rowCount))
        height = self._table.horizontalHeader().height + rows + FRAME_PX
        scrolls = height > LARGEST_PX
        self._table.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAsNeeded if scrolls else qt.Qt.ScrollBarAlwaysOff)
        self._table.setFixedHeight(min(max(height, LEAST_PX), LARGEST_PX))

    def _fill(self, row: int, nodes: DetectionNodes, detection: Detection, landmark: LandmarkResult, review: Review):
        place, world = scene.position_ras(nodes, row), scene.world_ras(nodes, row)
        region = landmark.confidence
        verdict = detection.quality.verdict_on(landmark.name)
        has_place = landmark.position_lps_mm is not None
        where, details = _("none"), [advice(detection)]
        if region is not None:
            words = _("The region at {level}% has {volume:.0f} mm³.")
            details.append(words.format(level=percent(region.level), volume=region.volume_mm3))
        if place is not None and world is not None:
            where = "{:.1f} {:.1f} {:.1f}".format(*(np.round(world, 1) + 0.0))  # never -0.0
            ijk = np.linalg.inv(scene.affine_of(nodes.volume)) @ np.append(scene.to_ras(place), 1.0)
            details.append(_("Voxel {0}, {1}, {2} (i, j, k).").format(*(round(float(value)) for value in ijk[:3])))
            if (level := scene.axial_slice(nodes, position_lps(nodes, row))) is not None:
                where += "\n" + _("slice {number}").format(number=level[0])
                details.append(_("Slice {0} of {1}, counted from the feet.").format(*level))
        cells = [
            review.labels[landmark.name],
            reviewed_words(nodes, row, review) or (verdict_word(verdict) if has_place else _("not found")),
            f"{landmark.presence:.0%}" if detection.passes else "",
            "" if region is None else "{:.1f} {:.1f} {:.1f}".format(*scene.reach_mm(nodes, region)),
            _("not placed") if scene.is_unset(nodes, row) else where,
        ]
        predicted = VERDICT_COLOURS[verdict] if has_place or verdict != "ok" else NOT_FOUND_COLOUR
        colour = predicted if review.status[landmark.name] == "predicted" else REVIEWED_ROW_COLOUR
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(" ".join(details))
            if column == STATUS_COLUMN:
                item.setBackground(qt.QBrush(qt.QColor(colour)))
                item.setForeground(qt.QBrush(qt.QColor("#ffffff")))
            self._table.setItem(row, column, item)

    def _tell(self) -> None:
        if not self._filling and self.row() >= 0:
            self._selected(self.row())
