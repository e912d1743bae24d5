"""Headers of a series: the volumes in it with their geometry, and the rule for all that is left out."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from dicom_nodes.errors import Rule
from dicom_nodes.geometry import Limits
from dicom_nodes.headers import Headers, by_series, read_headers
from dicom_nodes.types import Plane
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.factories import (
    AXIAL,
    GRIDS,
    Grid,
    classic_series,
    classic_slice,
    enhanced,
    frame_at,
    item,
    save,
    save_all,
)


def content_of(datasets, folder, **limits):
    return find_volumes(read_headers(save_all(datasets, folder)), Limits(**limits))


def rules_of(content):
    return [error.rule for error in content.left_out]


def broken(content):
    """The one thing that was left out of a series without volumes."""
    assert content.volumes == ()
    (error,) = content.left_out
    return error


# Geometry


@pytest.mark.parametrize("make", [classic_series, lambda grid: [enhanced(grid)]], ids=["classic", "enhanced"])
@pytest.mark.parametrize("name", GRIDS)
def test_a_series_becomes_a_volume_on_the_grid_it_was_made_on(name, make, tmp_path):
    grid = GRIDS[name]
    datasets = make(grid)[::-1]

    content = content_of(datasets, tmp_path)

    assert content.left_out == ()
    (volume,) = content.volumes
    assert volume.shape == grid.shape
    assert volume.spacing_mm == pytest.approx(grid.spacing_mm, abs=1e-5)
    assert np.allclose(volume.affine, grid.affine, atol=1e-5)
    assert (volume.index, volume.name) == (1, "")
    assert volume.series_uid == datasets[0].SeriesInstanceUID
    assert volume.study_uid == datasets[0].StudyInstanceUID
    assert volume.frame_of_reference_uid == datasets[0].FrameOfReferenceUID


def test_slices_are_ordered_by_position_and_frames_numbered_from_one(tmp_path):
    classic = classic_series()
    for number, dataset in enumerate(classic):
        dataset.InstanceNumber = [3, 1, 5, 2, 4][number]
    multi_frame = enhanced()
    multi_frame.PerFrameFunctionalGroupsSequence = multi_frame.PerFrameFunctionalGroupsSequence[::-1]

    (single,) = content_of(classic, tmp_path).volumes
    (multi,) = content_of([multi_frame], tmp_path).volumes

    assert [ref.sop_instance_uid for ref in single.frames] == [dataset.SOPInstanceUID for dataset in classic]
    assert [ref.frame_number for ref in single.frames] == [None] * 5
    assert [ref.frame_number for ref in multi.frames] == [5, 4, 3, 2, 1]
    assert {ref.sop_instance_uid for ref in multi.frames} == {multi_frame.SOPInstanceUID}


@pytest.mark.parametrize(
    ("name", "plane", "degrees"),
    [("axial, prone", Plane.AXIAL, 0), ("sagittal", Plane.SAGITTAL, 0), ("coronal", Plane.CORONAL, 0),
     ("oblique axial", Plane.AXIAL, 36.87), ("decubitus right, sagittal", Plane.SAGITTAL, 0)],
)  # fmt: skip
def test_the_plane_is_the_one_nearest_to_the_slices(name, plane, degrees, tmp_path):
    (volume,) = content_of(classic_series(GRIDS[name]), tmp_path).volumes

    assert volume.plane is plane
    assert volume.oblique_degrees == pytest.approx(degrees, abs=0.01)


def test_frames_of_several_enhanced_objects_make_one_volume(tmp_path):
    upper, lower = enhanced(), enhanced(Grid(origin=tuple(AXIAL.position(5))))
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(upper, keyword, getattr(lower, keyword))

    (volume,) = content_of([lower, upper], tmp_path).volumes

    assert volume.shape == (10, 6, 8)
    assert [ref.sop_instance_uid for ref in volume.frames] == [upper.SOPInstanceUID] * 5 + [
        lower.SOPInstanceUID
    ] * 5


def test_a_legacy_converted_object_is_read_from_its_unassigned_groups(tmp_path):
    grid = Grid(shape=(6, 6, 8))
    dataset = enhanced(grid, legacy=True)
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_at(
            grid.position(number // 2),
            UnassignedPerFrameConvertedAttributesSequence=[item(EchoNumbers=1 + number % 2)],
        )
        for number in range(6)
    ]

    volumes = content_of([dataset], tmp_path).volumes

    assert [(volume.name, volume.shape[0]) for volume in volumes] == [("echo 1", 3), ("echo 2", 3)]


def test_uneven_gaps_within_the_tolerance_are_averaged(tmp_path):
    datasets = [classic_slice(AXIAL, z) for z in (0, 1.02, 2, 3)]

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.spacing_mm[0] == pytest.approx(3.5, abs=1e-4)


# What parts a series

B_SIEMENS, B_GE, B_PHILIPS = (0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003)


SPLITS = {
    "echo": ([{"EchoNumbers": 1, "EchoTime": 10}, {"EchoNumbers": 2, "EchoTime": 20}], ["echo 1", "echo 2"]),
    "echo time alone": (
        [{"EchoNumbers": None, "EchoTime": 4.9}, {"EchoNumbers": None, "EchoTime": 2.45}],
        ["TE 2.45 ms", "TE 4.9 ms"],
    ),
    "b-value": ([{"DiffusionBValue": 800.0}, {"DiffusionBValue": 50.0}], ["b 50", "b 800"]),
    "b-value of Siemens": ([{B_SIEMENS: ("IS", 50)}, {B_SIEMENS: ("IS", 1000)}], ["b 50", "b 1000"]),
    "b-value of GE": (
        [{B_GE: ("IS", [0, 8, 0, 0])}, {B_GE: ("IS", [1000000800, 8, 0, 0])}],
        ["b 0", "b 800"],
    ),
    "b-value of Philips": ([{B_PHILIPS: ("FL", 0.0)}, {B_PHILIPS: ("FL", 600.0)}], ["b 0", "b 600"]),
    "b-value in the sequence name": (
        [{"SequenceName": "*ep_b50t"}, {"SequenceName": "*ep_b400t"}],
        ["b 50", "b 400"],
    ),
    "magnitude and phase": (
        [{"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}],
        ["magnitude", "phase"],
    ),
    "Dixon": (
        [{"ImageType": ["DERIVED", "PRIMARY", "M", "WATER"]}, {"ImageType": ["DERIVED", "PRIMARY", "M", "FAT"]}],
        ["fat", "water"],
    ),
    "temporal position": (
        [{"TemporalPositionIdentifier": 2}, {"TemporalPositionIdentifier": 10}],
        ["time 2", "time 10"],
    ),
    "acquisition": ([{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}], ["acquisition 1", "acquisition 2"]),
    "inversion time": ([{"InversionTime": 100}, {"InversionTime": 900}], ["TI 100 ms", "TI 900 ms"]),
}


@pytest.mark.parametrize("name", SPLITS)
def test_images_at_the_same_positions_are_parted_by(name, tmp_path):
    kinds, names = SPLITS[name]
    uid = generate_uid()
    datasets = [
        with_private(dataset, kind)
        for kind in kinds
        for dataset in classic_series(
            series_uid=uid, FrameOfReferenceUID="1.2.9", **{k: v for k, v in kind.items() if isinstance(k, str)}
        )
    ]

    content = content_of(datasets, tmp_path)

    assert content.left_out == ()
    assert [volume.name for volume in content.volumes] == names
    assert [volume.index for volume in content.volumes] == [1, 2]
    for volume in content.volumes:
        assert np.allclose(volume.affine, AXIAL.affine, atol=1e-5)


def with_private(dataset, kind):
    for tag, value in kind.items():
        if not isinstance(tag, str):
            dataset.add_new(tag, *value)
    return dataset


def test_enhanced_frames_are_parted_by_their_functional_groups(tmp_path):
    grid = Grid(shape=(8, 6, 8))
    dataset = enhanced(grid)
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_at(
            grid.position(number % 4),
            MRDiffusionSequence=[item(DiffusionBValue=[0.0, 800.0][number // 4])],
            MREchoSequence=[item(EffectiveEchoTime=60.0)],
        )
        for number in range(8)
    ]

    volumes = content_of([dataset], tmp_path).volumes

    assert [volume.name for volume in volumes] == ["b 0", "b 800"]
    assert [ref.frame_number for ref in volumes[1].frames] == [5, 6, 7, 8]
    assert volumes[1].facts["DiffusionBValue"] == "800.0"
    assert volumes[1].facts["EchoTime"] == "60.0"


def test_two_echoes_never_lie_in_one_volume_even_where_no_position_repeats(tmp_path):
    datasets = [classic_slice(AXIAL, z, EchoNumbers=1 + z % 2) for z in range(8)]

    volumes = content_of(datasets, tmp_path).volumes

    assert [(volume.name, volume.shape[0]) for volume in volumes] == [("echo 1", 4), ("echo 2", 4)]


def test_an_attribute_that_differs_from_slice_to_slice_takes_no_volume_apart(tmp_path):
    datasets = [
        classic_slice(AXIAL, z, AcquisitionNumber=1 + z % 2, EchoTime=30 + z / 100, TriggerTime=100 * z)
        for z in range(6)
    ]

    (volume,) = content_of(datasets, tmp_path).volumes

    assert volume.shape[0] == 6


def test_interleaved_acquisitions_that_repeat_are_not_taken_for_volumes_of_twice_the_pitch(tmp_path):
    datasets = [
        classic_slice(AXIAL, z, AcquisitionNumber=1 + z % 2, InstanceNumber=number)
        for number, z in enumerate((0, 2, 4, 1, 3, 5, 0, 2, 4, 1, 3, 5))
    ]

    volumes = content_of(datasets, tmp_path).volumes

    assert [(volume.name, volume.shape[0]) for volume in volumes] == [("part 1", 6), ("part 2", 6)]


def test_repetitions_that_nothing_names_are_parted_where_they_were_written_one_after_the_other(tmp_path):
    datasets = [classic_slice(AXIAL, number % 4, InstanceNumber=number) for number in range(12)]

    volumes = content_of(datasets, tmp_path).volumes

    assert [volume.name for volume in volumes] == ["part 1", "part 2", "part 3"]
    assert [ref.sop_instance_uid for ref in volumes[2].frames] == [each.SOPInstanceUID for each in datasets[8:]]


def test_orientations_with_slices_enough_are_volumes_of_one_series(tmp_path):
    uid = generate_uid()
    axial = classic_series(Grid(shape=(10, 4, 4)), uid, FrameOfReferenceUID="1.2.9")
    sagittal = classic_series(
        Grid(shape=(12, 4, 4), orientation=(0, 1, 0, 0, 0, -1)), uid, FrameOfReferenceUID="1.2.9"
    )

    volumes = content_of(axial + sagittal, tmp_path).volumes

    assert {(volume.name, volume.shape[0]) for volume in volumes} == {("axial", 10), ("sagittal", 12)}


# Rules


def test_a_localizer_is_named_with_its_orientations(tmp_path):
    uid = generate_uid()
    planes = [GRIDS[name] for name in ("axial", "sagittal", "coronal")]
    datasets = [each for grid in planes for each in classic_series(grid, uid, FrameOfReferenceUID="1.2.9")]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.ORIENTATION
    assert error.series_uid == uid
    for plane in ("axial", "sagittal", "coronal"):
        assert f"{plane} with 5 images at 5 positions" in error.detail


def test_two_slices_are_no_volume_unless_the_limits_say_so(tmp_path):
    datasets = [classic_slice(AXIAL, z) for z in (0, 1)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.TOO_FEW
    assert "2 images at 2 positions, and a volume needs 3 slices" in str(error)
    assert len(content_of(datasets, tmp_path, min_slices=2).volumes) == 1


@pytest.mark.parametrize(
    ("attributes", "rule", "said"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, Rule.MODALITY, "Modality is CT"),
        ({"Modality": None}, Rule.MODALITY, "Modality is absent"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Rule.SOP_CLASS, "Secondary Capture Image Storage"),
        ({"PixelData": None}, Rule.PIXEL_DATA, "no pixel data element"),
        ({"PixelData": b""}, Rule.PIXEL_DATA, "empty"),
        ({"ImagePositionPatient": None}, Rule.GEOMETRY, "no ImagePositionPatient"),
        ({"ImagePositionPatient": [1, 2]}, Rule.GEOMETRY, "no ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, Rule.GEOMETRY, "no ImageOrientationPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, Rule.GEOMETRY, "not two perpendicular unit vectors"),
        ({"PixelSpacing": None}, Rule.GEOMETRY, "no PixelSpacing"),
        ({"PixelSpacing": [0, 1]}, Rule.GEOMETRY, "no PixelSpacing"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, Rule.COLOUR, "RGB with 3 samples"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, Rule.MOSAIC, "tiles of one image"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, Rule.DERIVED, "MIP"),
        ({"PixelData": b"\0" * 94}, Rule.TRUNCATED, "94 of 96 bytes of pixel data"),
    ],
)
def test_a_series_is_left_out_that_breaks_the_rule_of(attributes, rule, said, tmp_path):
    error = broken(content_of(classic_series(**attributes), tmp_path))

    assert error.rule is rule
    assert said in error.detail
    assert error.remedy in str(error)


def test_an_enhanced_colour_object_is_named_so(tmp_path):
    error = broken(
        content_of([enhanced(SOPClassUID=EnhancedMRColorImageStorage, PhotometricInterpretation="RGB")], tmp_path)
    )

    assert error.rule is Rule.COLOUR


def test_an_enhanced_projection_is_no_volume(tmp_path):
    dataset = enhanced()
    dataset.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence = [
        item(FrameType=["DERIVED", "PRIMARY", "ANGIO", "MAXIMUM"], VolumeBasedCalculationTechnique="MAX_IP")
    ]

    assert broken(content_of([dataset], tmp_path)).rule is Rule.DERIVED


def test_functional_groups_that_do_not_tell_of_every_frame_are_missing_geometry(tmp_path):
    dataset = enhanced()
    del dataset.PerFrameFunctionalGroupsSequence[-1]

    error = broken(content_of([dataset], tmp_path))

    assert (error.rule, error.detail.split(" (")[0]) == (
        Rule.GEOMETRY,
        "functional groups of 4 frames for 5 frames",
    )


def test_a_missing_slice_is_named_with_the_positions_beside_the_gap(tmp_path):
    datasets = classic_series(Grid(shape=(9, 6, 8)))
    del datasets[4]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.SPACING
    assert "7.00 mm between the slices at 50.50 and 57.50 mm" in error.detail
    assert "the pitch is 3.50 mm (tolerance 0.18 mm)" in error.detail


def test_one_slice_that_is_there_twice_is_a_duplicate_position(tmp_path):
    datasets = [*classic_series(series_uid="1.2.3.4", FrameOfReferenceUID="1.2.3.5"), classic_slice(AXIAL, 2)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.DUPLICATE
    assert "6 images at 5 positions, 2 of them at 47.00 mm" in error.detail


def test_the_same_instance_twice_counts_once_and_the_whole_copy_is_taken(tmp_path):
    datasets = classic_series()
    (tmp_path / "copy").mkdir()
    paths = save_all(datasets, tmp_path)
    cut = tmp_path / "copy" / "cut.dcm"
    cut.write_bytes(paths[2].read_bytes()[:-10])

    content = find_volumes(read_headers([cut, *paths]))

    (volume,) = content.volumes
    assert content.left_out == ()
    assert volume.frames[2].path == paths[2]


def test_images_of_two_matrices_are_no_volume(tmp_path):
    datasets = [classic_slice(Grid(shape=(3, 6 + z // 2, 8)), z) for z in range(4)]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.MATRIX
    assert "6×8 and 7×8 pixels" in error.detail


def test_images_of_two_pixel_spacings_are_no_volume(tmp_path):
    datasets = classic_series()
    datasets[3].PixelSpacing = [0.8, 0.5]

    assert broken(content_of(datasets, tmp_path)).rule is Rule.MATRIX


def test_slices_that_slide_sideways_are_no_volume(tmp_path):
    datasets = classic_series()
    for z, dataset in enumerate(datasets):
        x, y, height = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, float(y) + z, height]

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.SHEARED
    assert "leaning 15.9 degrees" in error.detail


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName"])
def test_a_series_of_two_patients_is_refused_whole_without_naming_them(keyword, tmp_path):
    datasets = classic_series()
    setattr(datasets[2], keyword, "Someone^Else")

    content = content_of(datasets, tmp_path)

    error = broken(content)
    assert error.rule is Rule.MIXED_PATIENTS
    assert "2 patients" in error.detail
    assert "Someone" not in str(error)


def test_positions_in_two_frames_of_reference_are_not_compared(tmp_path):
    datasets = classic_series()
    datasets[4].FrameOfReferenceUID = generate_uid()

    error = broken(content_of(datasets, tmp_path))

    assert error.rule is Rule.GEOMETRY
    assert "2 frames of reference" in error.detail


def test_the_same_name_written_otherwise_is_the_same_patient(tmp_path):
    datasets = classic_series(PatientName="Doe^Jane^^^")
    datasets[2].PatientName = "DOE^JANE"

    assert len(content_of(datasets, tmp_path).volumes) == 1


def test_a_bad_part_does_not_disturb_the_good_volumes_beside_it(tmp_path):
    uid = generate_uid()
    good = classic_series(series_uid=uid, FrameOfReferenceUID="1.2.9", EchoNumbers=1)
    bad = classic_series(series_uid=uid, FrameOfReferenceUID="1.2.9", EchoNumbers=2)
    del bad[2]
    capture = classic_slice(AXIAL, 0, SeriesInstanceUID=uid, SOPClassUID=SecondaryCaptureImageStorage)

    content = content_of([*good, *bad, capture], tmp_path)

    (volume,) = content.volumes
    assert volume.name == "echo 1"
    assert rules_of(content) == [Rule.SOP_CLASS, Rule.SPACING]
    assert content.left_out[1].detail.startswith("echo 2: ")
    lines = content.explain()
    assert lines[0].endswith("volume 1 (echo 1): axial, 5 slices of 6×8, 3.50×0.75×0.50 mm")
    assert len(lines) == 3


def test_a_truncated_image_spoils_the_volume_it_is_in_and_is_named(tmp_path):
    datasets = classic_series()
    paths = save_all(datasets, tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:-10])

    error = broken(find_volumes(read_headers(paths)))

    assert error.rule is Rule.TRUNCATED
    assert datasets[4].SOPInstanceUID in error.detail


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
    for name, error in zip([*contents, "absent.dcm"], content.left_out, strict=True):
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


def test_fewer_than_two_slices_cannot_be_asked_for():
    with pytest.raises(ValueError, match="at least 2 slices"):
        Limits(min_slices=1)


def test_nothing_at_all_is_an_empty_content():
    content = find_volumes(read_headers([]))

    assert (content.volumes, content.left_out, content.explain()) == ((), (), ())


# Encodings and facts


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
    for secret in ("P1", "P2", "Phantom", "19700101"):
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
    assert [volume.plane for volume in find_volumes(headers).volumes] == [Plane.AXIAL, Plane.SAGITTAL]


# Real images

VERIFIED = {
    # folder: (plane, slices, name) of each volume, rules of what is left out
    "prostate/px0001_adc": ([("axial", 19, "")], []),
    "prostate/px0001_calc_b1000": ([("axial", 19, "")], []),
    "prostate/px0001_dwi_b50_400_800": (
        [("axial", 19, "b 50"), ("axial", 19, "b 400"), ("axial", 19, "b 800")],
        [],
    ),
    "prostate/px0001_loc_sag": ([("sagittal", 3, "")], []),
    "prostate/px0001_localizer_3plane": ([], [Rule.ORIENTATION]),
    "prostate/px0001_t2_cor": ([("coronal", 15, "")], []),
    "prostate/px0001_t2_sag": ([("sagittal", 19, "")], []),
    "prostate/px0001_t2_tra": ([("axial", 19, "")], []),
    "prostate/px0001_tfl3d_pd": ([("axial", 16, "")], []),
    "knee/pymskt_ge_mese_sag_e1_e5": ([("sagittal", 24, "echo 1"), ("sagittal", 24, "echo 5")], []),
    "knee/weasis_enhanced_j2k_fragments": ([], [Rule.TOO_FEW]),
    "vendors/philips_elition_enhanced_tse": ([("axial", 12, "")], []),
    "vendors/d2n_philips_enhanced_sag8": ([("sagittal", 8, "")], []),
    "vendors/siemens_xa30_dwi_pa": ([("axial", 39, "b 0"), ("axial", 39, "b 2500")], []),
    "vendors/siemens_xa30_colfa": ([], [Rule.COLOUR]),
    "vendors/ge_premier_fmri_hfs_5t": ([("axial", 10, f"time {n}") for n in (1, 2, 3, 4, 5)], []),
    "vendors/ge_premier_localizer_ffs": ([], [Rule.ORIENTATION]),
    "vendors/canon_galan_dti_cor20_2vol": ([("axial", 20, "b 0"), ("axial", 20, "b 1500")], []),
    "phantom/hazen_canon_galan_slicepos": ([("axial", 10, "")], []),
    "phantom/hazen_ge_artist_t1": ([("axial", 11, "")], []),
    "phantom/hazen_philips_achieva_3t_t1": ([("axial", 11, "")], []),
    "phantom/hazen_philips_t2_multiecho": ([], [Rule.TOO_FEW]),
    "phantom/hazen_siemens_sola_enhanced_dwi": ([], [Rule.TOO_FEW]),
    "phantom/hazen_siemens_sola_enhanced_localizer3": ([], [Rule.ORIENTATION]),
    "phantom/hazen_siemens_sola_enhanced_t1": ([("axial", 11, "")], []),
    "phantom/imagedata_dynamic_3pos_3t": ([("coronal", 3, f"acquisition {n}") for n in (1, 2, 3)], []),
    "tricky/clunie_mr_no_meta_pynetdicom_be": ([], [Rule.TOO_FEW]),
    "tricky/d2n_ct_gantry_tilt": ([], [Rule.MODALITY]),
    "tricky/d2n_j2k_lossless_trio": ([("sagittal", 4, "")], []),
    "tricky/d2n_slicecount_fail": ([], [Rule.TOO_FEW]),
    "tricky/philips_elition_rawdata": ([], [Rule.SOP_CLASS]),
    "tricky/siemens_hfdr_t1_sag": ([("sagittal", 7, "")], []),
    "tricky/siemens_trio_9_transfer_syntaxes": ([], [Rule.MOSAIC]),
    "malformed/pydicom_emri_small_encodings": ([], [Rule.GEOMETRY]),
}


@cache
def headers_of(name):
    return read_headers(real_data.files(name))


@pytest.mark.parametrize("name", VERIFIED)
def test_real_series_hold_the_volumes_that_were_verified_by_hand(name):
    content = find_volumes(headers_of(name))

    volumes, rules = VERIFIED[name]
    assert [(volume.plane.value, volume.shape[0], volume.name) for volume in content.volumes] == volumes
    assert rules_of(content) == rules


@real_data.needed
@pytest.mark.parametrize("name", real_data.folders())
def test_every_real_file_lies_in_a_volume_or_has_a_reason(name):
    headers = headers_of(name)

    content = find_volumes(headers)

    told = {volume.series_uid for volume in content.volumes} | {error.series_uid for error in content.left_out}
    assert set(by_series(headers)) <= told
    assert len(content.explain()) == len(content.volumes) + len(content.left_out) > 0
    for volume in content.volumes:
        assert len(set(volume.frames)) == volume.shape[0]
        assert np.linalg.det(volume.affine[:3, :3]) > 0
        assert min(volume.spacing_mm) > 0.1


def test_a_real_decubitus_series_keeps_its_turned_orientation():
    (volume,) = find_volumes(read_headers(real_data.files("tricky/siemens_hfdr_t1_sag"))).volumes

    assert volume.facts["PatientPosition"] == "HFDR"
    assert volume.spacing_mm == pytest.approx((4.8, 1.015625, 1.015625), abs=1e-3)


def test_a_real_truncated_file_is_named():
    folder = real_data.folder("malformed/pydicom_test_files")

    (header,) = read_headers([Path(folder / "MR_truncated.dcm")]).read

    assert header.pixel_fault == (Rule.TRUNCATED, "8130 of 8192 bytes of pixel data are there")
