"""What is no scan is refused in one sentence, and nothing else is printed."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.volume import Volume, VolumeError, check_volume, from_array, read_volume, write_volume

from ..rights import not_root


def save(array: np.ndarray, path: Path, spacing=(1.0, 1.0, 1.0), vector: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    if len(spacing) == image.GetDimension():
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def hu(size=(20, 20, 20)) -> np.ndarray:
    return np.random.default_rng(1).integers(-1024, 1000, size).astype(np.int16)


def nrrd(path: Path, directions: str) -> Path:
    header = (
        "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 20 20\n"
        f"space directions: {directions}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + hu().tobytes())
    return path


def with_value(value: float) -> np.ndarray:
    array = hu().astype(np.float32)
    array[3, 4, 5] = value
    return array


@pytest.mark.parametrize("ending", ["nrrd", "nii", "mha"])
def test_a_scan_that_begins_where_no_scanner_is_is_refused(tmp_path, ending):
    """An origin in micrometres; it was a fault of the program."""
    image = sitk.GetImageFromArray(hu())
    image.SetOrigin((0.0, 0.0, 2e5))
    sitk.WriteImage(image, str(tmp_path / f"far.{ending}"))
    with pytest.raises(VolumeError, match=r"begins 200 m from the scanner's middle, where no scan is; correct the ori"):
        read_volume(tmp_path / f"far.{ending}")


HU_SENTENCE = (
    "which can not be Hounsfield units of a neck (air -1000, water 0, bone above 300); "
    "give the scan before any normalisation or conversion to grey levels."
)
FINITE_SENTENCE = "holds NaN or infinite values; export it again, with -1024 outside the field of view."
SHEARED_SENTENCE = (
    "has axes that are not at right angles, as a tilted gantry makes them; "
    "resample it onto an orthogonal grid, or give the DICOM folder."
)
DAMAGED_SENTENCE = "is damaged or incomplete; copy or export it again."
OTHER_SENTENCE = (
    "does not begin as NRRD, NIfTI and MetaImage do: it is damaged, or something else; copy or export it again."
)
DETACHED = b"NRRD0005\ntype: short\ndimension: 3\nsizes: 20 20 20\nencoding: raw\nendian: little\ndata file: gone.raw\n"
BAD_FILES = {
    "2-D": (lambda p: save(hu((20, 20)), p / "a.mha"), "a.mha has 2 dimensions; give one three-dimensional CT volume."),
    "4-D": (
        lambda p: save(hu((3, 20, 20, 20)), p / "a.nii"),
        "a.nii has 4 dimensions; give one three-dimensional CT volume.",
    ),
    "vectors": (
        lambda p: save(hu((20, 20, 20, 3)), p / "a.nrrd", vector=True),
        "a.nrrd does not hold one number per voxel; give a scalar CT volume in HU.",
    ),
    "NaN": (lambda p: save(with_value(np.nan), p / "a.nrrd"), f"a.nrrd {FINITE_SENTENCE}"),
    "infinity": (lambda p: save(with_value(np.inf), p / "a.nii"), f"a.nii {FINITE_SENTENCE}"),
    "minus infinity": (lambda p: save(with_value(-np.inf), p / "a.mha"), f"a.mha {FINITE_SENTENCE}"),
    "spacing too small": (
        lambda p: save(hu(), p / "a.nrrd", (0.04, 1.0, 1.0)),
        "a.nrrd has a voxel size of 0.04 x 1 x 1 mm, outside 0.05 to 10 mm; correct the spacing in its header.",
    ),
    "spacing too large": (
        lambda p: save(hu(), p / "a.mha", (1.0, 1.0, 12.0)),
        "a.mha has a voxel size of 1 x 1 x 12 mm, outside 0.05 to 10 mm; correct the spacing in its header.",
    ),
    "degenerate direction": (
        lambda p: nrrd(p / "a.nrrd", "(1,0,0) (1,0,0) (0,0,1)"),
        "a.nrrd has a degenerate direction matrix; export it again with its orientation.",
    ),
    "directions of four dimensions": (
        lambda p: nrrd(p / "a.nrrd", "none (1,0,0) (0,1,0)"),
        "a.nrrd has space directions that are not three vectors of three numbers; export it again as one "
        "three-dimensional volume.",
    ),
    "sheared direction": (
        lambda p: nrrd(p / "a.nrrd", "(1,0,0) (0.01,1,0) (0,0,1)"),
        f"a.nrrd {SHEARED_SENTENCE}",
    ),
    "0 to 1": (
        lambda p: save(np.random.default_rng(0).random((20, 20, 20), np.float32).round(2), p / "a.nrrd"),
        f"a.nrrd has values from 0 to 1, {HU_SENTENCE}",
    ),
    "0 to 255": (
        lambda p: save((hu() % 256).astype(np.uint8), p / "a.mha"),
        f"a.mha has values from 0 to 255, {HU_SENTENCE}",
    ),
    "-128 to 127": (
        lambda p: save((hu() % 256 - 128).astype(np.int8), p / "a.mha"),
        f"a.mha has values from -128 to 127, {HU_SENTENCE}",
    ),
    "stored values": (
        lambda p: save((hu().astype(np.int32) + 1024).astype(np.uint16), p / "a.nrrd"),
        f"a.nrrd has values from 0 to 2023, {HU_SENTENCE}",
    ),
    "float garbage": (
        lambda p: save(with_value(1e30), p / "a.nrrd"),
        f"a.nrrd has values from -1024 to 1e+30, {HU_SENTENCE}",
    ),
    "too few voxels": (
        lambda p: save(hu((15, 20, 30)), p / "a.nrrd"),
        "a.nrrd has 30 x 20 x 15 voxels; give a volume with at least 16 along every axis.",
    ),
    "missing path": (lambda p: p / "a.nrrd", "a.nrrd does not exist; check the path."),
    "unknown extension": (
        lambda p: save(hu((20, 20)).astype(np.uint8), p / "a.png"),
        "a.png is of an unknown type; give NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd) "
        "or a DICOM folder.",
    ),
    "no content": (lambda p: written(p / "a.nrrd", b""), f"a.nrrd {OTHER_SENTENCE}"),
    "another content": (lambda p: written(p / "a.nii.gz", b"no scan at all" * 99), f"a.nii.gz {OTHER_SENTENCE}"),
    "negative dimensions": (
        lambda p: written(p / "a.mha", save(hu(), p / "b.mha").read_bytes().replace(b"NDims = 3", b"NDims = -3")),
        f"a.mha {DAMAGED_SENTENCE}",
    ),
    "header without data": (
        lambda p: written(p / "a.nhdr", DETACHED + b"spacings: 1 1 1\n"),
        "a.nhdr says that its voxels are in gone.raw, which is not there; copy both together.",
    ),
    "NIfTI without orientation": (
        lambda p: without_codes(p / "a.nii"),
        "a.nii does not say which side is left (no qform, no sform); convert it again from DICOM.",
    ),
    "sheared NIfTI": (
        lambda p: sheared_nifti(p / "a.nii"),
        f"a.nii {SHEARED_SENTENCE}",
    ),
    "zero spacing": (
        lambda p: written(p / "a.nrrd", DETACHED.replace(b"encoding", b"spacings: 1 0 1\nencoding")),
        "a.nrrd has a voxel size of zero or less; correct the spacing in its header.",
    ),
    "empty folder": (
        lambda p: folder(p / "a"),
        "a is an empty folder; give a folder with the DICOM files of one CT.",
    ),
    "folder without DICOM": (
        lambda p: written(folder(p / "a") / "notes.txt", b"hello").parent,
        "a holds no DICOM images; give a folder with the DICOM files of one CT.",
    ),
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def without_codes(path: Path) -> Path:
    content = bytearray(save(hu(), path).read_bytes())
    content[252:256] = bytes(4)
    return written(path, content)


def sheared_nifti(path: Path) -> Path:
    content = bytearray(save(hu(), path).read_bytes())
    content[252:256] = np.array([0, 1], "<i2").tobytes()
    content[280:328] = np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()
    return written(path, content)


class TestRefusals:
    @pytest.mark.parametrize("kind", BAD_FILES)
    def test_a_bad_input_gives_its_one_sentence_and_prints_nothing(self, tmp_path, capfd, kind):
        make, sentence = BAD_FILES[kind]
        path = make(tmp_path)
        capfd.readouterr()
        with pytest.raises(VolumeError) as refusal:
            read_volume(path)
        assert str(refusal.value) == sentence
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
    def test_a_truncated_file_is_refused_in_silence(self, tmp_path, capfd, suffix, compressed, share):
        path = tmp_path / f"a{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(hu()), str(path), compressed)
        data = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
        data.write_bytes(data.read_bytes()[: int(data.stat().st_size * share)])
        with pytest.raises(VolumeError) as refusal:
            read_volume(path)
        assert str(refusal.value) == f"a{suffix} {DAMAGED_SENTENCE}"
        assert capfd.readouterr() == ("", "")

    def test_a_gzip_file_with_one_wrong_byte_is_refused(self, tmp_path):
        path = save(hu(), tmp_path / "a.nii.gz")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(VolumeError, match="is damaged or incomplete"):
            read_volume(path)

    def test_a_gzip_file_in_several_members_is_read(self, tmp_path):
        content = gzip.decompress(save(hu(), tmp_path / "a.nii.gz").read_bytes())
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
        assert (read_volume(tmp_path / "a.nii.gz").array == hu()).all()

    def test_a_file_without_read_permission_is_refused(self):
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            path = written(Path(name) / "a.nrrd", b"secret")
            os.chmod(path, 0)
            with (
                not_root(),
                pytest.raises(VolumeError, match=re.escape("a.nrrd can not be opened; check its read permission.")),
            ):
                read_volume(path)

    @pytest.mark.parametrize(
        ("array", "sentence"),
        [
            (np.zeros((20, 20)), "volume has 2 dimensions; give one three-dimensional CT volume."),
            (
                np.zeros((20, 20, 20), bool),
                "volume does not hold one number per voxel (bool); give a scalar CT volume in HU.",
            ),
            (with_value(np.nan), f"volume {FINITE_SENTENCE}"),
        ],
    )
    def test_a_bad_array_gives_the_same_sentences(self, array, sentence):
        with pytest.raises(VolumeError) as refusal:
            from_array(array, np.eye(4))
        assert str(refusal.value) == sentence

    def test_an_affine_that_is_none_is_refused(self):
        for affine in (np.eye(3), np.full((4, 4), np.nan)):
            with pytest.raises(VolumeError, match="volume has a degenerate direction matrix"):
                check_volume(Volume(hu(), affine))

    def test_a_name_that_can_not_be_written_is_refused_and_leaves_nothing(self, make_volume, tmp_path):
        with pytest.raises(VolumeError, match=r"a\.png can not be written; choose a name that ends in"):
            write_volume(make_volume(), tmp_path / "a.png")
        with pytest.raises(OSError):
            write_volume(make_volume(), tmp_path / "gone" / "a.nrrd")
        assert list(tmp_path.iterdir()) == []
