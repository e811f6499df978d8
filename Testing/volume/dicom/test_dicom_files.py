"""DICOM in every wrapping: without preamble, deflated, compressed, in a zip file, beside a DICOMDIR, many frames."""

from __future__ import annotations

import gzip
import itertools
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.volume import Volume, VolumeError, dicom, list_series, read_volume
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ...full_disk import room_for
from ..writers import directory

COMPRESSORS = {JPEG2000Lossless: "JPEG2000", JPEGLosslessSV1: "JPEG"}  # of ITK; pydicom has the others


def part(volume: Volume, begin: int, end: int) -> Volume:
    affine = volume.affine_lps.copy()
    affine[:3, 3] = volume.to_lps((0, 0, begin))
    return Volume(volume.array[begin:end], affine)


def repacked(folder, change) -> None:
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        change(dataset)
        dataset.save_as(file, enforce_file_format=True)


class TestWrappings:
    @pytest.mark.parametrize("first", [132, 128], ids=["no preamble", "prefix alone"])
    @pytest.mark.parametrize("suffix", ["", ".img", ".42"])
    def test_files_without_preamble_and_with_any_name_are_read(
        self, agree, make_volume, write_dicom, tmp_path, first, suffix
    ):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        for number, file in enumerate(sorted(folder.iterdir())):
            (folder / f"IM{number:04d}{suffix}").write_bytes(file.read_bytes()[first:])
            file.unlink()
        assert agree(read_volume(folder), make_volume())

    def test_files_without_file_meta_are_read(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            del dataset.file_meta
            dataset.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert agree(read_volume(folder), make_volume())

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
    def test_every_transfer_syntax_is_read(self, agree, make_volume, write_dicom, tmp_path, syntax):
        def change(dataset):
            if syntax == ExplicitVRBigEndian:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax

        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            change(dataset)
            implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
            pydicom.dcmwrite(file, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
        assert agree(read_volume(folder), make_volume())

    @pytest.mark.parametrize("syntax", [*COMPRESSORS, JPEGLSLossless, RLELossless], ids=lambda uid: uid.name)
    @pytest.mark.parametrize("frames", ["one", "many"])
    def test_compressed_pixels_are_read_without_a_change(
        self, agree, make_volume, write_dicom, write_enhanced_dicom, tmp_path, syntax, frames
    ):
        def change(dataset):
            if syntax not in COMPRESSORS:
                dataset.compress(syntax)
                return
            image = sitk.GetImageFromArray(dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns))
            image = image if frames == "many" else image[:, :, 0]
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.SetCompressor(COMPRESSORS[syntax])
            writer.SetUseCompression(True)
            writer.SetFileName(str(tmp_path / "packed.dcm"))
            writer.Execute(image)
            packed = pydicom.dcmread(tmp_path / "packed.dcm")
            dataset.PixelData = packed.PixelData
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID

        if frames == "one":
            path = write_dicom(make_volume(), tmp_path / "ct")
            repacked(path, change)
        else:
            path = write_enhanced_dicom(make_volume(), tmp_path / "ct.dcm", edit=change)
        dataset = pydicom.dcmread(path if frames == "many" else next(iter(path.iterdir())))
        assert dataset.file_meta.TransferSyntaxUID == syntax
        assert agree(read_volume(path), make_volume())

    def test_compressed_pixels_that_are_damaged_are_refused(self, make_volume, write_dicom, tmp_path, capfd):
        def change(dataset):
            dataset.compress(RLELossless)
            dataset.PixelData = dataset.PixelData[:200] + bytes(len(dataset.PixelData) - 200)

        folder = write_dicom(make_volume(), tmp_path / "ct")
        repacked(folder, change)
        with pytest.raises(VolumeError, match=r"\.dcm in ct is damaged or incomplete; export the series again"):
            read_volume(folder)
        assert capfd.readouterr() == ("", "")

    def test_pixels_that_the_machine_has_no_room_for_are_not_called_damaged(
        self, make_volume, write_dicom, tmp_path, monkeypatch
    ):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        repacked(folder, lambda dataset: dataset.compress(RLELossless))
        disk = r"\.dcm in ct can not be read \(File too large\); check its disk and that of temporary files"
        with room_for(100), pytest.raises(VolumeError, match=disk):
            read_volume(folder)
        monkeypatch.setattr(dicom, "_decompressed", lambda dataset: np.empty(10**15))
        with pytest.raises(VolumeError, match=r"\.dcm in ct needs more memory than there is"):
            read_volume(folder)

    @pytest.mark.parametrize(
        ("syntax", "words"),
        [
            ("1.2.840.10008.1.2.4.201", r"High-Throughput JPEG 2000 Image Compression \(Lossless Only\)"),
            ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.110"),  # JPEG XL: younger than the table of names
            ("1.2.840.113619.5.2", "1.2.840.113619.5.2"),  # a manufacturer's own
        ],
    )
    def test_pixels_stored_in_a_way_that_nobody_here_knows_are_not_called_damaged(
        self, make_volume, write_dicom, tmp_path, syntax, words
    ):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            dataset.compress(RLELossless)
            dataset.file_meta.TransferSyntaxUID = syntax
            pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
        sentence = (
            rf"^ct is stored in a way that can not be read here \({words}\); export the series uncompressed, or as"
        )
        with pytest.raises(VolumeError, match=sentence):
            read_volume(folder)

    def test_a_dicomdir_stands_for_its_folder(self, agree, make_volume, write_dicom, tmp_path):
        write_dicom(make_volume(), tmp_path / "cd" / "DICOM" / "S1")
        directory(tmp_path / "cd")
        assert agree(read_volume(tmp_path / "cd" / "DICOMDIR"), make_volume())
        assert agree(read_volume(tmp_path / "cd"), make_volume())

    def test_a_nested_export_with_links_and_strangers_is_read(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "PAT0" / "STU0" / "SER0")
        (tmp_path / "PAT0" / "viewer.exe").write_bytes(b"MZ" + bytes(2000))
        (tmp_path / "PAT0" / "round").symlink_to(tmp_path / "PAT0")
        (tmp_path / "linked").mkdir()
        (tmp_path / "linked" / "here").symlink_to(folder)
        assert agree(read_volume(tmp_path / "PAT0"), make_volume())
        assert agree(read_volume(tmp_path / "linked"), make_volume())


class TestZip:
    @pytest.fixture
    def archive(self, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "cd" / "A", SeriesNumber=4)
        write_dicom(make_volume(size=(24, 20, 30)), tmp_path / "cd" / "B", SeriesNumber=5)
        shutil.make_archive(str(tmp_path / "scan"), "zip", folder.parent)
        return tmp_path / "scan.zip"

    def test_it_is_read_and_listed_like_a_folder(self, agree, archive, make_volume):
        read = read_volume(archive)
        assert agree(read, make_volume(size=(24, 20, 30))) and read.name == "scan.zip"
        assert agree(read_volume(archive, series="4"), make_volume())
        assert [row.number for row in list_series(archive)] == ["4", "5"]

    def test_names_that_lead_out_of_it_go_nowhere(self, agree, archive, make_volume, tmp_path):
        with zipfile.ZipFile(archive, "a") as content:
            content.writestr("../../escaped.dcm", b"x")
            content.writestr("/absolute.dcm", b"x")
        assert agree(read_volume(archive), make_volume(size=(24, 20, 30)))
        assert not list(tmp_path.parent.rglob("escaped.dcm"))

    def test_one_that_would_fill_the_disk_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as content:
            content.writestr("a", bytes(10_000_000))
        with pytest.raises(VolumeError, match=r"a\.zip would become 10 MB; unpack it yourself and give the folder"):
            read_volume(tmp_path / "a.zip")

    def test_a_damaged_one_is_refused(self, archive):
        archive.write_bytes(archive.read_bytes()[:-5000])
        with pytest.raises(VolumeError, match=r"scan\.zip is damaged or incomplete; copy or export it again"):
            read_volume(archive)

    def test_its_folders_tell_phases_apart_as_they_do_unpacked(self, make_volume, write_dicom, tmp_path):
        def alike(dataset, k):  # one image number and one time for all: nothing but the folder is left
            dataset.InstanceNumber = 1

        for name, size in (("A", 18), ("B", 18)):
            volume = make_volume(size=(24, 20, size))
            volume.array[:] += name == "B"
            write_dicom(volume, tmp_path / "cd" / name, edit=alike, SeriesInstanceUID="1.2.3")
        shutil.make_archive(str(tmp_path / "cd"), "zip", tmp_path / "cd")
        folder, archive = ([row.cells for row in list_series(tmp_path / name)] for name in ("cd", "cd.zip"))
        assert folder == archive and len(folder) == 2

    def test_one_without_dicom_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
            content.writestr("notes.txt", "hello")
        with pytest.raises(VolumeError, match=r"a\.zip holds no DICOM images"):
            read_volume(tmp_path / "a.zip")


class TestFilesThatAreNoImages:
    @pytest.mark.parametrize("content", [b"", bytes(2000), b"<html>timeout</html>", bytes(128) + b"DICM\2\0"])
    def test_a_file_of_the_images_suffix_that_is_none_is_noted(
        self, agree, make_volume, write_dicom, tmp_path, content
    ):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        (folder / "lost.DCM").write_bytes(content)
        (folder / "readme.txt").write_bytes(content)
        (folder / ".DS_Store").write_bytes(content)
        read = read_volume(folder)
        assert agree(read, make_volume())
        assert "left out (lost.DCM: damaged" in read.note and "readme" not in read.note

    @pytest.mark.parametrize("number", [".3", ""])
    def test_so_it_is_where_uids_are_the_names(self, make_volume, write_dicom, tmp_path, number):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        for k, file in enumerate(sorted(folder.iterdir())):
            file.rename(folder / f"1.2.840{number}.{k}")
        (folder / f"1.2.840{number}.99").write_bytes(b"")
        assert f"left out (1.2.840{number}.99: damaged" in read_volume(folder).note

    def test_packed_slices_are_named_in_note_and_refusal(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "ct")
        files = sorted(folder.iterdir())
        by_height = sorted(files, key=lambda file: pydicom.dcmread(file).ImagePositionPatient[2])
        for file in by_height[18:]:
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        assert "and 19 more: damaged, packed" in read_volume(folder).note
        for file in by_height[:18]:
            file.unlink()
        with pytest.raises(VolumeError, match=r"ct holds no DICOM images \(.*\.dcm\.gz, .*packed.*\); give a folder"):
            read_volume(folder)

    def test_documents_beside_images_are_not_noted(self, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        directory(folder)
        (folder / "DICOMDIR").rename(folder / "document.dcm")
        assert read_volume(folder).notes == ()


class TestEnhanced:
    @pytest.mark.parametrize("bounds", [(0, 9, 18), (0, 1, 17, 18), tuple(range(19))])
    def test_parts_are_one_stack(self, agree, make_volume, write_enhanced_dicom, tmp_path, bounds):
        volume = make_volume("LPS oblique")
        for number, (begin, end) in enumerate(itertools.pairwise(bounds)):
            write_enhanced_dicom(part(volume, begin, end), tmp_path / f"{-number}.dcm", series="1.2.3")
        read = read_volume(tmp_path)
        assert agree(read, volume) and read.notes == ()

    def test_a_part_that_is_not_there_is_noted_where_the_others_count_it(
        self, agree, make_volume, write_enhanced_dicom, tmp_path
    ):
        def counted(dataset):
            dataset.InConcatenationTotalNumber = 3

        volume = make_volume(size=(24, 20, 40))
        for number in range(2):
            path = tmp_path / f"{number}.dcm"
            write_enhanced_dicom(part(volume, 10 * number, 10 * number + 10), path, series="1.2.3", edit=counted)
        read = read_volume(tmp_path)
        assert agree(read, part(volume, 0, 20))
        assert "is to come in 3 files (In-concatenation Total Number) and is in 2; the others are absent" in read.note

    def test_frames_have_their_own_rescale(self, agree, make_volume, write_enhanced_dicom, tmp_path):
        def rescale(dataset):
            del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
            stored = []
            for k, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
                values = Dataset()
                intercept, slope = (-1024, 1) if k < 7 else (-2048, 0.5)
                values.RescaleIntercept, values.RescaleSlope, values.RescaleType = str(intercept), str(slope), "HU"
                frame.PixelValueTransformationSequence = [values]
                stored.append((volume.array[k].astype(float) - intercept) / slope)
            dataset.PixelData = np.rint(stored).astype("<u2").tobytes()

        volume = make_volume()
        assert agree(read_volume(write_enhanced_dicom(volume, tmp_path / "ct.dcm", edit=rescale)), volume)

    def test_frames_in_any_order_lie_where_they_say(self, agree, make_volume, write_enhanced_dicom, tmp_path):
        def shuffle(dataset):
            order = np.random.default_rng(0).permutation(18)
            frames = dataset.PerFrameFunctionalGroupsSequence
            dataset.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
            dataset.PixelData = (volume.array[order].astype(int) + 1024).astype("<u2").tobytes()

        volume = make_volume()
        assert agree(read_volume(write_enhanced_dicom(volume, tmp_path / "ct.dcm", edit=shuffle)), volume)

    @pytest.mark.parametrize("where", ["FrameContentSequence", "CardiacSynchronizationSequence"])
    def test_phases_in_one_file_are_never_mixed(self, agree, make_volume, write_enhanced_dicom, tmp_path, where):
        tag = {"FrameContentSequence": "TemporalPositionIndex"}.get(where, "NominalPercentageOfCardiacPhase")

        def twice(dataset):
            frames = []
            for phase in (1, 2):
                for frame in dataset.PerFrameFunctionalGroupsSequence:
                    group, copy = Dataset(), Dataset()
                    setattr(group, tag, 40 * phase)
                    copy.PlanePositionSequence = frame.PlanePositionSequence
                    setattr(copy, where, [group])
                    frames.append(copy)
            dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = frames, 36
            dataset.PixelData = dataset.PixelData + bytes(len(dataset.PixelData))

        path = write_enhanced_dicom(make_volume(), tmp_path / "ct.dcm", edit=twice)
        read = read_volume(path)
        assert agree(read, make_volume()) and "holds 2 CT series or parts of series" in read.note

    def test_an_icon_and_deflation_do_not_matter(self, agree, make_volume, write_enhanced_dicom, tmp_path):
        def change(dataset):
            icon = Dataset()
            icon.Rows = icon.Columns = icon.BitsAllocated = icon.BitsStored = 8
            icon.HighBit, icon.PixelRepresentation, icon.SamplesPerPixel = 7, 0, 1
            icon.PhotometricInterpretation, icon.PixelData = "MONOCHROME2", bytes(64)
            dataset.IconImageSequence = [icon]
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

        path = write_enhanced_dicom(make_volume(), tmp_path / "IM0001", edit=change)
        assert agree(read_volume(path), make_volume())

    def test_fewer_frames_than_places_are_refused(self, make_volume, write_enhanced_dicom, tmp_path):
        def change(dataset):
            dataset.NumberOfFrames = 14
            dataset.PixelData = dataset.PixelData[: 14 * 24 * 20 * 2]

        path = write_enhanced_dicom(make_volume(), tmp_path / "ct.dcm", edit=change)
        with pytest.raises(VolumeError, match=r"ct\.dcm in ct\.dcm is damaged or incomplete; export the series again"):
            read_volume(path)

    def test_frames_without_a_place_are_refused_as_such(self, make_volume, write_enhanced_dicom, tmp_path):
        def change(dataset):
            del dataset.PerFrameFunctionalGroupsSequence

        path = write_enhanced_dicom(make_volume(), tmp_path / "ct.dcm", edit=change)
        with pytest.raises(VolumeError, match=r"ct\.dcm .*has slices without position"):
            read_volume(path)
