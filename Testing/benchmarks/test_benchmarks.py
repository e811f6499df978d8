"""What the benchmarks measure with: a scene that moves by the amount asked, tables that say what was measured."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from carotid_training.necks.tissue.backgrounds import UNSEEN_PATIENTS
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from CarotidLandmarkLib.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import tables
from benchmarks.accuracy import equivariance, shifted_scans
from benchmarks.cost import detection_time
from benchmarks.training import breadth


def scan_of_a_ball(affine, size, centre_lps, sd_mm):
    """A bright Gaussian ball in water, sampled on a lattice."""
    voxels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    distance = np.linalg.norm(voxels @ affine[:3, :3].T + affine[:3, 3] - centre_lps, axis=-1)
    return Volume((900 * np.exp(-0.5 * (distance / sd_mm) ** 2)).transpose(2, 1, 0).astype(np.float32), affine, "ball")


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(-2, 2)] * 3), st.floats(-0.5, 0.5))
def test_a_scene_moves_by_the_amount_asked_whatever_the_lattice(shift, angle):
    affine = np.eye(4)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1]]
    affine[:3, :3] = turn * np.array([0.8, 0.7, 1.5])
    affine[:3, 3] = [-7.0, 11.0, 40.0]
    middle = affine[:3, :3] @ [23.5, 27.5, 19.5] + affine[:3, 3]
    scene = equivariance.Scene(scan_of_a_ball(affine, (48, 56, 40), middle, sd_mm=4.0), reach_mm=2.0)

    def centre(volume):
        voxels = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), -1)[..., ::-1]
        places = volume.to_lps(voxels)
        return (volume.array[..., None] * places).sum((0, 1, 2)) / volume.array.sum()

    moved = centre(scene.moved(np.array(shift))) - centre(scene.moved(np.zeros(3)))
    assert np.allclose(moved, shift, atol=0.02)


class Brightness(torch.nn.Module):
    """A net without pooling: bright is likely. ``block``: a maximum over blocks of so many voxels first."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        if self.block > 1:
            pooled = torch.nn.functional.max_pool3d(x, self.block)
            x = torch.nn.functional.interpolate(pooled, scale_factor=self.block, mode="nearest")
        return 15 * x, torch.zeros(len(x), 4, *x.shape[2:])


def worst(block):
    """The largest deviation per scale of `Brightness` on one ball."""
    ball = (LandmarkSpec("ball", "B", "ball"),)
    net = MultiScaleLocNet(Architecture(ball, scales_mm=(4.0, 1.0), widths=((4, 8, 8, 8),) * 2, patch_sizes=(32,)))
    net.nets = torch.nn.ModuleList([Brightness(block), Brightness(block)])
    with torch.no_grad():
        for head in net.presence:
            head.bias.fill_(100.0)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    scene = equivariance.Scene(scan_of_a_ball(affine, (64, 64, 64), (47.0, 48.5, 49.0), sd_mm=5.0), reach_mm=2.0)
    shifts = equivariance.draw_shifts((4.0, 1.0), 3, 0.5, seed=0)
    deviations = equivariance.deviations(net, scene, shifts)
    assert all(len(distances) == 3 for distances in deviations.values())
    return {scale: max(distances) for scale, distances in deviations.items()}


def test_a_net_without_pooling_follows_the_scene_and_one_with_coarse_maxima_does_not():
    smooth, coarse = worst(1), worst(8)
    assert smooth["1 mm"] < 0.05 and smooth["whole chain"] < 0.05
    assert coarse["1 mm"] > 0.2


def test_a_scan_too_small_to_be_moved_is_refused():
    scan = scan_of_a_ball(np.diag([1.0, 1.0, 1.0, 1.0]), (24, 24, 24), (12, 12, 12), 3.0)
    with pytest.raises(ValueError, match="ball is too small to be moved by 4 mm"):
        equivariance.Scene(scan, reach_mm=4.0)


