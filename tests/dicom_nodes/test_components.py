"""Pictures of the same tissue in one series: parts of a fat-water separation, phase, maps, derived images."""

import pytest

from dicom_nodes.components import dixon_in_words
from tests.dicom_nodes.series import content_of, names_of, stacked, with_private
from tests.factories import AXIAL, Grid, classic_series, classic_slice, enhanced, frame_at, item

# Fat and water

IMAGE_TYPES = {
    "Siemens": (["DERIVED", "PRIMARY", "DIXON", "WATER"], "water"),
    "Siemens, classic": (["DERIVED", "PRIMARY", "M", "DIXON", "FAT", "NORM"], "fat"),
    "Siemens, in": (["ORIGINAL", "PRIMARY", "DIXON", "IN_PHASE"], "in phase"),
    "Siemens, opposed": (["ORIGINAL", "PRIMARY", "M", "ND", "OPP_PHASE"], "opposed phase"),
    "Siemens, short": (["ORIGINAL", "PRIMARY", "M", "DIXON", "OPP"], "opposed phase"),
    "GE": (["DERIVED", "PRIMARY", "DIXON", "WATER"], "water"),
    "Philips": (["DERIVED", "PRIMARY", "W", "W", "DERIVED"], "water"),
    "Philips, in": (["ORIGINAL", "PRIMARY", "IP", "IP", "DERIVED"], "in phase"),
    "Philips, fraction": (["DERIVED", "PRIMARY", "FF", "FF", "DERIVED"], "fat fraction"),
    "Canon": (["DERIVED", "PRIMARY", "OUT OF PHASE"], "opposed phase"),
    "no separation": (["ORIGINAL", "PRIMARY", "M", "IN"], None),
    "patient examination is no part": (["ORIGINAL", "W"], None),
}


@pytest.mark.parametrize("name", IMAGE_TYPES)
def test_the_dixon_part_is_read_from_the_image_type_of(name, tmp_path):
    image_type, part = IMAGE_TYPES[name]

    (volume,) = content_of(classic_series(ImageType=image_type), tmp_path).volumes

    assert volume.facts.get("DixonPart") == part


@pytest.mark.parametrize(
    ("description", "part"),
    [
        ("WATER: ax lava flex", "water"), ("FAT: Ax LAVA-Flex", "fat"), ("InPhase: COR LAVA FLEX BH", "in phase"),
        ("OutPhase: COR LAVA FLEX BH", "opposed phase"), ("In Phase: Ax 3D Dual Echo", "in phase"),
        ("Out of Phase: Ax IDEAL", "opposed phase"), ("FatFrac: 3D IDEAL IQ BH", "fat fraction"),
        ("t1_vibe_dixon_tra_bh_W", "water"), ("t1_vibe_dixon_tra_F", "fat"), ("t1_vibe_dixon_cor_in", "in phase"),
        ("t1_vibe_dixon_cor_opp", "opposed phase"), ("t2_tse_dixon_sag_W_DIS2D", "water"),
        ("t1_vibe_q-dixon_FF", "fat fraction"), ("mDIXON-W", "water"), ("eTHRIVE mDIXON_IP", "in phase"),
        ("mDIXON Quant water", "water"), ("gre_3d_wfi_tra_bh_water", "water"), ("gre_wfi_op", "opposed phase"),
        ("WFOP water", "water"), ("T2 FatSep fat", "fat"), ("t1_dixon_opposed phase", "opposed phase"),
        ("Ax T2 IDEAL WATER", "water"),
        ("T2W_TSE", None), ("PD_W sag", None), ("T1W_FFE", None), ("t2_tse_tra_fs", None), ("T2 mDIXON", None),
        ("T2 dixon fat sat", None), ("eTHRIVE DIXON FFE", None), ("starmap_water", "water"),
        ("t1_vibe_dixon_tra", None), ("mDIXON W+F", None), ("dixon in abdomen", None), ("T1 in phase", None),
        ("water excitation", None), ("IP knee", None), ("fat: suppressed", "fat"), ("STIR W", None), ("", None),
        ("ideal positioning", None), ("flexion", None), ("reflex w", None), ("PD flex elbow", None),
    ],
)  # fmt: skip
def test_the_dixon_part_in_words(description, part):
    assert dixon_in_words(description) == part


