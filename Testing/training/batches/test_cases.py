"""Annotated cases as batches: what is cut lies where the annotators say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from carotid_training.batches.cache import CACHE_VARIABLE
from carotid_training.batches.cases import CaseBatches
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.volume import Volume

from ..outcomes import LEFT, RIGHT


def test_a_case_is_cut_where_its_annotation_is_and_seen_whole(tmp_path):
    """A bright ball at each annotated point: the boxes and the whole view have it where they say that it is."""
    grid = np.stack(np.meshgrid(*[np.arange(64) * 2.0 - 63.0] * 3, indexing="ij"), axis=-1)[..., ::-1]  # x, y, z
    points = {LEFT: (21.0, -7.0, 11.0), RIGHT: (-19.0, 3.0, -9.0)}
    array = sum(2000 * np.exp(-0.5 * ((grid - np.array(point)) ** 2).sum(-1) / 4.0**2) for point in points.values())
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -63.0
    made = Dataset.create(tmp_path / "balls", [LEFT, RIGHT])
    case = made.add_case(Volume((array - 1000).astype(np.int16), affine, "balls"), split="train")
    made.save_annotation(case, "anna", points, dict.fromkeys(points, "accepted"))
    batch = CaseBatches(made, "train", 1, [LEFT, RIGHT], {2.0: 72, 1.0: 72, 0.5: 64}, seed=3).batch(5)
    assert batch.landmarks_lps[0].tolist() == [pytest.approx(points[LEFT]), pytest.approx(points[RIGHT])]

    def brightest(values: torch.Tensor, origin: torch.Tensor, spacing: float) -> list[float]:
        k, j, i = np.unravel_index(int(values.float().argmax()), values.shape)
        return (origin + spacing * torch.tensor([i, j, k])).tolist()

    for scale, boxes in batch.boxes.items():
        for n, point in enumerate(points.values()):
            cut = boxes.shape[-1] // 2 - 15  # 30 voxels in the middle: the other ball is not in them
            middle = boxes[0, n, 0, cut:-cut, cut:-cut, cut:-cut]
            place = brightest(middle, batch.box_origins_lps[scale][0, n] + cut * scale, scale)
            assert place == pytest.approx(point, abs=max(1.0, scale))
    assert brightest(batch.coarse[0, 0], batch.coarse_origin_lps[0], 4.0) == pytest.approx(points[LEFT], abs=4.0) or (
        brightest(batch.coarse[0, 0], batch.coarse_origin_lps[0], 4.0) == pytest.approx(points[RIGHT], abs=4.0)
    )


@pytest.mark.parametrize("named", ["", "~/cache"])
def test_who_has_no_place_for_the_cache_is_told_before_any_case_is_read(tmp_path, case_volume, monkeypatch, named):
    made = Dataset.create(tmp_path / "set", [LEFT, RIGHT])
    made.add_case(case_volume, "c1", split="train")
    made.save_annotation("c1", "anna", {LEFT: (1.0, 2.0, 3.0), RIGHT: None}, {LEFT: "accepted", RIGHT: "missing"})
    monkeypatch.setenv(CACHE_VARIABLE, named)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(UserError, match="CAROTID_CACHE") as refusal:
        CaseBatches(made, "train", 1, [LEFT, RIGHT], {})
    assert str(refusal.value) == (
        "CAROTID_CACHE is ~/cache, another folder wherever you work; write it out from the root on."
        if named
        else "You have no home folder here; name a folder of yours in CAROTID_CACHE."
    )
