"""A study as a PACS exports it: ten series, one of them the CT angiography that is meant.

``python -m Testing.volume.study`` writes 2,000 files of 512 x 512 pixels to a temporary folder and prints how long
`read_volume` takes to find and read the right one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from CarotidLandmarkLib.volume import Volume, read_volume

from ..writers import slice_of

# number, description, image type, share of the files, in the order of the scanner
SERIES = (
    (1, "Topogram 0.6 T20", "ORIGINAL PRIMARY LOCALIZER", 0.001),
    (2, "Neck plain 1.0", "ORIGINAL PRIMARY AXIAL", 0.125),
    (3, "PreMonitoring", "ORIGINAL PRIMARY AXIAL", 0.0005),
    (4, "Monitoring", "ORIGINAL PRIMARY AXIAL", 0.008),
    (5, "CTA carotis 0.6 Bv40", "ORIGINAL PRIMARY AXIAL", 0.3),
    (6, "CTA carotis MIP cor", "DERIVED SECONDARY MIP", 0.1),
    (7, "CTA carotis MonoE 40 keV", "DERIVED PRIMARY AXIAL", 0.325),
    (8, "Iodine map", "DERIVED PRIMARY AXIAL", 0.1),
    (9, "CTA carotis VRT", "DERIVED SECONDARY VRT", 0.04),
    (502, "Dose Report", "DERIVED SECONDARY OTHER", 0.0005),
)
MEANT = 5


def write_study(folder: Path, files: int, size: int) -> int:
    """Write the ten series; how many slices the one that is meant has."""
    chance = np.random.default_rng(0)
    meant = 0
    for number, description, kind, share in SERIES:
        count = max(1, round(share * files))
        meant = count if number == MEANT else meant
        affine = np.diag([0.4, 0.4, 0.6, 1.0])
        body = chance.normal(40, 150, (1, size, size))
        body[:, : size // 4] = -1000
        volume = Volume(body.astype(np.int16), affine)
        place = folder / f"{number:03d}"
        place.mkdir(parents=True)
        for k in range(count):
            dataset = slice_of(volume, 0, "1.2.840.10008.1.2.1")
            dataset.SeriesNumber, dataset.SeriesDescription, dataset.ImageType = number, description, kind.split()
            dataset.SeriesInstanceUID = f"1.2.3.{number}"
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{k}"
            dataset.PixelSpacing, dataset.ImagePositionPatient = [0.4, 0.4], [0, 0, f"{0.6 * k:.2f}"]
            dataset.InstanceNumber = k + 1
            if "VRT" in kind or "OTHER" in kind:
                del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
            dataset.save_as(place / f"{k:05d}", enforce_file_format=True)
    return meant


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write_study(Path(name), 2000, 512)
        print(f"{sum(len(list(place.iterdir())) for place in Path(name).iterdir())} files")
        for _ in range(3):
            start, busy = time.perf_counter(), time.process_time()
            volume = read_volume(name)
            print(
                f"{time.perf_counter() - start:.2f} s ({time.process_time() - busy:.2f} s of one core): {volume.size}"
            )
        print(volume.note)
