"""The fingerprint of a series: the same for the same content from any sender, another for any change in it."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import build_context

from dicom_nodes.fingerprint import series_fingerprint
from dicom_nodes.part10 import file_header
from tests import real_data
from tests.dicom_nodes.peers import MR, associated, needs_dcmtk, receiving
from tests.factories import AXIAL, classic_slice, item, save

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def rich(**attributes: object) -> Dataset:
    """An MR slice with what encodings treat differently: numbers, padded text, sequences, private elements."""
    codes = [item(CodeValue=f"12738006{n}", CodingSchemeDesignator="SCT", CodeMeaning=f"Part {n}") for n in (1, 2)]
    purpose = item(ReferencedSOPInstanceUID="1.2.3", PurposeOfReferenceCodeSequence=codes)
    dataset = classic_slice(
        AXIAL, 0, SpecificCharacterSet="ISO_IR 100", PatientName="Jörg^Odd", SeriesDescription="t2",
        SOPInstanceUID="1.2.3.4", SeriesInstanceUID="1.2.3.5", StudyInstanceUID="1.2.3.6",
        FrameOfReferenceUID="1.2.3.7", AcquisitionMatrix=[0, 256, 8192, 0], SmallestImagePixelValue=8224,
        ReferencedImageSequence=[purpose], ProcedureCodeSequence=[], **attributes,
    )  # fmt: skip
    block = dataset.private_block(0x0019, "SAGITTAL TEST", create=True)
    block.add_new(0x01, "LO", "odd")
    block.add_new(0x02, "US", 8193)
    block.add_new(0x03, "FD", [0.1, -2.5])
    block.add_new(0x04, "SQ", [item(EchoTime=0.5, AcquisitionMatrix=[1, 2, 3, 4])])
    block.add_new(0x05, "OB", b"\1\2\3\4")
    return dataset


def of(dataset: Dataset, folder: Path, syntax: UID = ExplicitVRLittleEndian) -> str:
    return series_fingerprint([save(dataset, folder, syntax)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> str:
    return of(rich(), tmp_path_factory.mktemp("known"))


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
def test_every_native_encoding_of_the_same_content_is_the_same(folder: Path, known: str, syntax: UID) -> None:
    assert of(rich(), folder, syntax) == known


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.name)
def test_neither_lengths_nor_order_nor_padding_nor_file_meta_count(folder: Path, known: str, syntax: UID) -> None:
    path = save(rich(), folder, syntax)
    dataset = dcmread(path)
    for sequence in (each for each in dataset.iterall() if each.VR == "SQ"):
        sequence.is_undefined_length = True
        for each in sequence.value:
            each.is_undefined_length_sequence_item = True
    dataset.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    dataset.SeriesDescription = "t2    "
    dataset.add_new((0x0008, 0x0000), "UL", 4711)
    dataset.add_new((0xFFFC, 0xFFFC), "OB", bytes(100))
    other = folder / "another.name"
    dataset.save_as(other)
    assert other.read_bytes() != path.read_bytes()
    assert series_fingerprint([other]) == known


def test_elements_in_the_wrong_order_are_the_same_content(folder: Path, known: str) -> None:
    path = save(rich(), folder)
    body, end = path.read_bytes(), b"\x08\x00\x60\x00CS\x02\x00MR"
    assert body.count(end) == 1
    path.write_bytes(body.replace(end, b"") + end)
    assert series_fingerprint([path]) == known


def test_the_order_of_the_files_is_none_of_the_content(folder: Path) -> None:
    paths = [save(classic_slice(AXIAL, z), folder) for z in range(3)]
    assert series_fingerprint(paths) == series_fingerprint(paths[::-1])
    assert len({series_fingerprint(paths[:count]) for count in range(4)}) == 4


def test_a_private_element_whose_vr_was_lost_on_the_way_is_the_same(folder: Path, known: str) -> None:
    dataset = rich()
    creator = dataset.private_block(0x0019, "SAGITTAL TEST")
    for element, value in ((0x01, b"odd "), (0x02, b"\x01\x20"), (0x03, np.array([0.1, -2.5]).tobytes())):
        dataset[creator.get_tag(element)] = DataElement(creator.get_tag(element), "UN", value)
    assert of(dataset, folder) == known


def changed(value: Any) -> Any:
    """A value that is as near to this one as may be."""
    match value:
        case Sequence():
            return list(value)[1:] or [Dataset()]
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
        case int() | float():
            return value + 1
        case MultiValue():
            return [*value[:-1], changed(value[-1])]
        case _:
            text = str(value or "")
            return text[:-1] + ("1" if text.endswith("0") else "0")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda syntax: syntax.name)
def test_one_changed_element_wherever_it_lies_is_another_content(folder: Path, known: str, syntax: UID) -> None:
    places = len(list(rich().iterall()))
    found = {known}
    for place in range(places):
        dataset = rich()
        element = list(dataset.iterall())[place]
        element.value = changed(element.value)
        found.add(of(dataset, folder, syntax))
        assert len(found) == place + 2, element
    assert places == 50


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=lambda syntax: syntax.name)
def test_one_changed_pixel_is_another_content(folder: Path, syntax: UID) -> None:
    first = rich()
    pixels = AXIAL.pixels(0).astype("<u2")
    pixels[2, 3] += 1
    assert of(rich(PixelData=pixels.tobytes()), folder, syntax) != of(first, folder, syntax)


def test_how_compressed_pixels_are_cut_into_fragments_is_none_of_the_content(folder: Path) -> None:
    path = save(rich(), folder, RLELossless)
    dataset = dcmread(path)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    for number, (fragments, has_bot) in enumerate([(1, False), (2, False), (2, True)]):
        dataset.PixelData = encapsulate([frame], fragments_per_frame=fragments, has_bot=has_bot)
        dataset.save_as(folder / f"{number}")
    assert (
        len({series_fingerprint([folder / f"{number}"]) for number in range(3)} | {series_fingerprint([path])}) == 1
    )


def test_the_same_image_in_another_compression_is_taken_for_another_content(folder: Path, known: str) -> None:
    assert of(rich(), folder, RLELossless) != known


@given(st.data())
def test_no_bytes_whatever_break_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    syntax = data.draw(st.sampled_from(NATIVE))
    body = bytearray(save(rich(), folder, syntax).read_bytes())
    start = 144 + int.from_bytes(body[140:144], "little")
    for place in data.draw(st.lists(st.integers(start, len(body) - 1), max_size=4)):
        body[place] = data.draw(st.integers(0, 255))
    path = folder / "broken"
    path.write_bytes(body[: data.draw(st.integers(0, len(body)))])
    assert len(series_fingerprint([path])) == 64


def test_sequences_nested_without_end_are_compared_by_their_bytes(folder: Path) -> None:
    header = file_header(MR, "1.2.3", ExplicitVRLittleEndian, "TEST")
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    found = set()
    for depth in (5000, 5001):
        path = folder / f"{depth}"
        path.write_bytes(header + sequence * depth)
        found.add(series_fingerprint([path]))
    assert len(found) == 2


def stored_by_dcmtk(folder: Path, option: str, paths: list[Path]) -> list[Path]:
    """What lies on our disk once dcmtk's storescu sent files, re-encoded by it as the option says."""
    with receiving(folder) as receiver:
        to = ["-aec", receiver.node.aet, "127.0.0.1", str(receiver.node.port)]
        command = ["storescu", "-R", option, *to, *map(str, paths)]
        subprocess.run(command, env=os.environ | {"TCP_NODELAY": "1"}, check=True, timeout=60)
        return [instance.path for instance in receiver.heard]


