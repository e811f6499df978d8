"""MetaImage headers: letters, matrices and places that contradict each other or are not there, data elsewhere."""

from __future__ import annotations

import zlib

import pytest
from CarotidLandmarkLib.volume import VolumeError, read_volume
from hypothesis import given, settings

from .test_headers import AXES, error_mm, scan
from .writers import metaimage


class TestMetaImage:
    def test_voxels_are_binary_where_the_header_does_not_say_so(self, tmp_path):
        path = metaimage(scan(), tmp_path / "a.mha")
        path.write_bytes(path.read_bytes().replace(b"BinaryData = True\n", b"", 1))
        assert error_mm(read_volume(path), scan()) < 1e-3

    @settings(max_examples=48, deadline=None)
    @given(AXES)
    def test_letters_are_followed_where_there_is_no_matrix(self, tmp_path_factory, axes):
        volume = scan(axes=axes)
        order, flips = axes
        letters = "".join(("RAI" if flip > 0 else "LPS")[axis] for axis, flip in zip(order, flips, strict=True))
        path = tmp_path_factory.mktemp("m") / "a.mha"
        read = read_volume(
            metaimage(volume, path, f"AnatomicalOrientation = {letters}", leave_out=("TransformMatrix",))
        )
        assert read.notes == () and error_mm(read, volume) < 1e-3

    @settings(max_examples=48, deadline=None)
    @given(AXES, AXES)
    def test_a_matrix_is_followed_and_letters_that_disagree_are_noted(self, tmp_path_factory, axes, other):
        volume = scan(axes=axes)
        letters = "".join(("RAI" if flip > 0 else "LPS")[axis] for axis, flip in zip(*other, strict=True))
        path = tmp_path_factory.mktemp("m") / "a.mha"
        read = read_volume(metaimage(volume, path, f"AnatomicalOrientation = {letters}"))
        assert error_mm(read, volume) < 1e-3
        assert bool(read.notes) == (tuple(axes[0]) != tuple(other[0]) or axes[1] != other[1])
        assert all("states its orientation twice, and differently" in note for note in read.notes)

    def test_without_matrix_or_letters_a_note_says_that_the_sides_were_assumed(self, tmp_path):
        for lines in ((), ("AnatomicalOrientation = ???",)):
            read = read_volume(metaimage(scan(), tmp_path / "a.mha", *lines, leave_out=("TransformMatrix",)))
            assert (
                read.note == "a.mha does not say which side is left; the axes were taken as left, posterior, superior."
            )

    def test_axes_that_are_not_of_length_one_are_refused(self, tmp_path):
        line = "TransformMatrix = 1 0 0 0 1 0 0 0.3 1"
        with pytest.raises(VolumeError, match=r"axes that are not of length one \(TransformMatrix\)"):
            read_volume(metaimage(scan(), tmp_path / "a.mha", line, leave_out=("TransformMatrix",)))

    def test_without_voxel_size_it_is_refused(self, tmp_path):
        with pytest.raises(VolumeError, match="does not say its voxel size"):
            read_volume(metaimage(scan(), tmp_path / "a.mha", leave_out=("ElementSpacing",)))
        for sizes in ("0 0 0", "1 -1 1", "nan 1 1"):
            with pytest.raises(VolumeError, match="voxel size of zero or less"):
                read_volume(
                    metaimage(scan(), tmp_path / "a.mha", f"ElementSpacing = {sizes}", leave_out=("ElementSpacing",))
                )

    @pytest.mark.parametrize("field", ["Offset", "Position", "Origin"])
    def test_the_place_has_three_names(self, tmp_path, field):
        volume = scan()
        read = read_volume(metaimage(volume, tmp_path / "a.mha", f"{field} = 1 2 3", leave_out=("Offset",)))
        assert read.notes == () and error_mm(read, volume) < 1e-3

    def test_a_field_that_comes_twice_and_differs_is_refused(self, tmp_path):
        with pytest.raises(VolumeError, match="states its Offset twice, and differently"):
            read_volume(metaimage(scan(), tmp_path / "a.mha", "Position = 9 9 9"))

    def test_data_elsewhere_are_read_compressed_or_named_as_missing(self, tmp_path):
        volume = scan()
        (tmp_path / "a.zraw").write_bytes(zlib.compress(volume.array.tobytes()))
        read = read_volume(metaimage(volume, tmp_path / "a.mhd", "CompressedData = True", data="a.zraw"))
        assert error_mm(read, volume) < 1e-3
        with pytest.raises(VolumeError, match=r"says that its voxels are in moved\.raw, which is not there"):
            read_volume(metaimage(volume, tmp_path / "a.mhd", data="moved.raw"))

    def test_comments_may_be_several(self, tmp_path):
        read = read_volume(metaimage(scan(), tmp_path / "a.mha", "Comment = of Anna", "Comment = and of Ben"))
        assert read.notes == () and error_mm(read, scan()) < 1e-3

    @pytest.mark.parametrize("where", ["LIST", "LIST 2", "LIST 2D", "list", "slice%03d.raw 1 18 1"])
    def test_voxels_in_several_files_are_refused_as_such(self, tmp_path, where):
        with pytest.raises(
            VolumeError, match=r"a\.mhd has its voxels in several files, which is not read; save it as one"
        ):
            read_volume(metaimage(scan(), tmp_path / "a.mhd", data=where))

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("ElementToIntensityFunctionSlope = 2", "slope or offset of their own"),
            ("DistanceUnits = ell", "unknown unit"),
            ("ElementNumberOfChannels = 3", "does not hold one number per voxel"),
            ("TransformMatrix = 1 0 0 0 1 0", "states its TransformMatrix twice"),
        ],
    )
    def test_what_is_not_read_is_refused_with_its_reason(self, tmp_path, line, sentence):
        with pytest.raises(VolumeError, match=sentence):
            read_volume(metaimage(scan(), tmp_path / "a.mha", line))
