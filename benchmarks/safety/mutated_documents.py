"""Damage documents in every way that a disk, an editor or another program may, and see what the commands say of them.

    python -m benchmarks.safety.mutated_documents --documents 2000 --seed 0

Every JSON format that the commands read (a bundle's metadata, detection.json, and a dataset's four documents) is
changed at random: cut, other types, missing and extra keys, NaN, huge numbers. A command must end with 0 or 2, say one
line on stderr when it refuses, and never end with 1, which is a fault of the program. Prints one JSON line; exit status
1 when a command fell short.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import CarotidLandmarkLib.cli as cli
import numpy as np
import torch
from CarotidLandmarkLib.bundle import Bundle, BundleMetadata, LandmarkSpec
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detection import ConfidenceRegion, Detection, LandmarkResult, ModelInfo, Quality, VolumeInfo
from CarotidLandmarkLib.volume import from_array, write_volume

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
POINTS = {LEFT: (30.0, 0.0, 4.0), RIGHT: (-30.0, 1.0, 0.0)}
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 3, 0.5, 1e308, -1e200, 10**30, 10**400, float("nan"), float("inf"), "", "x", "ä" * 300, "[/b]",
    "0.9", "../../etc", "2026-01-01", [], [1], [None] * 3, [1e300] * 3, [[]], {}, {"": None}, {"factor": -1},
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A document, and the commands that read it."""

    name: str
    path: Path
    commands: tuple[tuple[str, ...], ...]


def make_targets(folder: Path) -> list[Target]:
    """One of each: a bundle, a scan with its detection, a dataset with a prediction and two annotators."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -62.0
    scan = from_array(np.random.default_rng(0).integers(-1024, 1000, (32, 32, 32)).astype(np.int16), affine)
    write_volume(scan, folder / "scan.nrrd")
    (folder / "detection.json").write_text(_detection().to_json())
    bundle = Bundle.save(folder / "bundle", _metadata(), {"weight": torch.zeros(3)}, "# Nothing\n")
    dataset = Dataset.create(folder / "dataset", NAMES)
    for case in ("c1", "c2"):
        dataset.add_case(scan, case, group="p", split="train")
        dataset.save_prediction(case, _detection())
        for who in ("anna", "ben"):
            dataset.save_annotation(case, who, POINTS, dict.fromkeys(NAMES, "accepted"))
    of_dataset = (
        ("check", str(dataset.path)),
        ("queue", str(dataset.path)),
        ("cohort", str(dataset.path), "--csv", str(folder / "table.csv")),
        ("agreement", str(dataset.path), "-o", str(folder / "agreement")),
    )
    report = ("report", str(folder / "scan.nrrd"), str(folder / "detection.json"), "-o", str(folder / "report.html"))
    one = dataset.path / "cases" / "c1"
    return [
        Target("bundle", bundle.path / "metadata.json", (("info", str(bundle.path)),)),
        Target("detection", folder / "detection.json", (report,)),
        Target("dataset", dataset.path / "dataset.json", of_dataset),
        Target("case", one / "case.json", of_dataset),
        Target("prediction", one / "prediction.json", of_dataset),
        Target("annotation", one / "annotations" / "anna.json", of_dataset),
    ]


def mutate(text: str, draw: random.Random) -> bytes:
    """The document, damaged in one to three ways."""
    kind = draw.random()
    if kind < 0.08:
        return text[: draw.randrange(len(text))].encode()
    if kind < 0.12:
        damaged = bytearray(text.encode())
        for _ in range(draw.randint(1, 5)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        return bytes(damaged)
    if kind < 0.14:
        return draw.choice((b"", b"null", b"[]", b"3", b'"text"', b"[" * 20000, b"\xff\xfe{}", b'{"a":' * 5000))
    document = json.loads(text)
    for _ in range(draw.randint(1, 3)):
        _change(document, draw)
    return json.dumps(document).encode()


def _change(document: Any, draw: random.Random) -> None:
    containers = list(_containers(document))
    holder = draw.choice(containers)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    action = draw.randrange(5)
    if action == 0 and keys:
        del holder[draw.choice(keys)]
    elif action == 1 and isinstance(holder, dict):
        holder[draw.choice(("extra", "", "schema_version", "landmarks", "naïve"))] = deepcopy(draw.choice(ODD_VALUES))
    elif action == 2 and keys:
        holder[draw.choice(keys)] = deepcopy(draw.choice(containers))  # a part of it, where another should be
    elif action == 3 and isinstance(holder, list) and holder:
        holder.append(deepcopy(draw.choice(holder)))
    elif keys:
        holder[draw.choice(keys)] = deepcopy(draw.choice(ODD_VALUES))


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def run(arguments: tuple[str, ...]) -> tuple[int, list[str]]:
    """Exit code and stderr lines of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(list(arguments))
        except SystemExit as ending:
            return int(ending.code or 0), err.getvalue().splitlines()
    raise AssertionError("a command ends with an exit code")


def shortcomings(documents: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How often each exit code came, and what was not as it should be."""
    draw, codes, wrong = random.Random(seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        targets = make_targets(Path(name))
        for number in range(documents):
            target = targets[number % len(targets)]
            whole = target.path.read_text()
            target.path.write_bytes(mutate(whole, draw))
            for command in target.commands:
                code, lines = run(command)
                codes[str(code)] += 1
                if code not in (0, 2) or (code == 2 and len(lines) != 1) or "Traceback" in "".join(lines):
                    copy = Path(tempfile.gettempdir()) / f"mutated-{seed}-{number}-{target.path.name}"
                    shutil.copy(target.path, copy)
                    wrong.append(f"{command[0]} of {copy}: {code}, {lines}")
            target.path.write_text(whole)
    return codes, wrong


def _detection() -> Detection:
    region = ConfidenceRegion(0.9, 30.0, 25.0, (2.0, 2.0, 2.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    marks = tuple(
        LandmarkResult(name, "detected", 0.9, point, (0.5,) * 3, ((1.0, 0.0, 0.0),) * 3, region)
        for name, point in POINTS.items()
    )
    volume = VolumeInfo("scan.nrrd", (32, 32, 32), (4.0, 4.0, 4.0), "LPS")
    quality = Quality("review", ("L bifurcation: wide uncertainty.",), ((LEFT,),))
    return Detection(volume, ModelInfo("m", "1", "0" * 64), 50, 0, "cpu", {"total": 1.0}, marks, quality, ("A note.",))


def _metadata() -> BundleMetadata:
    return BundleMetadata(
        name="tiny",
        version="0.1",
        landmarks=(LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT)),
        scales_mm=(4.0, 1.0),
        patch_sizes=(16,),
        widths=((4, 8), (4, 8)),
        hu_window=(-200.0, 1000.0),
        noise_mm=5.0,
        architecture={"mirrored": True},
        torch_version="2",
        lib_version="0.1.0",
        training={"necks": 3, "styles": ["a", "b"]},
        accuracy={"mean_mm": 1.0},
        calibration={"0.9": {name: {"factor": 2.0, "n": 40} for name in NAMES}},
        intended_use="Tests.",
        licence="Apache-2.0",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    ends, failures = shortcomings(options.documents, options.seed)
    seconds = round(time.monotonic() - began)
    print(json.dumps({"documents": options.documents, "exit codes": ends, "seconds": seconds, "wrong": failures}))
    sys.exit(bool(failures))