@real_data.needed
@needs_dcmtk
@pytest.mark.parametrize(
    ("name", "option", "syntax"),
    [
        ("prostate/px0001_t2_tra", "-xi", ImplicitVRLittleEndian),
        ("prostate/px0001_t2_tra", "-xe", ExplicitVRLittleEndian),
        ("prostate/px0001_t2_tra", "-xd", DeflatedExplicitVRLittleEndian),
        ("vendors/d2n_ge_mr750_sag_implicit", "-xb", ExplicitVRBigEndian),
        ("vendors/d2n_ge_mr750_sag_implicit", "-xe", ExplicitVRLittleEndian),
        ("vendors/ge_premier_localizer_ffs", "-xi", ImplicitVRLittleEndian),
        ("vendors/siemens_xa30_dwi_pa", "-xi", ImplicitVRLittleEndian),
        ("vendors/philips_elition_enhanced_tse", "-xi", ImplicitVRLittleEndian),
    ],
)
def test_a_real_series_that_dcmtk_encoded_anew_is_the_same(
    tmp_path: Path, name: str, option: str, syntax: UID
) -> None:
    paths = real_data.files(name)[:3]
    stored = stored_by_dcmtk(tmp_path, option, paths)
    assert {dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in stored} == {syntax}
    assert series_fingerprint(stored) == series_fingerprint(paths)


@real_data.needed
def test_a_real_series_that_pynetdicom_sends_in_another_encoding_is_the_same(tmp_path: Path) -> None:
    paths = real_data.files("vendors/d2n_ge_mr750_sag_implicit")[:3]
    with receiving(tmp_path) as receiver:
        with associated(receiver.node, build_context(MR, ExplicitVRLittleEndian)) as association:
            for path in paths:
                dataset = dcmread(path)
                dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                assert association.send_c_store(dataset).Status == 0x0000
        stored = [instance.path for instance in receiver.heard]
    assert series_fingerprint(stored) == series_fingerprint(paths)
