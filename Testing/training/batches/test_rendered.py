"""Rendered batches on disk: the same as rendered anew, found by the next run, and never mixed up."""

import torch
from carotid_training.batches.pool import RenderedBatches
from carotid_training.batches.stream import NeckStream
from carotid_training.necks.styles import Styles


def stream(**options):
    return NeckStream(2, weights={"sculpted": 1.0}, **options)


def test_a_batch_read_back_is_the_batch_that_was_rendered(tmp_path):
    on_disk = RenderedBatches(stream(), tmp_path)
    first, again, anew = on_disk.batch(3), on_disk.batch(3), stream().batch(3)
    for batch in (first, again):
        assert torch.equal(batch.coarse, anew.coarse)
        assert torch.equal(batch.landmarks_lps.nan_to_num(), anew.landmarks_lps.nan_to_num())
        assert torch.equal(batch.coarse_origin_lps, anew.coarse_origin_lps)
        assert torch.equal(batch.present, anew.present) and batch.index == anew.index


def test_the_next_run_finds_what_this_one_rendered(tmp_path, monkeypatch):
    RenderedBatches(stream(), tmp_path).batch(0)
    monkeypatch.setattr(NeckStream, "batch", lambda stream, index: 1 / 0)
    later = stream(start=100, rank=1, world_size=2)
    assert RenderedBatches(later, tmp_path).batch(0).index == 0


def test_another_seed_split_or_style_has_files_of_its_own(tmp_path):
    background = tmp_path / "ct.npz"
    background.touch()
    tissue = {"styles": Styles([background])}
    streams = [
        stream(),
        stream(base_seed=1),
        stream(split="validation"),
        NeckStream(2, weights={"painted": 1.0}, **tissue),
        NeckStream(2, weights={"recoloured": 1.0}, **tissue),
        NeckStream(2, weights={"sculpted": 1.0}, box_sizes={2.0: 16}),
        NeckStream(1, weights={"sculpted": 1.0}),
    ]
    assert len({RenderedBatches(s, tmp_path).folder for s in streams}) == len(streams)
