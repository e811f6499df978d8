"""What a header says twice, in other units, in other spellings, or not at all: read rightly, noted, or refused."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.volume import Volume, VolumeError, from_array, image_affine, read_volume
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from .test_volume import rotation
from .writers import metaimage, nifti, nrrd, quaternion

QUATERNIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
AXES = st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
SPACINGS = st.tuples(*[st.floats(0.06, 7)] * 3)
ORIGINS = st.tuples(*[st.floats(-500, 500)] * 3)
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3}


def scan(quaternion=(1, 0, 0, 0), axes=((0, 1, 2), (1.0, 1.0, 1.0)), spacing=(0.5, 0.6, 1.25), origin=(1, 2, 3)):
    """A scan of 18 x 17 x 16 voxels with any rotation, order and direction of axes, voxel size and place."""
    order, flips = axes
    affine = np.eye(4)
    affine[:3, :3] = rotation(quaternion)[:, list(order)] * flips * np.array(spacing)
    affine[:3, 3] = origin
    return from_array(np.arange(-2304, 2592, dtype=np.int16).reshape(16, 17, 18) // 2, affine)


def error_mm(read: Volume, written: Volume) -> float:
    """How far the corners lie beside where they were written; infinite if the voxels are others."""
    if not np.array_equal(read.array, written.array):
        return np.inf
    corners = np.array([(i, j, k) for i in (0, 17) for j in (0, 16) for k in (0, 15)])
    return float(np.abs(read.to_lps(corners) - written.to_lps(corners)).max())


def with_qform(volume: Volume, **changes: object) -> dict[str, object]:
    """The fields of a qform that says the same as the affine of ``volume``, but for ``changes``."""
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine_lps
    turn = ras[:3, :3] / volume.spacing_mm
    sign = 1.0 if np.linalg.det(turn) > 0 else -1.0
    fields: dict[str, object] = {
        "codes": [1, 1],
        "pixdim": [sign, *volume.spacing_mm, 0, 0, 0, 0],
        "quatern": [*quaternion(turn * [1, 1, sign]), *ras[:3, 3]],
    }
    return {**fields, **changes}


class TestAnyGeometry:
    @settings(max_examples=60, deadline=None)
    @given(QUATERNIONS, AXES, SPACINGS, ORIGINS, st.sampled_from([(1, "<"), (1, ">"), (2, "<"), (2, ">")]))
    def test_of_a_nifti_is_read(self, tmp_path_factory, turn, axes, spacing, origin, version):
        volume = scan(turn, axes, spacing, origin)
        path = tmp_path_factory.mktemp("n") / "a.nii"
        for fields in ({}, with_qform(volume)):
            read = read_volume(nifti(volume, path, *version, **fields))
            assert read.notes == () and error_mm(read, volume) < 1e-3

    @settings(max_examples=40, deadline=None)
    @given(QUATERNIONS, AXES, SPACINGS, ORIGINS)
    @example((6.1e-5, 0.0, 0.0, 1.0), ([0, 1, 2], (-1.0, -1.0, -1.0)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))  # half a turn
    def test_of_a_nifti_with_a_qform_alone_is_read(self, tmp_path_factory, turn, axes, spacing, origin):
        volume = scan(turn, axes, spacing, origin)
        fields = with_qform(volume, codes=[1, 0], srow=[0] * 12)
        read = read_volume(nifti(volume, tmp_path_factory.mktemp("n") / "a.nii", 2, **fields))
        assert read.notes == () and error_mm(read, volume) < 1e-3

    @settings(max_examples=60, deadline=None)
    @given(QUATERNIONS, AXES, SPACINGS, ORIGINS, st.sampled_from(sorted(UNITS)), st.sampled_from(["RAS", "LAS", "LPS"]))
    def test_of_a_nrrd_is_read_in_any_space_and_unit(self, tmp_path_factory, turn, axes, spacing, origin, unit, space):
        volume = scan(turn, axes, spacing, origin)
        signs = np.array([1 if letter in "LPS" else -1 for letter in space])
        lines = [f'space units: "{unit}" "{unit}" "{unit}"']
        path = tmp_path_factory.mktemp("n") / "a.nrrd"
        read = read_volume(nrrd(volume, path, *lines, space=space, scale=UNITS[unit], turn=signs))
        assert read.notes == () and error_mm(read, volume) < 1e-3

    @settings(max_examples=60, deadline=None)
    @given(QUATERNIONS, AXES, SPACINGS, ORIGINS, st.sampled_from(["mm", "cm", "um", "m"]))
    def test_of_a_metaimage_is_read_in_any_unit(self, tmp_path_factory, turn, axes, spacing, origin, unit):
        volume = scan(turn, axes, spacing, origin)
        path = tmp_path_factory.mktemp("n") / "a.mha"
        read = read_volume(metaimage(volume, path, f"DistanceUnits = {unit}", scale=UNITS[unit]))
        assert read.notes == () and error_mm(read, volume) < 1e-3

    @settings(max_examples=40, deadline=None)
    @given(QUATERNIONS, SPACINGS, st.floats(0.006, 0.9), st.sampled_from([".nii", ".nrrd", ".mha"]))
    def test_that_is_sheared_is_refused(self, tmp_path_factory, turn, spacing, shear, suffix):
        volume = scan(turn, spacing=spacing)
        sheared = volume.affine_lps.copy()
        sheared[:3, 2] += shear * spacing[2] * sheared[:3, 1] / spacing[1]
        path = tmp_path_factory.mktemp("n") / f"a{suffix}"
        write = {".nii": nifti, ".nrrd": nrrd, ".mha": metaimage}[suffix]
        with pytest.raises(VolumeError, match="axes that are not at right angles"):
            read_volume(write(Volume(volume.array, sheared), path))

    @settings(max_examples=40, deadline=None)
    @given(QUATERNIONS, st.sampled_from([3, 4]), st.sampled_from([".nii", ".nrrd", ".mha"]))
    def test_with_directions_rounded_to_three_decimals_is_read(self, tmp_path_factory, turn, decimals, suffix):
        volume = scan(turn, spacing=(1.0, 1.0, 1.0))
        rounded = volume.affine_lps.copy()
        rounded[:3, :3] = rounded[:3, :3].round(decimals)
        path = tmp_path_factory.mktemp("n") / f"a{suffix}"
        write = {".nii": nifti, ".nrrd": nrrd, ".mha": metaimage}[suffix]
        assert error_mm(read_volume(write(Volume(volume.array, rounded), path)), volume) < (18 + 17 + 16) * 0.0005


class TestNiftiThatStatesItsPlaceTwice:
    @settings(max_examples=60, deadline=None)
    @given(
        QUATERNIONS,
        SPACINGS,
        st.sampled_from(["shift", "size", "turn", "mirror"]),
        st.floats(0.5, 200),
    )
    def test_a_qform_that_disagrees_is_refused_and_named(self, tmp_path_factory, turn, spacing, way, amount):
        volume = scan(turn, spacing=spacing)
        other = volume.affine_lps.copy()
        if way == "shift":
            other[:3, 3] += [0, amount, 0]
        elif way == "size":
            other[:3, 2] *= 1 + amount / 100
            assume(spacing[2] * 15 * amount / 100 > 0.3)
        elif way == "turn":
            other[:3, :3] = rotation((1, amount / 100, 0, 0)) @ other[:3, :3]
            assume(min(spacing) * 15 * amount / 100 > 0.5)
        else:
            other[:3, 0] *= -1
            assume(spacing[0] > 0.1)
        fields = with_qform(Volume(volume.array, other))
        with pytest.raises(VolumeError, match="qform and sform disagree by"):
            read_volume(nifti(volume, tmp_path_factory.mktemp("n") / "a.nii", **fields))

    @settings(max_examples=30, deadline=None)
    @given(QUATERNIONS, SPACINGS, st.tuples(*[st.floats(0, 4)] * 3))
    def test_an_sform_is_followed_where_pixdim_differs_and_a_note_says_so(
        self, tmp_path_factory, turn, spacing, pixdim
    ):
        volume = scan(turn, spacing=spacing)
        assume(not np.allclose(pixdim, spacing, rtol=2e-3))
        path = nifti(volume, tmp_path_factory.mktemp("n") / "a.nii", pixdim=[1, *pixdim, 0, 0, 0, 0])
        read = read_volume(path)
        assert error_mm(read, volume) < 1e-3
        assert len(read.notes) == 1 and "states its voxel size twice, and differently" in read.note

    @pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
    def test_metres_and_microns_become_millimetres(self, tmp_path, code, factor):
        volume = scan((1, 0.2, 0.1, 0.3))
        small = Volume(volume.array, np.diag([1, 1, 1, factor]) @ volume.affine_lps / factor)
        for fields in ({}, with_qform(small, codes=[1, 0])):
            path = nifti(small, tmp_path / "a.nii", 2, units=[code], **fields)
            assert error_mm(read_volume(path), volume) < 1e-3

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"codes": [0, 0]}, "does not say which side is left"),
            ({"codes": [1, 0], "pixdim": [1, 0, 0, 0, 0, 0, 0, 0]}, "voxel size of zero or less"),
            ({"codes": [1, 0], "pixdim": [1, -1, 1, 1, 0, 0, 0, 0]}, "voxel size of zero or less"),
            ({"srow": [0.0] * 12}, "degenerate direction matrix"),
            ({"srow": [np.nan] * 12}, "degenerate direction matrix"),
            ({"units": [5]}, "unknown unit"),
            ({"type": [4, 32]}, "states its type of voxels twice"),
            ({"type": [128, 24]}, "does not hold one number per voxel"),
            ({"dim": [4, 18, 17, 16, 2, 1, 1, 1]}, "has 4 dimensions"),
            ({"dim": [3, 18, 17, 15, 1, 1, 1, 1]}, "has 18 x 17 x 15 voxels"),
            ({"dim": [3, 18, 17, 17, 1, 1, 1, 1]}, "is damaged or incomplete"),
            ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "is damaged or incomplete"),
        ],
    )
    def test_a_header_that_can_not_be_followed_is_refused_with_its_reason(self, tmp_path, fields, sentence):
        with pytest.raises(VolumeError, match=sentence):
            read_volume(nifti(scan(), tmp_path / "a.nii", **fields))

    def test_more_slices_than_the_header_says_are_refused(self, tmp_path):
        volume = scan()
        longer = Volume(np.concatenate([volume.array] * 2), volume.affine_lps)
        path = nifti(longer, tmp_path / "a.nii", dim=[3, 18, 17, 20, 1, 1, 1, 1])
        with pytest.raises(VolumeError, match="more slices than its header says"):
            read_volume(path)

    def test_a_slope_is_applied_and_one_of_zero_or_nan_is_none(self, tmp_path):
        volume = scan()
        read = read_volume(nifti(volume, tmp_path / "a.nii", scl=[0.5, -100]))
        assert np.array_equal(read.array, np.maximum(volume.array * 0.5 - 100, -1024).astype(np.float32))
        for slope in (0.0, np.nan):
            assert np.array_equal(read_volume(nifti(volume, tmp_path / "a.nii", scl=[slope, 7])).array, volume.array)

    def test_compression_is_told_by_the_content_not_by_the_name(self, tmp_path):
        volume = scan()
        content = nifti(volume, tmp_path / "a.nii").read_bytes()
        (tmp_path / "plain.nii.gz").write_bytes(content)
        (tmp_path / "packed.nii").write_bytes(gzip.compress(content))
        for name in ("plain.nii.gz", "packed.nii"):
            assert error_mm(read_volume(tmp_path / name), volume) < 1e-3

    def test_analyze_and_pairs_are_refused_as_what_they_are(self, tmp_path):
        content = bytearray(nifti(scan(), tmp_path / "a.nii").read_bytes())
        for magic, sentence in ((b"ni1\0", "is the header of a NIfTI pair"), (bytes(4), "is ANALYZE 7.5")):
            content[344:348] = magic
            for end in (348, 352, None):  # a header of its own may end with its last field
                (tmp_path / "a.nii").write_bytes(content[:end])
                with pytest.raises(VolumeError, match=sentence):
                    read_volume(tmp_path / "a.nii")


class TestNrrd:
    @pytest.mark.parametrize("first", [True, False])
    def test_an_axis_that_counts_one_number_per_voxel_is_none(self, tmp_path, first):
        volume = scan()
        text = nrrd(volume, tmp_path / "a.nrrd").read_bytes()
        kinds = ["domain"] * 3
        for old, new in (
            (b"dimension: 3", b"dimension: 4"),
            (b"sizes: ", b"sizes: 1 ") if first else (b"sizes: 18 17 16", b"sizes: 18 17 16 1"),
            (b"space directions: ", b"space directions: none ")
            if first
            else (b"\nspace origin", b" none\nspace origin"),
            (b"endian", f"kinds: {' '.join(['list', *kinds] if first else [*kinds, 'list'])}\nendian".encode()),
        ):
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "a.nrrd").write_bytes(text)
        assert error_mm(read_volume(tmp_path / "a.nrrd"), volume) < 1e-3

    @pytest.mark.parametrize(
        ("space", "signs"),
        [
            ("left-posterior-superior", (1, 1, 1)),
            ("Left-Posterior-Superior", (1, 1, 1)),
            ("LPS", (1, 1, 1)),
            ("right-anterior-superior", (-1, -1, 1)),
            ("RAS", (-1, -1, 1)),
            ("left-anterior-superior", (1, -1, 1)),
            ("LAS", (1, -1, 1)),
            ("right-anterior-superior-time", (-1, -1, 1)),
            ("RAST", (-1, -1, 1)),
        ],
    )
    def test_every_space_with_sides_is_read(self, tmp_path, space, signs):
        volume = scan((1, 0.3, 0.2, 0.1))
        read = read_volume(nrrd(volume, tmp_path / "a.nrrd", space=space, turn=np.array(signs)))
        assert read.notes == () and error_mm(read, volume) < 1e-3

    @pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed", "scanner-xyz-time"])
    def test_a_space_without_sides_is_refused(self, tmp_path, space):
        with pytest.raises(VolumeError, match="does not say which side is left"):
            read_volume(nrrd(scan(), tmp_path / "a.nrrd", space=space))

    def test_a_space_that_is_none_is_refused(self, tmp_path):
        with pytest.raises(VolumeError, match="which NRRD does not know"):
            read_volume(nrrd(scan(), tmp_path / "a.nrrd", space="superior-posterior-left"))

    @pytest.mark.parametrize(
        "unit", ['"mm" "mm" "mm"', "mm mm mm", '"millimeters" "millimeters" "millimeters"', "??? ??? ???"]
    )
    def test_millimetres_in_any_spelling_are_read(self, tmp_path, unit):
        volume = scan()
        assert error_mm(read_volume(nrrd(volume, tmp_path / "a.nrrd", f"space units: {unit}")), volume) < 1e-3

    def test_an_unknown_unit_is_refused(self, tmp_path):
        with pytest.raises(VolumeError, match=r"unknown unit \(furlong\)"):
            read_volume(nrrd(scan(), tmp_path / "a.nrrd", 'space units: "furlong" "furlong" "furlong"'))

    def test_spacings_that_agree_with_the_directions_are_read_and_others_refused(self, tmp_path):
        volume = scan()
        agree = nrrd(volume, tmp_path / "a.nrrd", "spacings: 0.5 0.6 1.25")
        assert error_mm(read_volume(agree), volume) < 1e-3
        with pytest.raises(VolumeError, match="states its voxel size twice, and differently"):
            read_volume(nrrd(volume, tmp_path / "a.nrrd", "spacings: 0.5 0.6 1"))

    def test_without_voxel_size_it_is_refused(self, tmp_path):
        for lines in ((), ("spacings: nan nan nan",), ("space dimension: 3",)):
            with pytest.raises(VolumeError, match="does not say its voxel size"):
                read_volume(nrrd(scan(), tmp_path / "a.nrrd", *lines, space=None))

    def test_without_space_or_origin_notes_say_what_was_assumed(self, tmp_path):
        read = read_volume(nrrd(scan(), tmp_path / "a.nrrd", "spacings: 1 1 1", space=None))
        assert read.notes == (
            "a.nrrd does not say which side is left; the axes were taken as left, posterior, superior.",
            "a.nrrd does not say where it lies (space origin); its first voxel was put at 0, 0, 0.",
        )

    @settings(max_examples=30, deadline=None)
    @given(SPACINGS, ORIGINS, st.tuples(*[st.sampled_from(["cell", "node", "???"])] * 3), st.booleans(), st.booleans())
    def test_without_space_origin_it_lies_where_axis_mins_say_as_itk_reads_them(
        self, tmp_path_factory, spacing, mins, centers, stated, listed
    ):
        first = "nan " if listed else ""
        lines = [f"spacings: {first}{' '.join(map(str, spacing))}", f"axis mins: {first}{' '.join(map(str, mins))}"]
        lines += [f"centerings: {'??? ' if listed else ''}{' '.join(centers)}"] * stated
        lines += ["kinds: list domain domain domain", 'units: "" "mm" "mm" "mm"'] * listed
        path = nrrd(scan(), tmp_path_factory.mktemp("n") / "a.nrrd", *lines, space=None)
        if listed:
            start = path.read_bytes()
            path.write_bytes(start.replace(b"dimension: 3", b"dimension: 4", 1).replace(b"sizes: ", b"sizes: 1 ", 1))
        read, itk = read_volume(path), sitk.ReadImage(str(path))
        assert np.allclose(read.affine_lps, image_affine(itk))
        assert "where it lies" not in read.note
        assert ("edges were taken" in read.note) == (not stated or "???" in centers)

    def test_what_a_field_says_of_an_axis_that_is_none_of_space_does_not_count(self, tmp_path):
        volume = scan()
        text = nrrd(
            volume, tmp_path / "a.nrrd", "spacings: 7 nan nan nan", "kinds: list space space space"
        ).read_bytes()
        text = text.replace(b"dimension: 3", b"dimension: 4", 1).replace(b"sizes: ", b"sizes: 1 ", 1)
        text = text.replace(b"space directions: ", b"spacedirections: none ", 1).replace(
            b"space origin", b"spaceorigin"
        )
        (tmp_path / "a.nrrd").write_bytes(text)
        read = read_volume(tmp_path / "a.nrrd")
        assert read.notes == () and error_mm(read, volume) < 1e-3
        (tmp_path / "a.nrrd").write_bytes(text.replace(b"sizes: 1 ", b"sizes: 0 ", 1))
        with pytest.raises(VolumeError, match="is damaged"):
            read_volume(tmp_path / "a.nrrd")

    @pytest.mark.parametrize("encoding", ["gzip", "GZ", "bzip2", "bz2"])
    def test_every_compression_is_read(self, tmp_path, encoding):
        volume = scan()
        pack = gzip.compress if encoding.lower().startswith("g") else bz2.compress
        data = pack(volume.array.tobytes())
        read = read_volume(nrrd(volume, tmp_path / "a.nrrd", f"encoding: {encoding}", data=data))
        assert error_mm(read, volume) < 1e-3
        with pytest.raises(VolumeError, match="is damaged or incomplete"):
            read_volume(nrrd(volume, tmp_path / "a.nrrd", f"encoding: {encoding}", data=data[:-12]))

    def test_data_elsewhere_are_read_or_named_as_missing(self, tmp_path):
        volume = scan()
        raw = volume.array.astype("<i2").tobytes()
        (tmp_path / "voxels.raw").write_bytes(raw)
        (tmp_path / "more.raw").write_bytes(b"junk" + raw)
        for lines in (
            ["data file: voxels.raw"],
            ["datafile: more.raw", "byte skip: 4"],
            ["data file: more.raw", "byteskip: -1"],
        ):
            assert error_mm(read_volume(nrrd(volume, tmp_path / "a.nhdr", *lines, data=b"")), volume) < 1e-3
        with pytest.raises(VolumeError, match=r"a\.nhdr says that its voxels are in gone\.raw, which is not there"):
            read_volume(nrrd(volume, tmp_path / "a.nhdr", "data file: gone.raw", data=b""))

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("encoding: ascii", "holds its voxels as text"),
            ("encoding: hex", "holds its voxels as text"),
            ("encoding: zrle", "has the encoding 'zrle', which is not read; save it again with encoding raw or gzip"),
            ("data file: LIST", "has its voxels in several files"),
            ("data file: slice%03d.raw 1 16 1", "has its voxels in several files"),
            ("line skip: 2", "skips lines or bytes"),
            ("sizes: 18 17 99", "states its sizes twice, and differently"),
        ],
    )
    def test_sound_files_of_a_kind_that_is_not_read_are_refused_as_such(self, tmp_path, line, sentence):
        with pytest.raises(VolumeError, match=sentence):
            read_volume(nrrd(scan(), tmp_path / "a.nrrd", line))

    def test_a_type_of_voxels_that_is_not_read_is_named(self, tmp_path):
        for write, name, known, kind in (
            (nrrd, "a.nrrd", b"type: short", b"type: half"),
            (metaimage, "a.mha", b"MET_SHORT", b"MET_HALF"),
        ):
            path = write(scan(), tmp_path / name)
            path.write_bytes(path.read_bytes().replace(known, kind, 1))
            word = kind.decode().removeprefix("type: ")
            with pytest.raises(VolumeError, match=f"has voxels of type '{word}', which is not read; save it as short"):
                read_volume(path)


@pytest.mark.parametrize(("version", "offset"), [(1, 0), (1, 348), (1, 351), (2, 0), (2, 540)])
def test_voxels_that_begin_inside_the_header_are_refused(tmp_path, version, offset):
    path = nifti(scan(), tmp_path / "a.nii", version=version, offset=[offset])
    with pytest.raises(VolumeError, match=f"says that its voxels begin at byte {offset}, and none do before"):
        read_volume(path)


@pytest.mark.parametrize("offset", [1e10, 1e30])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_that_begin_beyond_any_file_are_refused(tmp_path, offset, packed):
    path = nifti(scan(), tmp_path / "a.nii", offset=[offset])
    if packed:
        packed_path = tmp_path / "a.nii.gz"
        packed_path.write_bytes(gzip.compress(path.read_bytes()))
        path = packed_path
    with pytest.raises(VolumeError, match="is damaged or incomplete"):
        read_volume(path)