def test_the_dixon_part_of_philips_is_read_from_its_private_image_type(tmp_path):
    kinds = [{(0x2005, 0x1011): ("CS", letter)} for letter in ("W", "F", "IP", "OP")]

    content = content_of(
        stacked(kinds, Manufacturer="Philips", ImageType=["ORIGINAL", "PRIMARY", "OTHER"]), tmp_path
    )

    assert names_of(content) == ["fat", "in phase", "opposed phase", "water"]
    assert [volume.facts["DixonPart"] for volume in content.volumes] == names_of(content)


# Components and maps


@pytest.mark.parametrize(
    ("image_type", "component"),
    [
        (["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], "magnitude"),
        (["ORIGINAL", "PRIMARY", "B0 MAP", "B0", "FFE"], "field map"),
        (["ORIGINAL", "PRIMARY", "FIELD MAP", "NONE"], "field map"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], "phase"),
        (["ORIGINAL", "PRIMARY", "VELOCITY MAP", "P", "PCA"], "phase"),
        (["DERIVED", "PRIMARY", "T1 MAP", "T1", "UNSPECIFIED"], "T1 map"),
        (["DERIVED", "PRIMARY", "T2 MAP", "NONE"], "T2 map"),
        (["DERIVED", "PRIMARY", "M", "T2_STAR MAP"], "T2* map"),
        (["DERIVED", "PRIMARY", "R2_STAR MAP", "NONE"], "R2* map"),
        (["DERIVED", "PRIMARY", "R2 MAP", "NONE"], "R2 map"),
        (["ORIGINAL", "PRIMARY", "T2_STAR", "NONE"], None),
        (["ORIGINAL", "PRIMARY", "T2", "NONE"], None),
    ],
)
def test_the_component_is_read_from_the_image_type(image_type, component, tmp_path):
    (volume,) = content_of(classic_series(ImageType=image_type), tmp_path).volumes

    assert volume.facts.get("Component") == component


def test_magnitude_and_field_map_in_one_enhanced_object_are_two_volumes(tmp_path):
    grid = Grid(shape=(10, 6, 8))
    dataset = enhanced(grid, Manufacturer="Philips", ImageType=["ORIGINAL", "PRIMARY", "MIXED", "MIXED"],
                       ComplexImageComponent="MIXED")  # fmt: skip
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_at(
            grid.position(number // 2),
            MRImageFrameTypeSequence=[
                item(FrameType=["ORIGINAL", "PRIMARY", ("T1", "B0 MAP")[number % 2], "NONE"],
                     ComplexImageComponent="MAGNITUDE")
            ],
        )
        for number in range(10)
    ]  # fmt: skip

    content = content_of([dataset], tmp_path)

    assert names_of(content) == ["field map", "magnitude"]
    assert [ref.frame_number for ref in content.volumes[1].frames] == [1, 3, 5, 7, 9]


def test_the_private_sequence_of_philips_tells_the_frames_of_an_enhanced_object_apart(tmp_path):
    grid = Grid(shape=(10, 6, 8))
    dataset = enhanced(grid, Manufacturer="Philips Healthcare")
    frames = [frame_at(grid.position(number // 2)) for number in range(10)]
    for number, frame in enumerate(frames):
        frame.add_new(
            (0x2005, 0x140F), "SQ", [with_private(item(), {(0x2005, 0x1011): ("CS", ("M", "B0")[number % 2])})]
        )
    dataset.PerFrameFunctionalGroupsSequence = frames

    content = content_of([dataset], tmp_path)

    assert names_of(content) == ["field map", "magnitude"]
    assert content.volumes[0].facts["PhilipsImageTypeMR"] == "B0"


def test_the_component_of_ge_is_read_from_its_private_image_type(tmp_path):
    kinds = [{(0x0043, 0x102F): ("SS", code)} for code in range(4)]

    content = content_of(
        stacked(kinds, Manufacturer="GE MEDICAL SYSTEMS", ImageType=["ORIGINAL", "PRIMARY", "OTHER"]), tmp_path
    )

    assert names_of(content) == ["imaginary", "magnitude", "phase", "real"]


def test_derived_images_never_lie_in_a_volume_with_original_ones(tmp_path):
    datasets = [
        classic_slice(AXIAL, z, ImageType=[("ORIGINAL", "DERIVED")[z % 2], "PRIMARY", "OTHER"]) for z in range(8)
    ]

    volumes = content_of(datasets, tmp_path).volumes

    assert [(volume.name, volume.shape[0]) for volume in volumes] == [("derived", 4), ("original", 4)]