def test_a_table_is_the_same_for_people_and_for_programs(tmp_path, monkeypatch):
    rows = [{"model": "a", "mean mm": 0.12345, "n": 3}, {"model": "b", "mean mm": 2.0, "n": 4}]
    monkeypatch.setattr(
        tables.sys, "argv", ["/somewhere/benchmarks/cost/t.py", "--style", "a b", "/home/me/necks", "--output", "x"]
    )
    written = tables.Table("t", "How long?", "Other machines.").write(tmp_path, "What it is.", rows).read_text()
    assert written.startswith(
        "# How long?\n\nWhat it is.\n\n    python -m benchmarks.cost.t --style 'a b' necks\n\nMeasured "
    )
    assert written.endswith("\n\nIt does not show: other machines.\n")
    assert [line for line in written.splitlines() if line.startswith("|")] == [
        "| model | mean mm | n |",
        "|---|---|---|",
        "| a | 0.123 | 3 |",
        "| b | 2 | 4 |",
    ]
    with (tmp_path / "t.csv").open() as file:
        assert [float(row["mean mm"]) for row in csv.DictReader(file)] == [0.12345, 2.0]


def test_every_table_in_the_docs_says_its_question_its_command_and_what_it_does_not_show():
    root = Path(__file__).parents[2]
    pages = sorted((root / "docs" / "results").glob("*.md"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if page.name != "README.md":
            assert text.splitlines()[0].endswith("?"), page.name
            command = re.search(r"^    (?:python -m (benchmarks[\w.]+)|bash (benchmarks/\w+\.sh))", text, re.MULTILINE)
            assert command, page.name
            assert (root / (command[2] or command[1].replace(".", "/") + ".py")).is_file(), command[0]
            assert "oes not show: " in text, page.name


def test_the_first_detection_does_not_count_in_the_median_of_those_after_it():
    timings = [dict.fromkeys(detection_time.PARTS, seconds) for seconds in (60.0, 3.0, 2.0, 4.0)]
    first, later = detection_time.rows_of("tiny 1.0", "cpu", timings)
    assert (first["total (s)"], later["total (s)"]) == (60.0, 3.0)
    assert later["detection"] == "median of 3 more"


def test_a_machine_without_a_gpu_says_so_in_a_row_with_every_column(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = []
    for device in tables.devices(rows, {"style": tables.NO_GPU}):
        rows.append({"style": "painted", "device": device, "seconds": 2.0})
    assert rows[1:] == [{"style": tables.NO_GPU, "device": "cuda", "seconds": ""}]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert list(tables.devices(rows, {})) == ["cpu", "cuda"] and len(rows) == 2


def test_breadth_leaves_every_style_out_once_and_never_trains_alike_twice():
    styles = ["sculpted", "painted", "recoloured"]
    sets = breadth.style_sets(styles, styles[:2])
    assert len(set(map(frozenset, sets))) == len(sets)
    lacking = [style for chosen in sets if len(chosen) == 2 for style in set(styles) - set(chosen)]
    assert sorted(lacking) == sorted(styles)
    assert {len(chosen) for chosen in sets} == {1, 2, 3}


def test_breadth_sets_one_patient_against_all_and_calls_the_others_tissue_unseen():
    styles, everyone = ["sculpted", "painted", "recoloured"], [Path(f"{n}.npz") for n in range(70)]
    several = breadth.trainings(styles, styles[:2], everyone)
    assert len({training.name for training in several}) == len(several)
    whole, one = several[:2]
    assert set(whole.styles) == set(one.styles) == set(styles)
    assert (len(whole.patients), len(one.patients)) == (70, 1)
    assert whole.sees("painted", everyone) and not one.sees("painted", everyone)
    assert one.sees("sculpted", everyone)
    for training in several:
        assert not training.sees("unseen-tissue", everyone) and not training.sees("another generator", everyone)
    alone = breadth.trainings(styles, styles[:2], everyone[:1])
    assert [training.styles for training in alone] == breadth.style_sets(styles, styles[:2])
    assert alone[0].sees("painted", everyone[:1])
    assert all(not training.patients for training in several if set(training.styles) == {"sculpted"})


def test_the_cohort_of_unseen_tissue_is_made_of_kept_patients_alone(tmp_path, monkeypatch):
    patients = tmp_path / "patients"
    patients.mkdir()
    for number in (0, UNSEEN_PATIENTS[0]):
        (patients / f"pt_{number}.npz").touch()
    made = {}
    monkeypatch.setattr(shifted_scans, "synthesize", lambda *args, **options: made.update(options, styles=args[3]))
    shifted_scans.unseen_tissue_cohort(5, tmp_path / "cohort", 1, patients, 1, lambda done, total: None)
    assert [path.stem for path in made["styles"].paths] == [f"pt_{UNSEEN_PATIENTS[0]}"]
    assert made["splits"] == ("test",)
