"""Stored values of DICOM files: rescale, padding, tables, bits beside the values, and what they are values of."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from CarotidLandmarkLib.volume import Volume, VolumeError, read_volume
from pydicom.dataset import Dataset


class TestStoredValues:
    @pytest.mark.parametrize("signed", [0, 1])
    @pytest.mark.parametrize("bits", [12, 16])
    def test_monochrome1_is_a_matter_of_display(self, agree, make_volume, write_dicom, tmp_path, signed, bits):
        def change(dataset, k):
            if signed:
                dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
                dataset.PixelData = volume.array[k].astype("<i2").tobytes()

        volume = make_volume()
        tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": bits, "HighBit": bits - 1}
        assert agree(read_volume(write_dicom(volume, tmp_path / "ct", edit=change, **tags)), volume)

    def test_overlays_in_unused_bits_are_no_values(self, agree, make_volume, write_dicom, tmp_path):
        def draw(dataset, k):
            stored = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
            dataset.PixelData = stored.tobytes()
            dataset.add_new((0x6000, 0x0102), "US", 15)

        folder = write_dicom(make_volume(), tmp_path / "ct", edit=draw, BitsStored=12, HighBit=11)
        assert agree(read_volume(folder), make_volume())

    def test_a_range_of_padding_is_air(self, agree, make_volume, write_dicom, tmp_path):
        def pad(dataset, k):
            stored = np.frombuffer(dataset.PixelData, "<u2").reshape(20, 24).copy()
            stored[:, :3] = 60_000, 61_000, 65_535
            dataset.PixelData = stored.tobytes()

        volume = make_volume()
        array = volume.array.copy()
        array[:, :, :3] = -1024
        tags = {"PixelPaddingValue": 60_000, "PixelPaddingRangeLimit": 65_535}
        folder = write_dicom(volume, tmp_path / "ct", edit=pad, **tags)
        assert agree(read_volume(folder), Volume(array, volume.affine_lps))

    @pytest.mark.parametrize("value", [None, "", "x"])
    @pytest.mark.parametrize("tag", ["RescaleIntercept", "RescaleSlope"])
    def test_a_series_of_which_a_slice_lacks_its_rescale_is_refused(
        self, make_volume, write_dicom, tmp_path, tag, value
    ):
        def change(dataset, k):
            if k == 7 and value is None:
                delattr(dataset, tag)
            elif k == 7:
                dataset[tag]._value = value

        with pytest.raises(VolumeError, match="has slices with and without Rescale Slope and Intercept"):
            read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=change))

    def test_a_slope_of_zero_and_a_table_in_place_of_the_rescale_are_refused(self, make_volume, write_dicom, tmp_path):
        def table(dataset, k):
            lut = Dataset()
            lut.LUTDescriptor, lut.ModalityLUTType = [4096, 0, 16], "HU"
            lut.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
            dataset.ModalityLUTSequence = [lut]

        with pytest.raises(VolumeError, match="has slices with a Rescale Slope of 0"):
            read_volume(write_dicom(make_volume(), tmp_path / "zero", RescaleSlope="0"))
        with pytest.raises(VolumeError, match=r"has values that become HU by a table \(Modality LUT\)"):
            read_volume(write_dicom(make_volume(), tmp_path / "table", edit=table))

    def test_values_in_another_unit_than_hu_come_last_and_are_noted(self, agree, make_volume, write_dicom, tmp_path):
        scan = make_volume()
        write_dicom(make_volume(size=(24, 20, 30)), tmp_path / "ct" / "ed", SeriesNumber=2, RescaleType="ED")
        read = read_volume(tmp_path / "ct")
        assert "may be computed, not scanned (ORIGINAL/PRIMARY/AXIAL, values in ED)" in read.note
        write_dicom(scan, tmp_path / "ct" / "hu", SeriesNumber=3, RescaleType="HU")
        assert agree(read_volume(tmp_path / "ct"), scan)

    @pytest.mark.parametrize("modality", ["ct", None])
    def test_a_ct_image_is_ct_however_its_modality_is_written(
        self, agree, make_volume, write_dicom, tmp_path, modality
    ):
        def change(dataset, k):
            dataset.Modality = modality
            if modality is None:
                del dataset.Modality

        with pydicom.config.disable_value_validation():
            folder = write_dicom(make_volume(), tmp_path / "ct", edit=change)
        assert agree(read_volume(folder), make_volume())

    @pytest.mark.parametrize("padding", [0, 4095, 63536])
    def test_pixels_that_the_header_calls_padding_are_air(self, agree, make_volume, write_dicom, tmp_path, padding):
        def pad(dataset, k):
            stored = np.frombuffer(dataset.PixelData, "<u2").reshape(20, 24).copy()
            stored[:, :3] = padding
            dataset.PixelData = stored.tobytes()

        volume = make_volume()
        array = volume.array.copy()
        array[:, :, :3] = -1024
        folder = write_dicom(volume, tmp_path / "ct", edit=pad, PixelPaddingValue=padding)
        assert agree(read_volume(folder), Volume(array, volume.affine_lps))

    def test_a_series_without_rescale_whose_values_are_stored_is_refused(self, make_volume, write_dicom, tmp_path):
        def change(dataset, k):
            del dataset.RescaleIntercept, dataset.RescaleSlope

        with pytest.raises(VolumeError, match="which can not be Hounsfield units"):
            read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=change))


@pytest.mark.parametrize("odd", [0, 9])
def test_what_one_slice_says_of_its_values_counts(make_volume, write_dicom, tmp_path, odd):
    """The first slice was asked for all."""

    def change(dataset, k):
        if k == odd:
            dataset.RescaleType = "MGML"

    assert (
        "may be computed, not scanned (" in read_volume(write_dicom(make_volume(), tmp_path / "map", edit=change)).note
    )

    def table(dataset, k):
        if k == odd:
            entry = Dataset()
            entry.LUTDescriptor, entry.ModalityLUTType = [16, 0, 16], "HU"
            entry.LUTData = np.arange(16, dtype="<u2").tobytes()
            dataset.ModalityLUTSequence = [entry]

    with pytest.raises(VolumeError, match=r"become HU by a table \(Modality LUT\)"):
        read_volume(write_dicom(make_volume(), tmp_path / "table", edit=table))
