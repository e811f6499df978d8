"""Cohorts on disk: whole scans in the annotated-cases layout, with their truth; resumable; splits share no neck."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from carotid_training import seeds
from carotid_training.cli import main
from carotid_training.cohorts import statistics, synthesize
from carotid_training.necks.sculpted.neck import SculptedNeck
from carotid_training.necks.styles import Styles
from carotid_training.scans import acquisition
from carotid_training.scans.sample import Sample
from CarotidLandmarkLib.dataset import Dataset, DatasetError, check_dataset
from CarotidLandmarkLib.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

from ..stand_in_neck import StandInNeck

WEIGHTS = {"stand-in": 1.0}


class StandInStyles:
    """One crude style, picklable, so that processes can share it."""

    available = patient_like = ("stand-in",)

    def check(self, names, randomised=True):
        assert set(names) <= set(self.available)

    def check_splits(self, splits):
        pass

    def open(self):
        pass

    def fingerprint(self):
        return []

    def draw(self, style, seed, randomised):
        return StandInNeck(seed, present=(True, seed % 3 != 0))


@pytest.fixture(autouse=True)
def small_scans(monkeypatch):
    """The acquisition's own draw, but few and large voxels, so that a scan takes a tenth of a second."""
    drawn = acquisition.Acquisition.draw.__func__

    def small(cls, generator):
        p = drawn(cls, generator)
        return replace(p, matrix=128, pixel_mm=2.0, slice_mm=3.0, thickness_mm=3.0, step_at=(), step_mm=())

    monkeypatch.setattr(acquisition.Acquisition, "draw", classmethod(small))


def make(folder, cases=4, seed=1, **options):
    return synthesize.synthesize(cases, seed, folder, StandInStyles(), WEIGHTS, **options)


@given(cases=st.integers(1, 600))
def test_splits_are_the_paper_s_and_sum_up(cases):
    sizes = synthesize.split_sizes(cases)
    assert sum(sizes.values()) == cases
    for split, share in synthesize.SPLIT_SHARES.items():
        assert abs(sizes[split] - cases * share / 263) < 1
        assert synthesize.split_sizes(cases + 1)[split] >= sizes[split]


def test_263_cases_are_split_167_42_54():
    assert synthesize.split_sizes(263) == {"train": 167, "validation": 42, "test": 54}


@given(first=st.integers(0, 255), second=st.integers(0, 255))
def test_no_neck_is_in_two_splits_or_two_cohorts(first, second):
    cohorts = [synthesize.plan(40, seed) for seed in {first, second}]
    used = [seed for cases in cohorts for case in cases for seed in case.seeds]
    assert len(set(used)) == len(used)
    assert all(seeds.split_of(seed) == case.split for cases in cohorts for case in cases for seed in case.seeds)


def test_a_patient_is_the_same_one_in_cohorts_of_one_seed_and_another_one_in_others():
    once, longer, lacking, other = (
        {case.id: case.patient for case in synthesize.plan(cases, seed, lacking=few)}
        for cases, seed, few in ((9, 1, False), (30, 1, False), (30, 1, True), (30, 2, False))
    )
    assert once.items() <= longer.items()
    assert not {*longer.values()} & {*lacking.values()} and not {*longer.values()} & {*other.values()}


def test_a_written_scan_is_bright_where_its_truth_says(tmp_path):
    dataset = make(tmp_path / "cohort", cases=6)
    orientations = set()
    checked = 0
    for case in map(dataset.case, dataset.case_ids()):
        volume, annotation = case.read_volume(), case.annotation("truth")
        orientations.add(volume.geometry.orientation)
        for name, point in annotation.points.items():
            assert (point is None) == (annotation.status[name] == "missing")
            if point is None:
                continue
            i, j, k = np.rint(volume.to_voxels(point)).astype(int)
            assert volume.array[k, j, i] > 150
            checked += 1
    assert checked >= 6
    assert len(orientations) >= 4
    assert check_dataset(dataset) == []


def test_the_table_of_facts_says_what_was_written(tmp_path):
    dataset = make(tmp_path / "cohort")
    with open(tmp_path / "cohort" / "cohort.csv", newline="", encoding="utf-8") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert sorted(rows) == dataset.case_ids()
    for case in map(dataset.case, dataset.case_ids()):
        row = rows[case.id]
        assert row["split"] == case.split
        point = case.annotation("truth").points["left_carotid_bifurcation"]
        written = [row[f"left_{axis}_lps_mm"] for axis in "xyz"]
        assert written == ["", "", ""] if point is None else np.allclose(point, np.array(written, float), atol=2e-3)


