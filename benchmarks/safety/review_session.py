"""End or disturb a review session at random moments, and see whether anything that the annotator did is lost.

    python -m benchmarks.safety.review_session --moments 100 --seed 0        # as root, or: unshare -Urm python ...

An annotator moves points, marks, comments, asks, saves and steps on, in the panel on the harness of Testing/widget. At
a random moment the program is killed (kill -9), or the dataset's disk becomes full or read-only, or its folder
vanishes; with the last three the annotator goes on for a while, then the program is killed and the disk is as before.
The next session opens every case and compares what is shown with what was there when the program had last answered.
Prints one JSON line; exit status 1 on any loss. Linux only: the disk is a small tmpfs of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "widget"), str(ROOT / "Testing" / "scene")]

CASES = ("a", "b", "c", "d")
TROUBLES = ("kill", "full", "read-only", "vanished")
SAME_MM = 0.01
TURNS = 3  # of the event loop, before an act counts as answered


def main(moments: int, seed: int) -> int:
    from CarotidLandmarkLib.dataset import Dataset, check_dataset
    from scene_cases import LEFT, RIGHT, make_detection, neck_volume

    draw, wrong = random.Random(seed), []
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "share") as share:
        os.environ["CAROTID_LANDMARK_HOME"] = str(Path(name) / "home")
        dataset = Dataset.create(share / "necks", (LEFT, RIGHT))
        for case_id in CASES:
            dataset.add_case(neck_volume(5.0), case_id, group="one-patient")
            dataset.save_prediction(case_id, make_detection())
        expected: dict[str, list[Any]] = {}
        for moment in range(moments + 1):
            last = moment == moments
            trouble = "end" if last else draw.choice(TROUBLES)
            log = Path(name) / "log"
            lines = session(dataset.path, expected, log, trouble, draw, acts=not last)
            counts[trouble] += 1
            counts["acts"] += sum("done" in line for line in lines)
            wrong += [f"after {moment} moments: {loss}" for line in lines for loss in line.get("lost", [])]
            if not any("lost" in line for line in lines):
                wrong.append(
                    f"moment {moment}: the session did not begin: {log.with_suffix('.err').read_text()[-500:]}"
                )
            expected = remember(expected, lines)
            wrong += [str(each) for each in check_dataset(Dataset.open(dataset.path)) if each.level == "error"]
    print(json.dumps({"moments": moments, **counts, "lost": wrong}))
    return 1 if wrong else 0


@contextmanager
def small_disk(path: Path):
    """A file system of 4 MB."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def session(path: Path, expected: Any, log: Path, trouble: str, draw: random.Random, acts: bool) -> list[Any]:
    """One session, disturbed and killed; what it said, line by line."""
    arguments = [sys.executable, __file__, "--session", str(path), "--seed", str(draw.randrange(10**6))]
    with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
        victim = subprocess.Popen(
            [*arguments, *([] if acts else ["--only-look"])], stdin=subprocess.PIPE, stdout=out, stderr=err
        )
        assert victim.stdin is not None
        victim.stdin.write(json.dumps(expected).encode())
        victim.stdin.close()
        while victim.poll() is None and b"lost" not in log.read_bytes():
            time.sleep(0.02)
        if acts:
            time.sleep(draw.uniform(0.0, 1.0))
            with disturbed(path, trouble):
                if trouble != "kill":
                    time.sleep(draw.uniform(0.1, 1.0))
                victim.kill()
                victim.wait()
        victim.wait()
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def disturbed(path: Path, trouble: str):
    """The dataset's disk while it is full, read-only or away."""
    share, away = path.parent, path.with_name("away")
    filler = share / "filler"
    if trouble == "full":
        with filler.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(4096))
            except OSError:
                pass
    elif trouble == "read-only":
        remount(share, "ro")
    elif trouble == "vanished":
        path.rename(away)
    yield
    if trouble == "full":
        filler.unlink()
    elif trouble == "read-only":
        remount(share, "rw")
    elif trouble == "vanished":
        away.rename(path)


def remount(share: Path, how: str) -> None:
    """Again while a file is being written, which the system refuses."""
    while subprocess.run(["mount", "-o", f"remount,{how}", str(share)], capture_output=True).returncode:
        time.sleep(0.01)


def remember(expected: dict[str, list[Any]], lines: list[Any]) -> dict[str, list[Any]]:
    """What each case may show next time: as last answered, or as the act under way would have left it."""
    known = {case_id: states[:] for case_id, states in expected.items()}
    for line in lines:
        if "seen" in line or "done" in line:
            known.update({case_id: [state] for case_id, state in line["states"].items()})
        elif "doing" in line:
            known.setdefault(line["case"], []).append(line["state"])
    return known


