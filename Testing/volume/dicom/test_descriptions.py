"""What the words of a description say: with or without contrast agent, and what a series may be or be for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from CarotidLandmarkLib.volume import Volume, list_series, read_volume
from CarotidLandmarkLib.volume.dicom import read_slices
from CarotidLandmarkLib.volume.parts import Part, parts
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from ..writers import slice_of


@pytest.fixture(scope="module")
def of(tmp_path_factory) -> Callable[[str], Part]:
    """A function: the one part of a scan with that description, and an agent in its header."""
    folder = tmp_path_factory.mktemp("ct")
    volume = Volume(np.zeros((16, 16, 16), np.int16), np.eye(4))
    for k in range(16):
        slice_of(volume, k, ExplicitVRLittleEndian).save_as(folder / str(k), enforce_file_format=True)
    slices = [one for file in folder.iterdir() for one in read_slices(file, "ct") or []]

    def of(description: str) -> Part:
        file = replace(slices[0].file, description=description, agent="OMNIPAQUE 350")
        (part,) = parts([replace(one, file=file) for one in slices])
        return part

    return of


@pytest.mark.parametrize(
    "words", ["CTA Neck 0.6 for MPR", "Carotis Angio 0.75 MPR", "NECK CTA THIN (MIP)", "CTA Carotids 1.0 Map"]
)
def test_an_angiography_is_read_before_the_plain_scan_whatever_it_is_for_and_a_note_says_the_word(
    agree, make_volume, write_dicom, tmp_path, words
):
    scan = make_volume()
    write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2, SeriesDescription="Neck native 1.0")
    write_dicom(scan, tmp_path / "cd", SeriesNumber=3, SeriesDescription=words)
    read = read_volume(tmp_path / "cd")
    word = next(word for word in ("MPR", "MIP", "MAP") if word in words.upper())
    assert agree(read, scan)
    assert read.notes[1:] == (f"Series 3 (18 slices) may be computed, not scanned: its description speaks of {word}.",)
    assert "is derived" not in read.note
    assert "Neck" not in read_volume(tmp_path / "cd", alias="a scan").note


def test_of_two_angiographies_the_one_without_such_a_word_is_read(agree, make_volume, write_dicom, tmp_path):
    scan = make_volume()
    write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2, SeriesDescription="CTA Neck MIP")
    write_dicom(scan, tmp_path / "cd", SeriesNumber=3, SeriesDescription="CTA Neck")
    read = read_volume(tmp_path / "cd")
    assert agree(read, scan) and read.notes == (
        "cd holds 2 CT series or parts of series; series 3 (18 slices) was read; not read: series 2 (40 slices): its "
        "description speaks of MIP.",
    )
    assert list_series(tmp_path / "cd")[0].reason == "its description speaks of MIP"


WITH, WITHOUT = ("W", "W/", "with", "mit", "avec"), ("W/O", "WO", "without", "ohne", "sans")
JOINTS = (" ", "/", "-", " + ", " & ", " and ", " then ", ", ", " und ", " et ", " CONTRAST and ")


@settings(deadline=None)
@given(st.permutations([0, 1]), st.sampled_from(WITH), st.sampled_from(WITHOUT), st.sampled_from(JOINTS))
def test_with_and_without_is_no_plain_scan_in_whatever_order_and_words(of, order, one, other, joint):
    words = [(one, other)[n] for n in order]
    assert of(f"CTA {joint.join(words)} IV").enhancement == 2


@pytest.mark.parametrize(
    "words",
    [
        "CTA NECK WO/W CONTRAST", "CTA NECK W/O + W", "CT ANGIO NECK WO-W", "CTA NECK WO THEN W", "CTA C-/C+",
        "CTA NECK W/WO", "CTA con y sin contraste", "CTA SIN CONTRASTE Y CON CONTRASTE", "CTA sem e com contraste",
        "CTA Neck w/o iMAR", "CTA Neck w/o O-MAR", "CTA w/o gating", "CTA W/O metal artifact reduction",
    ],
)  # fmt: skip
def test_both_phases_and_a_technique_left_out_are_no_plain_scan(of, words):
    assert of(words).enhancement == 2


@pytest.mark.parametrize(
    "words",
    [
        "NECK W/O", "CTA NECK W/O DYE", "CTA W/O CON 3.0", "W/O IV CONTRAST", "CTA NECK WO AX 3MM", "CTA NECK W/O H30s",
        "CTA (W/O)", "CTA HEAD W/O BONE", "CTA NECK W/O THIN", "CTA C- 1.0", "CTA WO CM", "CTA VNC",
        "CTA sin contraste",
    ],
)  # fmt: skip
def test_without_alone_is_a_plain_scan_whatever_it_is_followed_by(of, words):
    assert of(words).enhancement == 0
