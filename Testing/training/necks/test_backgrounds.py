"""Backgrounds of any kind: coarse, narrow, cut off, with table and arms; many of them on disk; patients kept apart."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from carotid_training import seeds
from carotid_training.cohorts import synthesize
from carotid_training.necks.neck import Grid
from carotid_training.necks.styles import Styles
from carotid_training.necks.tissue import backgrounds as many
from carotid_training.necks.tissue import painted, recoloured
from carotid_training.necks.tissue.background import Background
from carotid_training.necks.tissue.backgrounds import UNSEEN_PATIENTS, Backgrounds, background_paths, scan_name
from carotid_training.necks.tissue.preparation import _prepare, prepare_folder
from CarotidLandmarkLib.volume import Volume, VolumeError, write_volume
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from .drawn_ct import LEVEL_MM, ORIGIN, SPACING, UP, is_plain, synthetic_ct

TOP_MM = 105.0  # the scan's upper end above C4
KEPT = f"pt_{UNSEEN_PATIENTS[0]}"
UNUSABLE = (89, 143, 203, 318, 340)  # of open-kbp: the crop leaves no neck


def rescanned(
    plane_mm: float = 4.0,
    slice_mm: float = 2.5,
    width_mm: float = 200.0,
    lowest_mm: float = -58.0,
    highest_mm: float = TOP_MM,
    tooth: bool = False,
    airway: bool = True,
    foramina: bool = True,
    table: bool = False,
    arms: bool = False,
    blank: int = 0,
) -> Volume:
    """The drawn neck as another scanner shows it; C4's middle is at (0, 0, 0)."""
    hu = synthetic_ct(TOP_MM).array.astype(np.float32)
    z, y, x = (ORIGIN[a] + SPACING[a] * np.arange(hu.shape[2 - a]) for a in (2, 1, 0))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    if not tooth:
        hu[np.hypot(np.hypot(x - 30, y + 55), z - 20) < 6] = 55
    if not airway:
        hu[(np.hypot(x, y + 28) < 10) & (z < 47)] = 55
    if not foramina:
        hu[(np.hypot(np.abs(x) - 15.5, y - 9) < 6.5) & (np.abs(x) > 10) & (z < 42)] = 55
    hu = np.where((np.abs(x) < width_mm / 2) & (np.abs(y + 3) < width_mm / 2), hu, -1000)
    hu = hu[(z[:, 0, 0] >= lowest_mm) & (z[:, 0, 0] <= highest_mm)]
    start = np.array([ORIGIN[0], ORIGIN[1], max(lowest_mm, ORIGIN[2])])
    pad = ((0, 0), (0, 30), (30, 30))
    hu = np.pad(hu, pad, constant_values=-1000)
    start[0] -= 30 * SPACING[0]
    if table:
        hu[:, -8:-5, :] = 150
    if arms:
        hu[: len(hu) // 2, 40:75, 3:20] = hu[: len(hu) // 2, 40:75, -20:-3] = 60
    hu = np.pad(hu, ((blank, blank), (0, 0), (0, 0)), constant_values=-1024)
    start[2] -= blank * SPACING[2]
    spacing = np.array([plane_mm, plane_mm, slice_mm])
    hu = ndimage.zoom(ndimage.gaussian_filter(hu, 0.35 * (spacing / SPACING)[::-1]), (SPACING / spacing)[::-1], order=1)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = start
    return Volume(np.round(hu).astype(np.int16), affine)


@pytest.fixture(scope="module")
def coarse() -> Background:
    return Background.prepare(rescanned())


SPARSE = {
    "plane_mm": 4.0, "slice_mm": 5.0, "width_mm": 110.0, "lowest_mm": -20.0, "tooth": False, "airway": False,
    "foramina": False, "table": False, "arms": False, "blank": 0,
}  # fmt: skip


@pytest.mark.slow
@settings(max_examples=3, deadline=None)  # 5 s each
@given(
    plane_mm=st.sampled_from([1.2, 2.5, 4.0, 4.7]),
    slice_mm=st.sampled_from([1.5, 2.5, 3.3, 5.0]),
    width_mm=st.sampled_from([110.0, 140.0, 200.0]),
    lowest_mm=st.sampled_from([-58.0, -40.0, -20.0]),
    tooth=st.booleans(),
    airway=st.booleans(),
    foramina=st.booleans(),
    table=st.booleans(),
    arms=st.booleans(),
    blank=st.sampled_from([0, 5]),
)
@example(**SPARSE | {"table": True, "arms": True, "blank": 5})
@example(**SPARSE | {"slice_mm": 1.5, "plane_mm": 1.2, "width_mm": 200.0, "lowest_mm": -58.0, "foramina": True})
@example(**SPARSE | {"slice_mm": 3.3, "plane_mm": 1.2})
def test_any_scan_of_a_neck_with_the_skull_base_becomes_tissue_at_the_right_level(**scan):
    background = Background.prepare(rescanned(**scan))
    assert abs(background.upper - TOP_MM) < 10  # its lattice starts at C4
    assert np.abs(np.diff(background.levels[1:6, 2]) + LEVEL_MM).max() < 3.5
    assert np.abs(background.levels[1:6, :2]).max() < 6
    grid = Grid.aligned(torch.tensor([25.0, -10, 0]), 2.0, (24, 24, 24))
    for style in (painted, recoloured):
        neck = style.draw(3, [background])
        assert neck.render([grid])[0].isfinite().all()
        assert neck.bifurcations(torch.tensor([0.0, 0, 1], dtype=torch.float64)).isfinite().all()
        assert neck.metal.isfinite().all()


def test_a_scan_that_ends_below_the_skull_is_placed_by_its_chin():
    volume = rescanned(plane_mm=2.0, highest_mm=48.0)
    x, y, z = (
        volume.affine_lps[a, 3] + volume.affine_lps[a, a] * np.arange(volume.array.shape[2 - a]) for a in range(3)
    )
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    array = volume.array.copy()
    array[(np.abs(x) < 35) & (y > -84) & (y < -62) & (z > -40)] = 40  # soft tissue before the airway, with a jaw in it
    array[(np.abs(x) < 22) & (y > -80) & (y < -68) & (z > 7)] = 900
    background = Background.prepare(Volume(array, volume.affine_lps))
    assert abs(background.upper - 48.0) < 12
    with pytest.raises(VolumeError, match="neither skull base nor chin"):
        Background.prepare(volume)


def test_what_shows_no_whole_neck_at_c4_is_refused_in_a_sentence():
    for scan in ({"width_mm": 55.0}, {"lowest_mm": 25.0}):
        with pytest.raises(VolumeError, match=r"whole neck") as caught:
            Background.prepare(rescanned(**scan))
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_slices_that_show_only_the_spine_are_not_taken_for_the_neck(coarse):
    """Planning CTs may be cut to what was planned: a block of neck, and the canal's surroundings below it."""
    volume = rescanned()
    array = volume.array.copy()
    x, y, z = (volume.affine_lps[a, 3] + volume.affine_lps[a, a] * np.arange(array.shape[2 - a]) for a in range(3))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    array[(z < -25) & (np.hypot(x, y - 10) > 20)] = -1024
    background = Background.prepare(Volume(array, volume.affine_lps))
    assert -33 < background.lower < -20
    assert np.abs(background.levels - coarse.levels).max() < 4


def test_lumens_keep_sharp_edges_in_coarse_tissue(coarse):
    measured = 0
    for seed in range(12):
        neck = painted.draw(seed, [coarse], False)
        if not is_plain(neck, 0):
            continue
        tube = next(tube for tube in neck.tree.tubes if tube.name == "left_common_carotid")
        split = neck.bifurcations(UP)[0]
        below = tube.points[np.argmin(np.abs(tube.points[:, 2] - float(split[2]) + 12.0))]
        hu = neck.render([Grid.aligned(torch.from_numpy(below), 0.5, (1, 25, 25))])[0][0]
        slope = max(float(hu.diff(dim=axis).abs().max()) for axis in (0, 1))
        assert slope > 0.25 * (tube.hu - 60.0)  # voxels of 4 mm alone: at most an eighth
        if (measured := measured + 1) == 4:
            return
    raise AssertionError(f"only {measured} necks to measure")


def test_a_coarse_patient_takes_little_room_on_disk_and_keeps_its_own_texture(coarse, tmp_path):
    coarse.save(tmp_path / "coarse.npz")
    assert (tmp_path / "coarse.npz").stat().st_size < 1_000_000
    assert torch.equal(
        coarse.on("cpu", "quiet"), coarse.on("cpu", "hu")
    )  # a median over 12 mm would be no noise filter


@pytest.fixture(scope="module")
def prepared(coarse, tmp_path_factory):
    """A folder of six prepared patients, one of them kept from training."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in ("pt_0", "pt_00", "pt_000", "a", "b", KEPT):
        coarse.save(folder / f"{name}.npz")
    return folder


def test_backgrounds_are_read_when_drawn_and_few_stay_in_memory(prepared, coarse, monkeypatch):
    read = []
    load = Background.load.__func__
    monkeypatch.setattr(Background, "load", classmethod(lambda cls, path: (read.append(path.name), load(cls, path))[1]))
    monkeypatch.setattr(many, "_KEPT_VOXELS", 2 * coarse.hu.size)
    held = Backgrounds(background_paths([prepared]))
    held.open()
    assert read == []
    for number in (0, 0, 1, 0, 2, 0, 1):
        assert np.array_equal(held[number].hu, coarse.hu)
    assert read == ["a.npz", "b.npz", "pt_0.npz", "b.npz"]
    assert len(held._kept) == 2
    assert len(pickle.dumps(held)) < 10_000


def test_a_neck_follows_from_its_seed_and_the_names_of_the_backgrounds(prepared, tmp_path):
    files = background_paths([prepared])
    grid = Grid.aligned(torch.tensor([20.0, -10, 0]), 3.0, (16, 16, 16))
    first = Styles(files).draw("painted", 5, False).render([grid])[0]
    assert torch.equal(Styles(files[::-1]).draw("painted", 5, False).render([grid])[0], first)
    assert torch.equal(Styles([prepared]).draw("painted", 5, False).render([grid])[0], first)
    assert [scan_name(path) for path in Styles([prepared]).paths] == ["a", "b", "pt_0", "pt_00", "pt_000"]


def test_a_damaged_or_foreign_file_is_told_before_anything_is_drawn(prepared, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    np.savez(tmp_path / "other.npz", a=1)
    for name in ("bad", "other"):
        with pytest.raises(VolumeError, match=f"{name}.npz is not a prepared background"):
            Styles([prepared / "a.npz", tmp_path / f"{name}.npz"]).open()


def test_sixteen_patients_are_kept_and_always_the_same():
    assert UNSEEN_PATIENTS == (6, 48, 71, 86, 90, 156, 181, 218, 224, 254, 268, 275, 280, 287, 310, 331)


def test_kept_patients_are_the_first_by_hash_of_those_that_can_be_used():
    folder = os.environ.get("CAROTID_PATIENTS")
    if not folder:
        pytest.skip("set CAROTID_PATIENTS to the folder of open-kbp's CTs or of its prepared backgrounds to run this")
    from hashlib import sha256

    names = [
        path
        for unseen in (False, True)
        for path in map(scan_name, background_paths([folder], unseen))
        if path[:3] == "pt_"
    ]
    names = sorted(
        set(names) - {f"pt_{number}" for number in UNUSABLE}, key=lambda name: sha256(name.encode()).digest()
    )
    assert sorted(int(name[3:]) for name in names[:16]) == list(UNSEEN_PATIENTS)


def test_training_and_validation_never_see_the_kept_patients(prepared):
    assert KEPT not in [scan_name(path) for path in Styles([prepared]).paths]
    with pytest.raises(ValueError, match="no training may see"):
        Styles([prepared / f"{KEPT}.npz"])
    unseen_styles = Styles([prepared], unseen=True)
    assert [scan_name(path) for path in unseen_styles.paths] == [KEPT]
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match="for the split test alone"):
            unseen_styles.draw("painted", seeds.neck_seed(split, 0, 0), False)
    assert unseen_styles.draw("painted", seeds.neck_seed("test", 0, 0), False).style == "painted"


def test_a_cohort_of_kept_patients_has_test_cases_only(prepared, tmp_path):
    unseen_styles, weights = Styles([prepared], unseen=True), {"painted": 1.0}
    with pytest.raises(ValueError, match="for the split test alone"):
        synthesize.synthesize(5, 1, tmp_path / "all", unseen_styles, weights)
    assert not (tmp_path / "all").exists()


def test_no_two_backgrounds_share_a_name_and_none_is_missing(prepared, tmp_path):
    twin = tmp_path / "a.npz"
    twin.write_bytes((prepared / "a.npz").read_bytes())
    with pytest.raises(ValueError, match="Two backgrounds are named a"):
        background_paths([prepared, twin])
    with pytest.raises(ValueError, match=r"gone\.npz does not exist"):
        background_paths([tmp_path / "gone.npz"])
    with pytest.raises(ValueError, match="none of the patients that no training sees"):
        background_paths([tmp_path], unseen=True)
    with pytest.raises(ValueError, match="no folder of them is given"):
        Styles([], unseen=True)


def test_a_folder_of_cts_is_prepared_once_and_says_what_was_refused(tmp_path):
    folder, output, told = tmp_path / "cts", tmp_path / "prepared", []
    folder.mkdir()
    write_volume(rescanned(), folder / "good.nii.gz")
    write_volume(rescanned(width_mm=55.0), folder / "narrow.nii.gz")
    (folder / "broken.nii").write_bytes(b"nothing")
    assert prepare_folder(folder, output, on_scan=lambda *scan: told.append(scan)) == (1, 2)
    assert [path.name for path in output.iterdir()] == ["good.npz"]
    assert dict(told)["good"] == "" and "wider field of view" in dict(told)["narrow"] and dict(told)["broken"]
    stamp = (output / "good.npz").stat().st_mtime_ns
    assert prepare_folder(folder, output) == (1, 2)
    assert (output / "good.npz").stat().st_mtime_ns == stamp
    (output / "broken.npz").write_bytes(b"a thesis")
    prepare_folder(folder, output, on_scan=lambda *scan: told.append(scan))
    assert dict(told)["broken"] == "broken.npz is not a prepared background; prepare it again when the file is removed."
    assert (output / "broken.npz").read_bytes() == b"a thesis"
    for wrong in (output, tmp_path / "gone"):
        with pytest.raises(ValueError, match=r"no CT|no folder"):
            prepare_folder(wrong, tmp_path / "none")


def test_a_ct_that_was_exchanged_under_its_name_is_prepared_anew_where_it_is_known_what_was_prepared(tmp_path):
    folder, output = tmp_path / "cts", tmp_path / "prepared"
    folder.mkdir()
    output.mkdir()

    def prepared_after(noise: int) -> np.ndarray:
        volume = rescanned()
        write_volume(Volume(volume.array + np.int16(noise), volume.affine_lps), folder / "pt_1.nrrd")
        assert _prepare(output, folder / "pt_1.nrrd") == ""  # a process of its own would take longer
        return Background.load(output / "pt_1.npz").hu

    first, second = prepared_after(0), prepared_after(20)
    assert not np.array_equal(first, second)
    Background.load(output / "pt_1.npz").save(output / "pt_1.npz")  # as version 0.1 did, which did not say of what
    assert np.array_equal(prepared_after(40), second)


def test_a_background_is_told_apart_by_the_voxels_beside_its_header_too(tmp_path):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 16 16 16\nspacings: 1 1 1\nendian: little\nencoding: raw\n"
    (tmp_path / "a.nhdr").write_text(f"{header}data file: a.raw\n")
    prints = []
    for voxel in (b"a", b"b"):
        (tmp_path / "a.raw").write_bytes(voxel * 8192)
        prints.append(Styles([tmp_path / "a.nhdr"]).fingerprint())
    assert prints[0] != prints[1]


def test_a_cohorts_record_tells_dicom_folders_apart_by_their_files_and_not_by_a_patients_name(tmp_path):
    folders = [tmp_path / name / "Mueller_Hans" for name in ("one", "same", "other")]
    for folder, voxels in zip(folders, (b"a", b"a", b"b"), strict=True):
        folder.mkdir(parents=True)
        (folder / "1.dcm").write_bytes(bytes(128) + b"DICM" + voxels)
    renamed = folders[1].rename(tmp_path / "same" / "Meier")
    one, same, other = (Styles([folder]).fingerprint() for folder in (folders[0], renamed, folders[2]))
    assert one == same != other