class Session:
    """The panel with somebody in front of it."""

    def __init__(self, path: Path, seed: int) -> None:
        from harness import launch

        self.application = launch()
        import qt

        self.draw, self.qt, self.act_number = random.Random(seed), qt, 0
        self.application.answer = self.answer
        self.widget = self.application.open_module(ROOT / "CarotidLandmark" / "CarotidLandmark.py")
        self.save_asked = qt.QMessageBox.No
        self.widget.ui.annotatorLineEdit.setText("anna")
        self.widget.dataset.open_folder(str(path))

    def answer(self, box: Any) -> Any:
        """Go on with drafts; save or not when a case is left."""
        return self.save_asked if "Save it now?" in box.text else self.qt.QMessageBox.Yes

    def shown(self) -> tuple[str, Any]:
        """The case in the scene and its nodes."""
        import CarotidLandmarkLib.scene as scene

        node = self.widget.ui.inputSelector.currentNode()
        return node.GetName(), scene.find_detection(node)

    def state(self, nodes: Any) -> Any:
        """Where the points are, what was said about the case."""
        import CarotidLandmarkLib.scene as scene
        from CarotidLandmarkLib.scene.review import review_of

        review = review_of(nodes)
        return {
            "places": [scene.position_lps(nodes, index) for index in range(2)],
            "comment": review.comment,
            "ask": review.ask_colleague,
            "reviewed": list(review.reviewed),
        }

    def turn(self) -> None:
        for _ in range(TURNS):
            self.application.processEvents()

    def look(self, expected: dict[str, list[Any]]) -> list[str]:
        """Open every case; what is not as it was."""
        lost = []
        for case_id in CASES:
            self.widget.dataset.open_case(case_id)
            self.turn()
            name, nodes = self.shown()
            if name != case_id:
                lost.append(f"{case_id} can not be opened: {self.widget.ui.statusLabel.text}")
                continue
            state = self.state(nodes)
            tell(seen=case_id, states={case_id: state})
            allowed = expected.get(case_id, [])
            if allowed and not any(same(state, each) for each in allowed):
                lost.append(f"{case_id} was {allowed}, is {state}")
        return lost

    def act(self) -> None:
        """One thing that an annotator does."""
        case_id, nodes = self.shown()
        before = self.state(nodes)
        self.act_number += 1
        kind = self.draw.choice(["move", "move", "move", "comment", "ask", "accept", "missing", "save", "next"])
        after, row = json.loads(json.dumps(before)), self.draw.randrange(2)
        place = [self.draw.uniform(20, 35) * (1 if row == 0 else -1), *(self.draw.uniform(-15, 10) for _ in range(2))]
        if kind == "move":
            after["places"][row] = place
        elif kind == "comment":
            after["comment"] = before["comment"] + self.draw.choice("abcdefgh")
        elif kind == "ask":
            after["ask"] = not before["ask"]
        elif kind == "missing" and before["places"][row] is not None:
            after["places"][row] = None
        tell(doing=self.act_number, kind=kind, case=case_id, state={**after, "reviewed": []})
        if kind == "missing" and before["places"][row] is None:  # brought back to its prediction
            after["places"][row] = list(nodes.detection.landmarks[row].position_lps_mm)
            tell(doing=self.act_number, kind=kind, case=case_id, state={**after, "reviewed": []})
        self.do(kind, nodes, row, place, after)
        self.turn()
        states = {case_id: self.state(nodes)} if nodes.points.GetScene() is not None else {}
        if not states:  # the case was left: what it showed is what counts
            states = {case_id: before}
        tell(done=self.act_number, states=states, status=self.widget.ui.statusLabel.text)

    def do(self, kind: str, nodes: Any, row: int, place: Any, after: Any) -> None:
        import CarotidLandmarkLib.scene as scene
        from PySide6.QtTest import QTest

        ui = self.widget.ui
        if kind == "move":
            scene.set_position(nodes, row, place)
        elif kind == "comment":
            QTest.keyClick(ui.commentLineEdit, after["comment"][-1])
        elif kind == "ask":
            ui.askButton.click()
        elif kind in ("accept", "missing"):
            self.widget.table.select(row)
            (ui.acceptButton if kind == "accept" else ui.missingButton).click()
        elif kind == "save":
            ui.saveNextButton.click()
        else:
            self.save_asked = self.draw.choice([self.qt.QMessageBox.Yes, self.qt.QMessageBox.No])
            ui.nextCaseButton.click()


def same(state: Any, other: Any) -> bool:
    """Whether a case shows what it showed; that more was looked at than was said is no loss."""
    places = all(
        (a is None) == (b is None) and (a is None or max(abs(x - y) for x, y in zip(a, b, strict=True)) < SAME_MM)
        for a, b in zip(state["places"], other["places"], strict=True)
    )
    remarks = (state["comment"], state["ask"]) == (other["comment"], other["ask"])
    return places and remarks and set(other["reviewed"]) <= set(state["reviewed"])


def tell(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run_session(path: Path, seed: int, only_look: bool) -> None:
    """The victim: look at everything, then work until it is killed."""
    from CarotidLandmarkLib.scene.offscreen import quiet_vtk

    expected = json.load(sys.stdin)
    with quiet_vtk():
        mine = Session(path, seed)
        tell(lost=mine.look(expected))
        while not only_look:
            mine.act()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--session", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only-look", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.session:
        run_session(arguments.session, arguments.seed, arguments.only_look)
    sys.exit(main(arguments.moments, arguments.seed))
