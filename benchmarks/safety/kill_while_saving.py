"""Kill a program that saves into a dataset at random moments, and see whether anything but the save under way is lost.

    python -m benchmarks.safety.kill_while_saving --kills 200 --seed 0

After each ``kill -9`` the dataset must open, `check` must name nothing but temporary files, every acknowledged save
must be there, and `repair` must remove what the killed save left behind once it is stale. Prints one JSON line; exit
status 1 on any loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Testing" / "scene"))

import numpy as np
from CarotidLandmarkLib.dataset import AnnotationStatus, Dataset, check_dataset, repair_dataset
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.files import STALE_AFTER_S
from CarotidLandmarkLib.volume import from_array
from scene_cases import LEFT, RIGHT, make_detection

NAMES = (LEFT, RIGHT)
CASE = "first"


def scan(seed: int):
    """A scan of 32 x 32 x 32 random voxels of 4 mm around the origin."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -62.0
    return from_array(np.random.default_rng(seed).integers(-1024, 1000, (32, 32, 32)).astype(np.int16), affine)


def points(number: int) -> dict[str, tuple[float, float, float]]:
    """Two plausible points that tell which save they are from."""
    return {NAMES[0]: (30.0, number % 50 / 10, 0.0), NAMES[1]: (-30.0, 0.0, number % 50 / 10)}


def detection(number: int) -> Detection:
    """A result whose seed tells which save it is from."""
    return replace(make_detection(*points(number).values()), seed=number)


def save_forever(path: Path) -> None:
    """The victim: save annotations, predictions and cases, and say on stdout what has been saved."""
    dataset = Dataset.open(path)
    accepted: dict[str, AnnotationStatus] = dict.fromkeys(NAMES, "accepted")
    start = 1 + max(int(annotation.comment) for annotation in dataset.case(CASE).truth_annotations.values())
    for number in count(start):
        for annotator in ("anna", "ben"):
            dataset.save_annotation(CASE, annotator, points(number), accepted, comment=str(number))
            print(annotator, number, flush=True)
        dataset.save_prediction(CASE, detection(number))
        print("prediction", number, flush=True)
        if number % 5 == 0:
            print("case", dataset.add_case(scan(number)), flush=True)


def losses(path: Path, saved: list[list[str]]) -> list[str]:
    """What is wrong after a kill, given what had been acknowledged."""
    dataset = Dataset.open(path)
    wrong = [str(finding) for finding in check_dataset(dataset) if "/.tmp-" not in f"/{finding.file}"]
    annotations, prediction = dataset.case(CASE).truth_annotations, dataset.case(CASE).prediction()
    for kind, what in saved:
        if kind == "case":
            if what not in dataset.case_ids():
                wrong.append(f"case {what} is lost")
            continue
        last = prediction.seed if prediction else -1
        if (last if kind == "prediction" else int(annotations[kind].comment)) < int(what):
            wrong.append(f"save {what} of {kind} is lost")
    for annotator, annotation in annotations.items():
        if annotation.points != points(int(annotation.comment)):
            wrong.append(f"the points of {annotator} are of another save")
    return wrong


def main(kills: int, seed: int) -> int:
    draw = random.Random(seed)
    wrong: list[str] = []
    inside = saves = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset"
        dataset = Dataset.create(path, NAMES)
        dataset.add_case(scan(0), CASE)
        for annotator in ("anna", "ben"):
            dataset.save_annotation(CASE, annotator, points(0), dict.fromkeys(NAMES, "accepted"), comment="0")
        dataset.save_prediction(CASE, detection(0))
        for _ in range(kills):
            victim = subprocess.Popen(
                [sys.executable, __file__, "--victim", str(path)], stdout=subprocess.PIPE, text=True
            )
            assert victim.stdout is not None
            first = victim.stdout.readline()
            time.sleep(draw.uniform(0, 0.1))
            victim.kill()
            rest, _ = victim.communicate()
            saved = [line.split() for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")]
            saves += len(saved)
            if victim.returncode != -signal.SIGKILL:  # else the kills would have tested nothing
                wrong.append(f"the program that saves ended by itself with {victim.returncode}")
            inside += bool(dataset.temporary_files())
            wrong += losses(path, saved)
            for leftover in dataset.temporary_files():
                for each in (leftover, *leftover.rglob("*")):
                    os.utime(each, (time.time() - 2 * STALE_AFTER_S,) * 2)
            repair_dataset(dataset)
            wrong += [str(finding) for finding in check_dataset(Dataset.open(path))]
    print(json.dumps({"kills": kills, "kills_inside_a_save": inside, "saves": saves, "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victim", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.victim:
        save_forever(arguments.victim)
    sys.exit(main(arguments.kills, arguments.seed))
