"""What is read straight from the file, or known from images before, is what pydicom reads of each image alone."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from dicom_nodes import headers
from dicom_nodes.errors import SeriesUnreadable
from dicom_nodes.headers import forget_headers, read_headers
from dicom_nodes.native import fill_native
from dicom_nodes.reader import read_voxels
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.factories import AXIAL, Grid, classic_series, classic_slice, enhanced, image_of, item, save, save_all
from tests.tricky_cases import CASES

SMALL = Grid(shape=(4, 3, 5))


def voxels_of(paths):
    (volume,) = find_volumes(read_headers(paths)).volumes
    return read_voxels(volume)


def by_both_ways(paths, monkeypatch):
    """The voxels as they are read from the file, and as pydicom reads them."""
    straight = voxels_of(paths)
    with monkeypatch.context() as patched:
        patched.setattr("dicom_nodes.reader.fill_native", lambda *_: False)
        return straight.array, voxels_of(paths).array


def headers_by_both_ways(paths, monkeypatch):
    """The headers with what is kept of the images before, and each read as a whole."""
    forget_headers()
    repeated = read_headers(paths)
    with monkeypatch.context() as patched:
        patched.setattr("dicom_nodes.headers.own", lambda _: None)
        return repeated, read_headers(paths)


def series_of(kind, folder, **attributes):
    """A series of noise that fills every bit of the type, the unused ones as well."""
    noise = np.random.default_rng(0)
    info = np.iinfo(kind)
    datasets = []
    for z in range(4):
        pixels = noise.integers(info.min, info.max, SMALL.shape[1:], kind, endpoint=True)
        datasets.append(classic_slice(SMALL, z, **{**image_of(pixels), **attributes}))
    return save_all(datasets, folder)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"RescaleSlope": "0.3", "RescaleIntercept": "-7.1"}, {"PhotometricInterpretation": "MONOCHROME1"}],
    ids=["as stored", "rescaled", "inverted"],
)
def test_values_straight_from_the_file_are_those_that_pydicom_decodes(kind, attributes, tmp_path, monkeypatch):
    paths = series_of(kind, tmp_path, **attributes)

    straight, decoded = by_both_ways(paths, monkeypatch)

    assert np.array_equal(straight, decoded)
    assert fill_native(np.empty(SMALL.shape[1:], np.float32), paths[0])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
@pytest.mark.parametrize("unused", [1, 4, 7])
def test_bits_that_are_not_stored_are_dropped_as_pydicom_drops_them(kind, unused, tmp_path, monkeypatch):
    stored = np.iinfo(kind).bits - unused

    straight, decoded = by_both_ways(series_of(kind, tmp_path, BitsStored=stored, HighBit=stored - 1), monkeypatch)

    assert np.array_equal(straight, decoded)


def test_each_image_is_rescaled_by_its_own_slope(tmp_path, monkeypatch):
    datasets = [classic_slice(AXIAL, z, RescaleSlope=1 + z / 4, RescaleIntercept=-100 * z) for z in range(4)]

    straight, decoded = by_both_ways(save_all(datasets, tmp_path), monkeypatch)

    assert np.array_equal(straight, decoded)
    assert np.array_equal(straight[3], (AXIAL.pixels(3) * 1.75 - 300).astype(np.float32))


@pytest.mark.parametrize(
    "unusual",
    [
        {"syntax": ImplicitVRLittleEndian}, {"syntax": RLELossless}, {"samples": 3}, {"frames": 2}, {"matrix": 1},
        {"rescaled by a sequence": True}, {"cut": True}, {"longer": True}, {"floating": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_plain_is_left_to_pydicom(unusual, tmp_path):
    dataset = classic_slice(AXIAL, 0)
    if "samples" in unusual:
        dataset.SamplesPerPixel = 3
    if "frames" in unusual:
        dataset.NumberOfFrames = 2
    if "rescaled by a sequence" in unusual:
        dataset.PixelValueTransformationSequence = [item(RescaleSlope=2, RescaleIntercept=0, RescaleType="US")]
    if "longer" in unusual:
        dataset.PixelData += b"\0\0"
    if "floating" in unusual:
        dataset.FloatPixelData = AXIAL.pixels(0).astype(np.float32).tobytes()
        del dataset.PixelData
    path = save(dataset, tmp_path, *([unusual["syntax"]] if "syntax" in unusual else []))
    if "cut" in unusual:
        path.write_bytes(path.read_bytes()[:-3])
    rows, columns = AXIAL.shape[1:]
    out = np.empty((rows, columns + unusual.get("matrix", 0)), np.float32)

    assert not fill_native(out, path)


def test_a_file_that_shrinks_after_its_header_was_read_is_named(tmp_path):
    paths = save_all(classic_series(), tmp_path)
    (volume,) = find_volumes(read_headers(paths)).volumes
    paths[2].write_bytes(paths[2].read_bytes()[:-10])

    with pytest.raises(SeriesUnreadable, match="bytes of pixel data are there"):
        read_voxels(volume)


ODD = {
    "no number": {"InstanceNumber": None},
    "empty number": {"InstanceNumber": ""},
    "no position": {"ImagePositionPatient": None},
    "patient": {"PatientID": "other"},
    "character set": {"SpecificCharacterSet": "ISO_IR 192", "SeriesDescription": "膝"},
    "place elsewhere": {"PlanePositionSequence": [item(ImagePositionPatient=[1, 2, 3])]},
    "frames": {"NumberOfFrames": 2},
    "one frame": {"NumberOfFrames": 1},
    "other echo": {"EchoTime": 7.5},
}


@pytest.mark.parametrize("name", ODD)
def test_a_header_among_like_ones_is_read_as_if_it_were_alone(name, tmp_path, monkeypatch):
    datasets = classic_series()
    for keyword, value in ODD[name].items():
        setattr(datasets[2], keyword, value)
        if value is None:
            delattr(datasets[2], keyword)

    repeated, alone = headers_by_both_ways(save_all([*datasets, enhanced()], tmp_path), monkeypatch)

    assert repeated == alone
    assert len(repeated.read) == 6


WRITTEN = {
    "ImagePositionPatient": (b"1\\2\\3 ", b"+1.5e1\\ -.5 \\3.", b"1\\2", b"1\\2\\3\\4", b"a\\b\\c ",
                             b"1e999\\0\\0 ", b"nan\\0\\0", b"1,5\\0\\0 ", b" ", b"\\\\", b"1_0\\0\\0 ",
                             b"1\\2\\3\0"),
    "InstanceNumber": (b"7 ", b" 7", b"-7", b"+7", b"7.0 ", b"7.5 ", b"07", b"7\\8 ", b"x ", b" ", b"1_0 ", b"7\0",
                       b"9" * 12),
    "SOPInstanceUID": (b"1.2.3\0", b"1.2.3 ", b" 1.2", b"1.2\\3.4 ", b"", b"x1", b"1.2.3\0\0\0"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("keyword", "value"), [(keyword, value) for keyword, values in WRITTEN.items() for value in values], ids=repr
)
def test_however_an_image_writes_what_is_its_own(keyword, value, tmp_path, monkeypatch):
    paths = save_all(classic_series(), tmp_path)
    paths[2].write_bytes(with_value(paths[2].read_bytes(), keyword, value))

    repeated, alone = headers_by_both_ways(paths, monkeypatch)

    assert repeated == alone


def with_value(written, keyword, value):
    """The bytes of a file whose first element of a keyword has another value."""
    tag = {"ImagePositionPatient": (0x20, 0x32, b"DS"), "InstanceNumber": (0x20, 0x13, b"IS"),
           "SOPInstanceUID": (0x08, 0x18, b"UI")}[keyword]  # fmt: skip
    at = written.index(tag[0].to_bytes(2, "little") + tag[1].to_bytes(2, "little") + tag[2])
    length = int.from_bytes(written[at + 6 : at + 8], "little")
    return written[: at + 6] + len(value).to_bytes(2, "little") + value + written[at + 8 + length :]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_byte_of_an_image_is_changed_its_header_is_that_of_the_image_alone(data, tmp_path, monkeypatch):
    folder = tmp_path / "series"
    if not folder.exists():
        folder.mkdir()
        save_all(classic_series(), folder)
        (tmp_path / "whole").write_bytes(sorted(folder.iterdir())[2].read_bytes())
    paths, whole = sorted(folder.iterdir()), bytearray((tmp_path / "whole").read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    paths[2].write_bytes(whole)

    repeated, alone = headers_by_both_ways(paths, monkeypatch)

    assert repeated == alone


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_the_series_of_all_vendors_are_read_as_image_by_image(case, tmp_path, monkeypatch):
    repeated, alone = headers_by_both_ways(save_all(case.make(), tmp_path), monkeypatch)

    assert repeated == alone


def test_nothing_of_a_patient_is_kept(tmp_path):
    save_all(classic_series(PatientName="Unmistakable^Name", PatientID="Unmistakable-ID"), tmp_path)
    forget_headers()
    read_headers(sorted(tmp_path.iterdir()))

    assert headers._alike
    assert "Unmistakable" not in repr(headers._alike)


@real_data.needed
@pytest.mark.parametrize("name", real_data.folders())
def test_real_headers_are_read_as_image_by_image(name, monkeypatch):
    repeated, alone = headers_by_both_ways(real_data.files(name), monkeypatch)

    assert repeated == alone
