"""What pixels are decoded for: to tell copies and phases apart each file once, and never what is no CT."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.volume import dicom, list_series, read_volume, stack
from pydicom.dataset import Dataset


@pytest.fixture
def decoded(monkeypatch) -> Counter[str]:
    """How often the pixels of a file have been decoded, by its name."""
    counts: Counter[str] = Counter()
    decode = dicom.stored_values

    def counted(path: Path, name: str) -> np.ndarray:
        counts[path.name] += 1
        return decode(path, name)

    for module in (dicom, stack):
        monkeypatch.setattr(module, "stored_values", counted)
    return counts


def several_times(times: int, **tags: object):
    """An edit of an enhanced file: all of its frames as often, each time with other values."""

    def edit(dataset: Dataset) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(-1, dataset.Rows, dataset.Columns)
        frames = []
        for _ in range(times):
            for frame in dataset.PerFrameFunctionalGroupsSequence:
                copy = Dataset()
                copy.PlanePositionSequence = frame.PlanePositionSequence
                frames.append(copy)
        dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = frames, len(frames)
        dataset.PixelData = np.concatenate([stored + n for n in range(times)]).tobytes()
        for tag, value in tags.items():
            setattr(dataset, tag, value)

    return edit


def test_two_copies_of_an_enhanced_ct_are_decoded_once_each_to_tell_that_they_are(
    agree, make_volume, write_enhanced_dicom, decoded, tmp_path
):
    write_enhanced_dicom(make_volume(), tmp_path / "a.dcm", "1.2.3")
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert len(list_series(tmp_path)) == 1 and decoded == {"a.dcm": 1, "b.dcm": 1}
    read = read_volume(tmp_path)
    assert agree(read, make_volume()) and read.notes == ()


@pytest.mark.parametrize("times", [2, 5])
def test_phases_within_a_file_are_told_apart_with_one_decoding(
    agree, make_volume, write_enhanced_dicom, decoded, tmp_path, times
):
    file = write_enhanced_dicom(make_volume(), tmp_path / "a.dcm", edit=several_times(times))
    assert len(list_series(file)) == times and decoded == {"a.dcm": 1}
    assert agree(read_volume(file), make_volume())


@pytest.mark.parametrize("modality", ["MR", "SEG", "PT"])
def test_what_is_no_ct_is_never_decoded(
    agree, make_volume, write_dicom, write_enhanced_dicom, decoded, tmp_path, modality
):
    write_dicom(make_volume(), tmp_path / "ct", SeriesNumber=2)
    edit = several_times(3, Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", SeriesNumber=9)
    write_enhanced_dicom(make_volume(), tmp_path / "ct" / "other.dcm", "1.2.9", edit)
    shutil.copy(tmp_path / "ct" / "other.dcm", tmp_path / "ct" / "copy.dcm")
    assert [(row.number, row.reason) for row in list_series(tmp_path / "ct")][1:] == [("9", f"is {modality}, not CT")]
    assert agree(read_volume(tmp_path / "ct"), make_volume())
    assert not {"other.dcm", "copy.dcm"} & set(decoded)


def test_a_damaged_file_of_many_frames_is_tried_once(make_volume, write_enhanced_dicom, decoded, tmp_path):
    write_enhanced_dicom(make_volume(), tmp_path / "a.dcm", "1.2.3")
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[: -len(whole) // 3])
    list_series(tmp_path)
    assert decoded == {"a.dcm": 1, "b.dcm": 1}
