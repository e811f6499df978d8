"""Names that are no text, links, pipes, files without permission: no abort, no hang, nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from CarotidLandmarkLib.volume import VolumeError, read_volume, write_volume

from ..rights import not_root

LATIN1 = os.fsdecode(b"h\xe4ls")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "CarotidLandmarkLib.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60)


@pytest.fixture
def odd_folder(tmp_path):
    """A folder with a name that is not UTF-8; skipped where the file system has none."""
    try:
        (tmp_path / LATIN1).mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    return tmp_path / LATIN1


class TestNamesThatAreNotUtf8:
    @pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
    def test_are_written_and_read(self, agree, make_volume, odd_folder, suffix):
        path = odd_folder / f"{LATIN1}{suffix}"
        write_volume(make_volume(), path)
        read = read_volume(path)
        assert agree(read, make_volume())
        assert read.name == f"h\N{REPLACEMENT CHARACTER}ls{suffix}"
        assert [file.name for file in odd_folder.iterdir()] == [path.name]

    def test_of_slices_and_of_their_folder_are_read(self, agree, make_volume, write_dicom, odd_folder):
        folder = write_dicom(make_volume(), odd_folder / "ct")
        first = sorted(folder.iterdir())[0]
        first.rename(folder / f"{LATIN1}.dcm")
        assert agree(read_volume(odd_folder), make_volume())

    def test_of_compressed_slices_are_read(self, agree, make_volume, write_dicom, odd_folder):
        import pydicom
        from pydicom.uid import RLELossless

        for file in write_dicom(make_volume(), odd_folder / "ct").iterdir():
            dataset = pydicom.dcmread(file)
            dataset.compress(RLELossless)
            dataset.save_as(file.with_name(f"{LATIN1}{file.name}"))
            file.unlink()
        assert agree(read_volume(odd_folder), make_volume())

    def test_are_refused_by_the_command_in_one_line_with_exit_code_2(self, odd_folder):
        (odd_folder / f"{LATIN1}.nrrd").write_bytes(b"NRRD0004\n")
        done = run("detect", odd_folder / f"{LATIN1}.nrrd", "--output", odd_folder / "out")
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"is damaged or incomplete" in done.stderr
        assert [file.name for file in odd_folder.iterdir()] == [f"{LATIN1}.nrrd"]

    def test_are_printed_by_the_commands(self, make_volume, odd_folder):
        write_volume(make_volume(), odd_folder / f"{LATIN1}.nrrd")
        done = run("add", odd_folder / "set", odd_folder / f"{LATIN1}.nrrd", "--reference", "--patient", LATIN1)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"ls.nrrd" in done.stdout

    def test_of_patients_are_read(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            file.write_bytes(file.read_bytes().replace(b"Test^Phantom", b"T\xe4st^Phant\xf6m"))
        assert agree(read_volume(folder), make_volume())

    def test_with_line_breaks_make_no_message_of_several_lines(self, tmp_path):
        (tmp_path / "a\nb.nrrd").write_bytes(b"NRRD0004\n")
        with pytest.raises(VolumeError, match=re.escape("a\N{REPLACEMENT CHARACTER}b.nrrd is damaged")):
            read_volume(tmp_path / "a\nb.nrrd")

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
    def test_that_no_file_can_have_are_refused(self, name):
        with pytest.raises(VolumeError, match=r"does not exist|can not be read"):
            read_volume(name)

    def test_of_two_hundred_letters_are_read(self, agree, make_volume, tmp_path):
        path = tmp_path / f"{'ü' * 100} $(x) 'q' \"\u202e.nrrd"
        write_volume(make_volume(), path)
        assert agree(read_volume(path), make_volume())


def open_to_nobody(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and str(place) not in ("/", "/tmp"):
            place.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
class TestPipesAndLinks:
    def test_a_pipe_is_refused_at_once(self, tmp_path):
        os.mkfifo(tmp_path / "scan.nrrd")
        with pytest.raises(VolumeError, match=r"scan\.nrrd is neither a file nor a folder"):
            read_volume(tmp_path / "scan.nrrd")
        done = run("detect", tmp_path / "scan.nrrd", "--output", tmp_path / "out")
        assert done.returncode == 2 and not (tmp_path / "out").exists()

    def test_a_pipe_beside_slices_is_passed_over(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        os.mkfifo(folder / "pipe.dcm")
        assert agree(read_volume(folder), make_volume())

    def test_a_link_that_leads_nowhere_is_noted(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        (folder / "latest").symlink_to("not-there")
        read = read_volume(folder)
        assert agree(read, make_volume())
        assert read.note == (
            "ct holds files or folders that could not be read and were left out "
            "(latest: damaged, packed, no read permission, or a link that leads nowhere)."
        )

    def test_a_link_to_a_scan_is_read(self, agree, make_volume, tmp_path):
        write_volume(make_volume(), tmp_path / "a.nrrd")
        (tmp_path / "link.nii").symlink_to("a.nrrd")  # the content decides, not the name
        assert agree(read_volume(tmp_path / "link.nii"), make_volume())

    def test_a_file_without_permission_beside_good_ones_is_noted(self, agree, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        open_to_nobody(tmp_path)
        (folder / "secret.dcm").write_bytes(b"secret")
        (folder / "secret.dcm").chmod(0)
        with not_root():
            read = read_volume(folder)
        assert agree(read, make_volume()) and "left out (secret.dcm: " in read.note

    def test_a_folder_without_permission_beside_good_ones_is_noted_and_alone_it_is_not_called_empty(
        self, agree, make_volume, write_dicom, tmp_path
    ):
        """Half of the scan was read without a word."""
        whole = make_volume(size=(24, 20, 40))
        write_dicom(whole, tmp_path / "ct" / "A", SeriesInstanceUID="1.2.3", skip=tuple(range(22, 40)))
        write_dicom(whole, tmp_path / "ct" / "B", SeriesInstanceUID="1.2.3", skip=tuple(range(22)))
        open_to_nobody(tmp_path)
        (tmp_path / "ct" / "B").chmod(0)
        (tmp_path / "other" / "C").mkdir(parents=True)
        (tmp_path / "other" / "C").chmod(0)
        with not_root():
            read = read_volume(tmp_path / "ct")
            with pytest.raises(
                VolumeError, match=r"other holds no DICOM images \(C: damaged, packed, no read permission"
            ):
                read_volume(tmp_path / "other")
        for place in (tmp_path / "ct" / "B", tmp_path / "other" / "C"):
            place.chmod(0o755)
        assert (
            len(read.array) == 22
            and "holds files or folders that could not be read and were left out (B: " in read.note
        )
        assert agree(read_volume(tmp_path / "ct"), whole)


def test_what_a_detached_header_points_to_is_never_a_device(tmp_path):
    fields = "NRRD0004\ntype: short\ndimension: 3\nsizes: 16 16 16\nendian: little\nencoding: raw\nspacings: 1 1 1\n"
    for target in ("/dev/zero", "/dev/stdin", "."):
        (tmp_path / "a.nhdr").write_text(f"{fields}data file: {target}\n")
        with pytest.raises(VolumeError, match="which is not there"):
            read_volume(tmp_path / "a.nhdr")