def test_a_table_of_facts_that_a_spreadsheet_has_saved_is_refused_and_made_anew_where_it_is_deleted(tmp_path):
    make(tmp_path)
    written = (tmp_path / "cohort.csv").read_text(encoding="utf-8")
    marked, latin = "\ufeff" + written, written.replace("train-00000", "M\xfcller")
    for changed in (marked.encode(), written.replace(",", ";").encode(), latin.encode("latin-1"), b"case,split\na\n"):
        (tmp_path / "cohort.csv").write_bytes(changed)
        with pytest.raises(UserError, match="is not as synthesize has written it; delete it"):
            make(tmp_path)
    (tmp_path / "cohort.csv").unlink()
    make(tmp_path)
    assert (tmp_path / "cohort.csv").read_text(encoding="utf-8") == written


def test_every_neck_of_a_lacking_cohort_lacks_a_landmark_and_is_of_its_split(tmp_path):
    dataset = make(tmp_path / "cohort", cases=6, lacking=True)
    for case in map(dataset.case, dataset.case_ids()):
        annotation = case.annotation("truth")
        assert None in annotation.points.values()
        assert seeds.split_of(int(annotation.comment.rsplit(" ", 1)[1])) == case.split
    with pytest.raises(DatasetError, match="holds a cohort of another lacking"):
        make(tmp_path / "cohort", cases=6)


def test_a_lacking_cohort_of_scans_that_lack_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(StandInStyles, "draw", lambda self, style, seed, randomised: StandInNeck(seed))
    monkeypatch.setattr(synthesize, "CANDIDATES", 3)
    with pytest.raises(UserError, match="validation-00000: none of 3 necks lacks a landmark; take shorter scans"):
        make(tmp_path / "cohort", splits=("validation",), length_mm=(480.0, 500.0), lacking=True)


def test_an_interrupted_cohort_goes_on_to_the_same_result(tmp_path):
    whole = make(tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        make(tmp_path / "parts", on_case=stop)
    assert len(Dataset.open(tmp_path / "parts").case_ids()) == 2
    # Killed between the scan and its annotation.
    left = Dataset.open(tmp_path / "parts").case("train-00000").folder / "annotations"
    for file in left.iterdir():
        file.unlink()
    parts = make(tmp_path / "parts")
    assert parts.case_ids() == whole.case_ids()
    for case_id in whole.case_ids():
        assert parts.case(case_id).image_sha256 == whole.case(case_id).image_sha256
        assert parts.case(case_id).annotation("truth").points == whole.case(case_id).annotation("truth").points
    assert (tmp_path / "parts" / "cohort.csv").read_text() == (tmp_path / "whole" / "cohort.csv").read_text()


def test_a_cohort_made_split_by_split_has_the_table_of_all(tmp_path):
    for split in ("train", "test"):
        make(tmp_path / "parts", splits=(split,))
    make(tmp_path / "whole", splits=("train", "test"))
    tables = []
    for name in ("parts", "whole"):
        with open(tmp_path / name / "cohort.csv", newline="", encoding="utf-8") as stream:
            tables.append({row["case"]: row for row in csv.DictReader(stream)})
    assert tables[0] == tables[1] and {row["split"] for row in tables[0].values()} == {"train", "test"}


def test_a_call_that_was_killed_before_the_first_neck_goes_on(tmp_path):
    made = Dataset.create(tmp_path / "begun", synthesize.LANDMARKS)  # and not yet what it is made of
    assert make(made.path, cases=1).case_ids() == ["train-00000"]
    others = Dataset.create(tmp_path / "others", ("nasion",))
    with pytest.raises(DatasetError):
        make(others.path, cases=1)


def test_another_cohort_is_not_mixed_in(tmp_path):
    make(tmp_path / "cohort", cases=1, seed=1)
    with pytest.raises(DatasetError, match="holds a cohort of another seed; choose a new folder"):
        make(tmp_path / "cohort", cases=1, seed=2)


def test_a_longer_cohort_keeps_the_cases_that_it_has(tmp_path):
    short = make(tmp_path / "cohort", cases=3)
    before = {case_id: short.case(case_id).image_sha256 for case_id in short.case_ids()}
    longer = make(tmp_path / "cohort", cases=5)
    assert len(longer.case_ids()) == 5
    assert all(longer.case(case_id).image_sha256 == sha for case_id, sha in before.items())


def test_statistics_stand_beside_the_published_ones():
    rows = statistics.draw_cohort(6, 1, StandInStyles(), WEIGHTS)
    table = statistics.statistics_table(rows)
    apart = np.mean([row["distance_mm"] for row in rows if "distance_mm" in row])
    assert f"| left-right distance, mean (mm) | 59 | {apart:.3g} |" in table
    assert "(off)" in table  # the crude neck's in-plane spacing is not a scanner's
    assert "| absent: surgery |" in statistics.shares_table(rows)


def test_the_contact_sheet_shows_every_neck(tmp_path):
    samples = [
        Sample.draw(seeds.neck_seed("train", 1, n), StandInStyles(), WEIGHTS, (150.0, 160.0), randomised=False)
        for n in range(3)
    ]
    statistics.contact_sheet(samples, tmp_path / "sheet.png")
    from matplotlib import image

    picture = torch.from_numpy(image.imread(tmp_path / "sheet.png"))[..., 0]
    rows = picture.chunk(2)
    cells = [cell for row in rows for cell in row.chunk(2, dim=1)]
    # Three necks, two to a row: the fourth place is empty.
    assert [bool((cell > 0.3).float().mean() > 0.02) for cell in cells] == [True, True, True, False]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seed", "999"], "The seed 999 is out of range; use 0 to 255."),
        (["--cases", "0"], "Of 0 cases none is in the split train or validation or test; ask for more with --cases."),
        (["--splits", "test"], "Of 1 cases none is in the split test; ask for more with --cases."),
        (["--length", "200", "120"], "The length of scans is two numbers of mm, the shorter first."),
        (["--length", "nan", "120"], "The length of scans is two numbers of mm, the shorter first."),
        (["--device", "tpu"], "'tpu' is not a device; use auto, cpu, cuda, cuda:N or mps."),
    ],
)
def test_a_wrong_request_ends_with_one_sentence(tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit) as stopped:
        main(["synthesize", "--cases", "1", "--output", str(tmp_path / "cohort"), *options])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"carotid-train synthesize: {sentence}"
    assert not (tmp_path / "cohort").exists()


