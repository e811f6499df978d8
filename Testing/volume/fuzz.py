"""Damaged headers by the thousand: no abort, no hang, no memory beyond the data, one sentence or a scan.

``python -m Testing.volume.fuzz --seconds 600`` prints what happened and ends with 1 if anything did that must not.
The same seed and count give the same files; ``--keep FOLDER`` keeps those that failed.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import multiprocessing
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from CarotidLandmarkLib.volume import Volume, VolumeError, list_series, read_volume, write_volume
from pydicom.dataset import Dataset

from .writers import slice_of

LONGEST_S = 60
LARGEST_GROWTH_KB = 100_000  # of a process that reads files of 30 KB
NUMBERS = (b"0", b"-1", b"1", b"3", b"16", b"65536", b"4294967295", b"99999999999999999999", b"nan", b"inf", b"1e308")
INTEGERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def scan() -> Volume:
    """16 x 17 x 18 voxels."""
    return Volume(np.random.default_rng(0).integers(-1000, 1000, (18, 17, 16)).astype(np.int16), np.eye(4))


def write_enhanced(volume: Volume, path: Path) -> None:
    d = slice_of(volume, 0, "1.2.840.10008.1.2.1")
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    frames = []
    for k in range(len(volume.array)):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, k]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = d.ImageOrientationPatient, d.PixelSpacing
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = [shared], frames
    del d.ImagePositionPatient
    d.NumberOfFrames = len(frames)
    d.PixelData = (volume.array.astype(int) + 1024).astype("<u2").tobytes()
    d.save_as(path, enforce_file_format=True)


def write_seeds(folder: Path) -> list[Path]:
    """One sound input of every kind that is read."""
    volume = scan()
    for suffix in (".nrrd", ".nii", ".nii.gz", ".mha"):
        write_volume(volume, folder / f"scan{suffix}")
    raw = volume.array.tobytes()
    fields = b"type: short\ndimension: 3\nsizes: 16 17 18\nendian: little\nspace: RAS\nspace origin: (0,0,0)\n"
    fields += b'space directions: (1,0,0) (0,1,0) (0,0,1)\nspace units: "mm" "mm" "mm"\n'
    (folder / "bzip2.nrrd").write_bytes(b"NRRD0005\n" + fields + b"encoding: bzip2\n\n" + bz2.compress(raw))
    (folder / "gzip.nrrd").write_bytes(b"NRRD0005\n" + fields + b"encoding: gzip\n\n" + gzip.compress(raw))
    (folder / "plain.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        b"AnatomicalOrientation = RAI\nElementSpacing = 1 1 1\nOffset = 0 0 0\nDimSize = 16 17 18\n"
        b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + raw
    )
    for name, syntax in (("explicit", "1.2.840.10008.1.2.1"), ("implicit", "1.2.840.10008.1.2")):
        (folder / name).mkdir()
        for k in range(len(volume.array)):
            slice_of(volume, k, syntax).save_as(folder / name / f"{k:02d}.dcm", enforce_file_format=True)
    write_enhanced(volume, folder / "enhanced.dcm")
    deflated = pydicom.dcmread(folder / "enhanced.dcm")
    deflated.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    deflated.save_as(folder / "deflated.dcm", enforce_file_format=True)
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / "explicit").iterdir()):
            archive.write(file, file.name)
    return sorted(folder.iterdir())


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to eight changes, most of them in the first 2000 bytes."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        end = len(data) if chance.random() < 0.2 else min(len(data), 2000)
        if end < 2:
            break
        at = chance.randrange(end)
        way = chance.randrange(8)
        if way == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            data[at] = chance.choice((0, 255, chance.randrange(256)))
        elif way == 2:
            del data[at : at + chance.choice((1, 2, 8, 64))]
        elif way == 3:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 2, 8))))
        elif way == 4:
            data[at:at] = data[at : at + chance.choice((4, 16, 200))]
        elif way == 5:
            size = chance.choice((2, 4, 8))
            number = struct.pack(chance.choice("<>") + "Q", chance.choice(INTEGERS))
            data[at : at + size] = number[:size] if chance.random() < 0.5 else number[-size:]
        elif way == 6:
            digits = [n for n in range(at, min(end, at + 300)) if 48 <= data[n] <= 57]
            if digits:
                data[digits[0] : digits[0] + 1] = chance.choice(NUMBERS)
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def damage(seed: Path, target: Path, chance: random.Random) -> None:
    """A damaged copy of one input; of a folder, of some of its files."""
    if seed.is_file():
        target.write_bytes(mutated(seed.read_bytes(), chance))
        return
    target.mkdir()
    for file in sorted(seed.iterdir()):
        content = file.read_bytes()
        (target / file.name).write_bytes(mutated(content, chance) if chance.random() < 0.3 else content)


def read(path: str) -> tuple[str, int]:
    """What becomes of a file, and by how many kB the process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        volume = read_volume(path)
        outcome = "read with a note" if volume.notes else "read"
        if not all("\n" not in note for note in volume.notes):
            outcome = "fault: a note of several lines"
    except VolumeError as error:
        outcome = "refused" if "\n" not in str(error) else "fault: a refusal of several lines"
    except Exception as error:
        outcome = f"fault: {type(error).__name__}: {error}"
    if Path(path).is_dir() and not outcome.startswith("fault"):
        try:
            list_series(path)
        except VolumeError:
            pass
        except Exception as error:
            outcome = f"fault: in the list of series, {type(error).__name__}: {error}"
    return outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def serve(pipe: Any) -> None:
    while True:
        pipe.send(read(pipe.recv()))


class Reader:
    """A process that may abort, hang or grow."""

    def __init__(self) -> None:
        self._pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self.read_warm()

    def read_warm(self) -> None:
        """Have the libraries loaded, so that growth is that of reading."""
        with tempfile.TemporaryDirectory() as folder:
            write_volume(scan(), Path(folder, "a.nrrd"))
            self._pipe.send(str(Path(folder, "a.nrrd")))
            self._pipe.recv()

    def read(self, path: Path) -> str:
        self._pipe.send(str(path))
        if not self._pipe.poll(LONGEST_S):
            return f"fault: no answer in {LONGEST_S} s"
        try:
            outcome, growth = self._pipe.recv()
        except EOFError:
            return "fault: the process was aborted"
        return f"fault: {growth} kB of memory" if growth > LARGEST_GROWTH_KB else outcome

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def outcomes(seed: int, keep: Path | None = None) -> Iterator[tuple[str, str]]:
    """(input, outcome) without end; the same seed gives the same files."""
    chance = random.Random(seed)
    reader = None
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "seeds")
            folder.mkdir()
            seeds = write_seeds(folder)
            for number in range(1 << 31):
                source = chance.choice(seeds)
                target = Path(name, f"{number}-{source.name}")
                damage(source, target, chance)
                reader = reader or Reader()
                outcome = reader.read(target)
                if outcome.startswith("fault"):
                    reader.close()
                    reader = None
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        shutil.move(target, keep / target.name)
                yield source.name, outcome
                if target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink(missing_ok=True)
    finally:
        if reader is not None:
            reader.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    counts: Counter[str] = Counter()
    for name, outcome in outcomes(arguments.seed, arguments.keep):
        counts[outcome if not outcome.startswith("fault") else "fault"] += 1
        if outcome.startswith("fault"):
            print(f"{name}: {outcome}", flush=True)
        if time.monotonic() > end:
            break
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    return 1 if counts["fault"] else 0


if __name__ == "__main__":
    sys.exit(main())
