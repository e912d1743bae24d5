"""One series, many volumes: what parts the images that lie at the same positions."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import generate_uid

from tests.dicom_nodes.series import content_of, diffusion, names_of, stacked
from tests.factories import AXIAL, Grid, classic_slice, enhanced, frame_at, item

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
    datasets = stacked(kinds)

    content = content_of(datasets, tmp_path)

    assert content.left_out == ()
    assert [volume.name for volume in content.volumes] == names
    assert [volume.index for volume in content.volumes] == [1, 2]
    for volume in content.volumes:
        assert np.allclose(volume.affine, AXIAL.affine, atol=1e-5)


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


# Diffusion


def test_57_diffusion_images_at_19_positions_are_three_volumes(tmp_path):
    content = content_of(stacked([diffusion(b) for b in (50, 400, 800)], Grid(shape=(19, 6, 8))), tmp_path)

    assert [(volume.name, volume.shape[0]) for volume in content.volumes] == [
        ("b 50", 19),
        ("b 400", 19),
        ("b 800", 19),
    ]
    assert [volume.facts["BValue"] for volume in content.volumes] == ["50", "400", "800"]


DIRECTIONS = {
    "the standard": [diffusion(1000, [1, 0, 0]), diffusion(1000, [0, 1, 0])],
    "Siemens": [
        {(0x0019, 0x100C): ("IS", 1000), (0x0019, 0x100E): ("FD", [1.0, 0.0, 0.0])},
        {(0x0019, 0x100C): ("IS", 1000), (0x0019, 0x100E): ("FD", [0.0, 1.0, 0.0])},
    ],
    "Philips": [
        {(0x2001, 0x1003): ("FL", 1000.0), **{(0x2005, 0x10B0 + k): ("FL", float(k == axis)) for k in range(3)}}
        for axis in (0, 1)
    ],
    "GE": [
        {(0x0043, 0x1039): ("IS", [1000, 0, 0, 0]),
         **{(0x0019, 0x10BB + k): ("DS", float(k == axis)) for k in range(3)}}
        for axis in (0, 1)
    ],
    "United Imaging": [
        {(0x0065, 0x1009): ("FD", 1000.0), (0x0065, 0x1037): ("FD", [float(k == axis) for k in range(3)])}
        for axis in (0, 1)
    ],
    "Canon": [
        {"Manufacturer": "TOSHIBA_MEC", "ImageComments": f"b=1000({x:.3f},{y:.3f},0.000)"}
        for x, y in ((1, 0), (0, 1))
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_b_value_that_repeats_is_parted_by_the_direction_of(name, tmp_path):
    zero = [diffusion(0)] if name == "the standard" else []

    content = content_of(stacked([*zero, *DIRECTIONS[name]]), tmp_path)

    assert names_of(content) == [
        *(["b 0"] if zero else []),
        *(
            (f"{b}direction {x:.4f}, {y:.4f}, 0.0000")
            for b in ["b 1000, " if zero else ""]
            for x, y in ((0, 1), (1, 0))
        ),
    ]
    assert [volume.facts["BValue"] for volume in content.volumes][-2:] == ["1000", "1000"]


@pytest.mark.parametrize(
    "isotropic",
    [
        {"DiffusionDirectionality": "ISOTROPIC"},
        {(0x0019, 0x100D): ("CS", "ISOTROPIC")},
        {(0x2001, 0x1004): ("CS", "I")},
        {"Manufacturer": "GE MEDICAL SYSTEMS", (0x0043, 0x1030): ("SS", 14)},
    ],
    ids=["standard", "Siemens", "Philips", "GE"],
)
def test_a_trace_image_is_told_from_the_directions_it_was_made_of(isotropic, tmp_path):
    kinds = [diffusion(800, [1, 0, 0]), diffusion(800, [0, 1, 0]), diffusion(800, **{}) | isotropic]

    names = names_of(content_of(stacked(kinds), tmp_path))

    assert names == ["direction 0.0000, 1.0000, 0.0000", "direction 1.0000, 0.0000, 0.0000", "trace"]


def test_adc_fa_and_trace_maps_of_one_series_are_volumes_of_their_own(tmp_path):
    kinds = [
        {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", kind, "ND"]}
        for kind in ("ADC", "TRACEW", "FA", "CALC_BVALUE")
    ]

    assert names_of(content_of(stacked(kinds), tmp_path)) == ["ADC", "FA", "calculated", "trace"]


# Time, and several at once


def test_the_traits_of_a_volume_are_facts(tmp_path):
    kinds = [{"EchoNumbers": 2, "TemporalPositionIdentifier": time} for time in (1, 2)]

    volumes = content_of(stacked(kinds), tmp_path).volumes

    assert [volume.facts["TemporalPosition"] for volume in volumes] == ["1", "2"]
    assert [volume.facts["EchoNumber"] for volume in volumes] == ["2", "2"]
    assert [volume.facts["Component"] for volume in volumes] == ["magnitude", "magnitude"]
    assert "BValue" not in volumes[0].facts and "DixonPart" not in volumes[0].facts


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ([{"TriggerTime": 120}, {"TriggerTime": 40}], ["trigger 40 ms", "trigger 120 ms"]),
        ([{"FlipAngle": 5}, {"FlipAngle": 15}], ["flip 5°", "flip 15°"]),
        (
            [{"EchoNumbers": e, "TemporalPositionIdentifier": t} for e in (1, 2) for t in (1, 2)],
            ["echo 1, time 1", "echo 1, time 2", "echo 2, time 1", "echo 2, time 2"],
        ),
        (
            [{"ImageType": ["ORIGINAL", "PRIMARY", kind], "EchoNumbers": e} for kind in "MP" for e in (1, 2)],
            ["magnitude, echo 1", "magnitude, echo 2", "phase, echo 1", "phase, echo 2"],
        ),
    ],
    ids=["trigger", "flip angle", "echo and time", "component and echo"],
)
def test_a_series_is_parted_by(kinds, names, tmp_path):
    assert names_of(content_of(stacked(kinds), tmp_path)) == names


def test_volumes_that_lie_across_several_enhanced_objects_are_put_together(tmp_path):
    grids = [Grid(shape=(4, 6, 8)), Grid(shape=(4, 6, 8), origin=tuple(AXIAL.position(4)))]
    uids = {name: generate_uid() for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}
    datasets = []
    for grid in grids:
        dataset = enhanced(replace(grid, shape=(8, 6, 8)), **uids)
        dataset.PerFrameFunctionalGroupsSequence = [
            frame_at(
                grid.position(number % 4), MRDiffusionSequence=[item(DiffusionBValue=[0.0, 800.0][number // 4])]
            )
            for number in range(8)
        ]
        datasets.append(dataset)

    volumes = content_of(datasets, tmp_path).volumes

    assert [(volume.name, volume.shape[0]) for volume in volumes] == [("b 0", 8), ("b 800", 8)]
    assert {ref.sop_instance_uid for ref in volumes[1].frames} == {each.SOPInstanceUID for each in datasets}


def test_one_enhanced_object_for_each_volume_of_a_series(tmp_path):
    uids = {name: generate_uid() for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}
    datasets = [enhanced(InstanceNumber=number, AcquisitionNumber=number, **uids) for number in (1, 2, 3)]

    content = content_of(datasets, tmp_path)

    assert names_of(content) == ["acquisition 1", "acquisition 2", "acquisition 3"]
    assert [{ref.sop_instance_uid for ref in volume.frames} for volume in content.volumes] == [
        {each.SOPInstanceUID} for each in datasets
    ]
