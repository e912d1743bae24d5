"""Files: every encoding is read, nothing raises, and of the patient nothing travels on."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_nodes.errors import Rule
from dicom_nodes.headers import Headers, by_series, read_headers
from dicom_nodes.types import Plane
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.dicom_nodes.series import broken, content_of, rules_of, with_private
from tests.factories import AXIAL, GRIDS, Grid, classic_series, classic_slice, enhanced, item, save, save_all


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
def test_headers_are_read_in(syntax, tmp_path):
    paths = [save(dataset, tmp_path, syntax) for dataset in classic_series()]

    (volume,) = find_volumes(read_headers(paths)).volumes

    assert np.allclose(volume.affine, AXIAL.affine, atol=1e-5)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=lambda uid: uid.name)
def test_headers_are_read_without_preamble_and_file_meta(syntax, tmp_path):
    paths = []
    for dataset in classic_series():
        paths.append(tmp_path / f"{dataset.SOPInstanceUID}.bare")
        dataset.save_as(paths[-1], implicit_vr=syntax.is_implicit_VR, little_endian=True)
        assert paths[-1].read_bytes()[128:132] != b"DICM"

    assert len(find_volumes(read_headers(paths)).volumes) == 1


def test_facts_are_what_routing_reads_and_nothing_of_the_patient(tmp_path):
    datasets = classic_series(
        BodyPartExamined="KNEE",
        ProtocolName="t2_tse_sag",
        ScanningSequence=["SE", "IR"],
        Laterality="L",
        AnatomicRegionSequence=[item(CodeValue="72696002", CodingSchemeDesignator="SCT", CodeMeaning="Knee")],
        OtherPatientIDs="P2",
    )

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.facts["BodyPartExamined"] == "KNEE"
    assert volume.facts["ScanningSequence"] == "SE\\IR"
    assert volume.facts["Laterality"] == "L"
    assert volume.facts["AnatomicRegionSequence"] == "Knee"
    assert volume.facts["ImageType"] == "ORIGINAL\\PRIMARY\\M"
    assert "StudyDescription" not in volume.facts
    assert not any("Patient" in keyword and keyword != "PatientPosition" for keyword in volume.facts)
    for secret in ("P1", "P2", "Miller", "19700101"):
        assert secret not in repr(read_headers(sorted(tmp_path.glob("*"))))


def test_laterality_of_an_enhanced_frame_is_a_fact(tmp_path):
    dataset = enhanced()
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [
        item(
            FrameLaterality="R",
            AnatomicRegionSequence=[item(CodeValue="72696002", CodingSchemeDesignator="SCT", CodeMeaning="Knee")],
        )
    ]

    (volume,) = content_of([dataset], tmp_path).volumes

    assert (volume.facts["FrameLaterality"], volume.facts["AnatomicRegionSequence"]) == ("R", "Knee")


def test_malformed_values_are_not_fatal_and_never_shown(tmp_path, caplog):
    paths = save_all(classic_series(StationName="MR1", PatientBirthDate="19700101"), tmp_path)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"19700101", b"1970**01"))

    (volume,) = find_volumes(read_headers(paths)).volumes

    assert volume.facts["StationName"] == "MR1"
    assert "1970" not in caplog.text


def test_headers_of_several_series_are_told_apart(tmp_path):
    headers = read_headers(save_all([*classic_series(), *classic_series(GRIDS["sagittal"])], tmp_path))

    assert [len(part.read) for part in by_series(headers).values()] == [5, 5]
    assert {volume.plane for volume in find_volumes(headers).volumes} == {Plane.AXIAL, Plane.SAGITTAL}


def test_files_that_are_no_dicom_are_named_and_the_rest_is_read(tmp_path):
    paths = save_all(classic_series(), tmp_path)
    contents = {
        "empty.dcm": b"",
        "text.dcm": b"not DICOM at all, but long enough to be looked at",
        "zeros": bytes(400),
    }
    for name, written in contents.items():
        (tmp_path / name).write_bytes(written)

    content = find_volumes(read_headers([*paths, *(tmp_path / name for name in contents), tmp_path / "absent.dcm"]))

    assert len(content.volumes) == 1
    assert rules_of(content) == [Rule.FILE] * 4
    for name, error in zip(sorted([*contents, "absent.dcm"]), content.left_out, strict=True):
        assert name in error.detail


def test_headers_cut_anywhere_never_raise(tmp_path):
    whole = save(enhanced(), tmp_path).read_bytes()
    path = tmp_path / "cut.dcm"
    for end in range(0, len(whole), 23):
        path.write_bytes(whole[:end])
        content = find_volumes(read_headers([path]))
        assert content.volumes == ()
        assert len(content.left_out) == 1


def test_headers_with_any_byte_changed_never_raise(tmp_path):
    whole = save(classic_slice(AXIAL, 0), tmp_path).read_bytes()
    path = tmp_path / "changed.dcm"
    for place in range(128, len(whole) - 96, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :])
        assert find_volumes(read_headers([path])).volumes == ()


@given(
    position=st.lists(st.floats(width=32), min_size=3, max_size=3),
    orientation=st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.6, 0.8, 1e30]), min_size=6, max_size=6),
    spacing=st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=2),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_geometry_however_absurd_raises(position, orientation, spacing, read_series):
    changed = replace(
        read_series.frames[0],
        position=tuple(position),
        orientation=tuple(orientation),
        pixel_spacing=tuple(spacing),
    )
    headers = [
        replace(read_series, sop_instance_uid=f"1.{z}", frames=(replace(changed, position=(z, *position[1:])),))
        for z in range(3)
    ]

    content = find_volumes(Headers(tuple(headers)))

    assert len(content.volumes) + len(content.left_out) > 0


@pytest.fixture(scope="module")
def read_series(tmp_path_factory):
    (header,) = read_headers([save(classic_slice(AXIAL, 0), tmp_path_factory.mktemp("one"))]).read
    return header


def test_codes_of_body_part_and_procedure_are_facts(tmp_path):
    datasets = classic_series(
        AnatomicRegionSequence=[coded("72696002", "Knee"), coded("30021000", "Lower leg")],
        ProcedureCodeSequence=[coded("241641004", "MRI of knee")],
    )

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.facts["AnatomicRegionSequence"] == "Knee\\Lower leg"
    assert volume.facts["AnatomicRegionSequence.CodeValue"] == "72696002\\30021000"
    assert volume.facts["ProcedureCodeSequence.CodeValue"] == "241641004"


def coded(value, meaning):
    return item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


@pytest.mark.parametrize(
    ("said", "fact"), [(["L", "R"], "L\\R"), (["R", None], "R"), ([None, "L"], "L"), (["L", "L"], "L")]
)
def test_a_side_that_differs_from_slice_to_slice_is_not_taken_from_the_first_alone(said, fact, tmp_path):
    datasets = classic_series()
    for number, dataset in enumerate(datasets):
        if said[number % 2]:
            dataset.Laterality = said[number % 2]

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.facts["Laterality"] == fact


def test_sides_of_enhanced_frames_are_gathered(tmp_path):
    dataset = enhanced()
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame.FrameAnatomySequence = [item(FrameLaterality="RL"[number // 3])]

    (volume,) = content_of([dataset], tmp_path).volumes

    assert volume.facts["FrameLaterality"] == "R\\L"


# Grids of tiles


GRID_MARKS = {
    "Siemens": {(0x0019, 0x0010): ("LO", "SIEMENS MR HEADER"), (0x0019, 0x100A): ("US", 25)},
    "United Imaging": {(0x0065, 0x0010): ("LO", "Image Private Header"), (0x0065, 0x1050): ("DS", "30")},
}


@pytest.mark.parametrize("name", GRID_MARKS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=lambda uid: uid.name)
def test_a_grid_is_told_by_the_number_of_its_tiles_where_the_image_type_is_silent(name, syntax, tmp_path):
    datasets = [with_private(dataset, GRID_MARKS[name]) for dataset in classic_series()]

    error = broken(find_volumes(read_headers(save_all(datasets, tmp_path, syntax))))

    assert error.rule is Rule.MOSAIC


@pytest.mark.parametrize(
    "mark",
    [
        {(0x0019, 0x0010): ("LO", "GEMS_ACQU_01"), (0x0019, 0x100A): ("US", 25)},
        {(0x0019, 0x0010): ("LO", "SIEMENS MR HEADER"), (0x0019, 0x100A): ("US", 1)},
    ],
    ids=["another vendor", "one tile"],
)
def test_no_grid_is(mark, tmp_path):
    assert len(content_of([with_private(each, mark) for each in classic_series()], tmp_path).volumes) == 1


# How files are read


def by_both_ways(paths, monkeypatch):
    """The headers as they are scanned, and as pydicom alone reads them."""
    scanned = read_headers(paths)
    with monkeypatch.context() as patched:
        patched.setattr("dicom_nodes.headers.scan_elements", lambda *_: None)
        return scanned, read_headers(paths)


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    ],
    ids=lambda uid: uid.name,
)
@pytest.mark.parametrize("undefined_length", [False, True])
def test_scanned_headers_are_those_that_pydicom_reads(syntax, undefined_length, tmp_path, monkeypatch):
    datasets = [*classic_series(SpecificCharacterSet="ISO_IR 192", ProtocolName="膝 T2"), enhanced()]
    for dataset in datasets:
        dataset.ReferencedImageSequence = [
            item(ReferencedSOPInstanceUID="1.2", PurposeOfReferenceCodeSequence=[coded("1", "x")])
        ]
        dataset.AnatomicRegionSequence = [coded("72696002", "Knee")]
        for element in dataset.iterall():
            element.is_undefined_length = undefined_length and element.VR == "SQ"
        for each in (dataset.ReferencedImageSequence[0], dataset.AnatomicRegionSequence[0]):
            each.is_undefined_length_sequence_item = undefined_length
    paths = [save(dataset, tmp_path, syntax) for dataset in datasets]

    scanned, read = by_both_ways(paths, monkeypatch)

    assert scanned == read
    assert len(scanned.read) == 6
    assert scanned.read[0].frames[0].facts["ProtocolName"] == "膝 T2"


@real_data.needed
@pytest.mark.parametrize("name", real_data.folders())
def test_real_headers_are_scanned_as_pydicom_reads_them(name, monkeypatch):
    scanned, read = by_both_ways(real_data.files(name), monkeypatch)

    assert scanned == read


def test_memory_does_not_grow_with_pixel_data(tmp_path):
    peaks = []
    for side in (16, 512):
        folder = tmp_path / str(side)
        folder.mkdir()
        datasets = [*classic_series(Grid(shape=(12, side, side))), enhanced(Grid(shape=(12, side, side)))]
        paths = save_all(datasets, folder)
        read_headers(paths)  # what is kept from one series to the next is kept
        tracemalloc.start()
        assert len(find_volumes(read_headers(paths)).volumes) == 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    small, large = peaks
    assert large < small + 100_000 < 12 * 512 * 512 * 2
