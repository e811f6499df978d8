"""Tensors on the disk are whole or not there, are made once, and made anew where a file is cut off."""

import io

import pytest
import torch
from carotid_training.tensors import load_or_make, save_tensors

from ...full_disk import assert_all_or_nothing

MADE = {"a": torch.arange(30000.0), "b": (torch.ones(3), torch.zeros(2, dtype=torch.bool))}


def bytes_of(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("before", [None, b"the tensors before"])
def test_tensors_are_written_whole_or_not_at_all(tmp_path, before):
    assert_all_or_nothing(lambda: save_tensors(MADE, tmp_path / "t.pt"), tmp_path / "t.pt", before)


def test_tensors_are_made_once(tmp_path):
    first = load_or_make(tmp_path / "new" / "t.pt", lambda: MADE)
    again = load_or_make(tmp_path / "new" / "t.pt", lambda: 1 / 0)
    for read in (first, again):
        assert torch.equal(read["a"], MADE["a"]) and all(map(torch.equal, read["b"], MADE["b"]))


@pytest.mark.parametrize(
    "damaged",
    [b"", b"no tensors", bytes_of(MADE)[:10], bytes_of(MADE)[:60000], bytes_of(MADE)[:-10], bytes(100)],
    ids=["empty", "other", "its beginning", "its first half", "without its end", "zeros"],
)
def test_tensors_in_a_file_that_is_cut_off_are_made_anew(tmp_path, damaged):
    (tmp_path / "t.pt").write_bytes(damaged)
    assert torch.equal(load_or_make(tmp_path / "t.pt", lambda: MADE)["a"], MADE["a"])
    load_or_make(tmp_path / "t.pt", lambda: 1 / 0)