def test_the_recipe_is_kept_with_the_cohort(tmp_path):
    make(tmp_path / "cohort", cases=1, seed=3)
    recipe = json.loads((tmp_path / "cohort" / "cohort.json").read_text())
    own = {"generator": seeds.GENERATOR, "seed": 3, "styles": {"stand-in": 1.0}, "randomised": False, "tissue": []}
    assert recipe == own
    with pytest.raises(DatasetError, match="another randomised;"):
        make(tmp_path / "cohort", cases=1, seed=3, randomised=True)
    with pytest.raises(DatasetError, match="another shift;"):
        make(tmp_path / "cohort", cases=1, seed=3, shift="noise")


def test_a_cohort_of_another_generator_is_not_gone_on_with(tmp_path):
    make(tmp_path / "cohort", cases=1)
    path = tmp_path / "cohort" / "cohort.json"
    recipe = json.loads(path.read_text())
    for earlier in ({"generator": seeds.GENERATOR - 1}, {"generator": None}):
        # The first generator did not write its number.
        path.write_text(json.dumps({name: value for name, value in (recipe | earlier).items() if value is not None}))
        with pytest.raises(DatasetError, match="another generator"):
            make(tmp_path / "cohort", cases=2)
    assert len(Dataset.open(tmp_path / "cohort").case_ids()) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_cohort_whose_recipe_is_damaged_is_not_gone_on_with(tmp_path, damage):
    make(tmp_path / "cohort", cases=1)
    (tmp_path / "cohort" / "cohort.json").write_bytes(damage)
    with pytest.raises(
        UserError, match=r"cohort\.json is damaged: it is not .*; restore it, or begin in another folder"
    ):
        make(tmp_path / "cohort", cases=2)
    assert len(Dataset.open(tmp_path / "cohort").case_ids()) == 1


def test_a_cohort_is_of_patients_unless_randomised_necks_are_asked_for():
    patients, mixture = (statistics.draw_cohort(2, 5, Styles(), {"sculpted": 1.0}, wilder) for wilder in (False, True))
    assert not any(row["neck_wild"] for row in patients)
    assert any(row["neck_wild"] for row in mixture)
    # The dice stay in step: where the mixture holds a patient, the cohort holds one with the same scan and disease.
    for alone, mixed in zip(patients, mixture, strict=True):
        assert alone["in_plane_mm"] == mixed["in_plane_mm"]
        keys = ("neck_fat_mm", "neck_arterial_hu", "neck_left_disease", "neck_right_disease")
        assert mixed["neck_wild"] or all(alone[key] == mixed[key] for key in keys)
    assert SculptedNeck(3).facts["randomised"] and not SculptedNeck(3, randomised=False).facts["randomised"]


def test_a_cohort_of_patients_has_no_phantoms_and_no_style_that_is_randomised_by_nature(tmp_path):
    for number in range(400):
        seed = seeds.neck_seed("train", 2, number)
        if Sample.draw(seed, StandInStyles(), WEIGHTS, randomised=True).scanner.region == "empty":
            break
    assert Sample.draw(seed, StandInStyles(), WEIGHTS, randomised=True).scanner.region == "empty"
    assert Sample.draw(seed, StandInStyles(), WEIGHTS, randomised=False).scanner.region == "carotids"
    background = tmp_path / "ct.npz"
    background.touch()
    styles = Styles([background])
    assert styles.patient_like == ["sculpted", "painted"]
    with pytest.raises(ValueError, match="--randomised"):
        synthesize.synthesize(1, 1, tmp_path / "cohort", styles, {"recoloured": 1.0})
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize("name", ["thick-slices", "noise", "weak-contrast"])
def test_a_shifted_scan_shows_the_same_patient_beyond_what_training_draws(name):
    usual, shifted = (
        Sample.draw(5, StandInStyles(), WEIGHTS, (150.0, 160.0), randomised=False, shift=shift)
        for shift in (None, name)
    )
    before, after = usual.scanner.acquisition, shifted.scanner.acquisition
    drawn = [acquisition.Acquisition.draw(seeds.generator(n, "scan")) for n in range(200)]
    assert torch.equal(usual.scanner.neck_to_lps, shifted.scanner.neck_to_lps)
    assert shifted.scanner.slices * after.slice_mm == pytest.approx(usual.scanner.slices * before.slice_mm, abs=5)
    beyond = {"thick-slices": "slice_mm", "noise": "noise_hu", "weak-contrast": "contrast_gain"}[name]
    values = [getattr(one, beyond) for one in drawn]
    assert not min(values) <= getattr(after, beyond) <= max(values)


def test_a_child_is_the_same_picture_with_smaller_voxels_and_the_truth_in_the_same_of_them():
    usual, child = (
        Sample.draw(7, StandInStyles(), WEIGHTS, (120.0, 130.0), randomised=False, shift=shift)
        for shift in (None, "child")
    )
    (picture, affine, truth), (smaller, scaled, moved) = (one.scanner.acquire(one.neck) for one in (usual, child))
    assert np.array_equal(picture, smaller)
    assert np.allclose(np.linalg.norm(scaled[:3, :3], axis=0), 0.6 * np.linalg.norm(affine[:3, :3], axis=0))

    def voxels(points, matrix):
        return (np.column_stack([points, np.ones(2)]) @ np.linalg.inv(matrix).T)[:, :3]

    assert truth.present.all() and torch.equal(truth.present, moved.present)
    assert np.allclose(voxels(truth.points_lps, affine), voxels(moved.points_lps, scaled), atol=1e-6)
    for fact in ("in_plane_mm", "slice_spacing_mm", "length_mm", "distance_mm"):
        assert child.facts()[fact] == pytest.approx(0.6 * usual.facts()[fact], rel=1e-2)
    assert child.facts()["in_plane_mm"] == pytest.approx(np.linalg.norm(scaled[:3, :3], axis=0).min(), rel=1e-3)


def test_a_rolled_patient_lies_on_the_left_side_in_the_same_scan():
    usual, rolled = (
        Sample.draw(7, StandInStyles(), WEIGHTS, (120.0, 130.0), randomised=False, shift=shift)
        for shift in (None, "rolled")
    )
    assert torch.equal(usual.scanner.gantry_to_lps, rolled.scanner.gantry_to_lps)
    assert usual.scanner.mirrored == rolled.scanner.mirrored
    to_gantry = torch.linalg.inv(usual.scanner.gantry_to_lps)
    before, after = (
        acquisition.transform(to_gantry, one.scanner.truth(one.neck).points_lps) for one in (usual, rolled)
    )
    across, turned = before[0] - before[1], after[0] - after[1]  # from the right bifurcation to the left one
    assert turned.norm().item() == pytest.approx(across.norm().item())
    assert torch.allclose(before[:, 2], after[:, 2]) and torch.allclose(before.norm(dim=1), after.norm(dim=1))
    angle = math.degrees(math.atan2(turned[1], turned[0]) - math.atan2(across[1], across[0]))
    assert angle == pytest.approx(45.0)  # the left one sinks to the back


def test_an_unknown_shift_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        ValueError, match="There is no shift 'fog'; use one of thick-slices, noise, weak-contrast, child, rolled"
    ):
        make(tmp_path / "cohort", shift="fog")
    assert not (tmp_path / "cohort").exists()
