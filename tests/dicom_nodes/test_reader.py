"""Voxels of a volume: the right value at the right place in the patient, in every encoding, or a named error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_nodes.errors import Rule, SeriesUnreadable
from dicom_nodes.headers import read_headers
from dicom_nodes.orientation import reorient
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import FrameRef, Plane, Volume
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
    image_of,
    item,
    save,
    save_all,
    value_at,
)

WIDE = Grid(shape=(5, 33, 37))  # JPEG 2000 wants 32 pixels each way


def volume_of(paths):
    (volume,) = find_volumes(read_headers(paths)).volumes
    return volume


def expected_on(affine, shape):
    """What the factories put at the patient position of every voxel."""
    z, y, x = np.indices(shape)
    return value_at((np.stack([x, y, z, np.ones_like(x)], axis=-1) @ affine.T)[..., :3]).astype(np.float32)


@pytest.mark.parametrize("make", [classic_series, lambda grid: [enhanced(grid)]], ids=["classic", "enhanced"])
@pytest.mark.parametrize("name", GRIDS)
def test_every_voxel_has_the_value_of_its_patient_position(name, make, tmp_path):
    volume = volume_of(save_all(make(GRIDS[name])[::-1], tmp_path))

    voxels = read_voxels(volume)

    assert (voxels.array.dtype, voxels.array.shape) == (np.dtype(np.float32), volume.shape)
    assert voxels.array.flags.c_contiguous
    assert np.abs(voxels.array - expected_on(voxels.affine, volume.shape)).max() <= 1
    assert np.array_equal(voxels.affine, volume.affine)


@pytest.mark.parametrize("name", GRIDS)
def test_in_las_the_values_grow_as_the_patient_does_whatever_the_position_on_the_table(name, tmp_path):
    voxels = read_voxels(volume_of(save_all(classic_series(GRIDS[name]), tmp_path)))

    turned = reorient(voxels.array, voxels.affine, "LAS")

    if name != "doubly oblique":
        to_left, to_front, to_head = (np.diff(turned.array, axis=axis).mean() for axis in (2, 1, 0))
        assert to_left > 0  # value_at grows by 20 for a millimetre to the left, 7 to the back, 31 to the head
        assert to_front < 0
        assert to_head > 0
    assert np.abs(turned.array - expected_on(turned.affine, turned.array.shape)).max() <= 1
    assert np.array_equal(turned.undo(turned.array), voxels.array)


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
]


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_pixels_are_exact_in(syntax, kind, tmp_path):
    limits = np.iinfo(kind)
    stored = np.random.default_rng(1).integers(limits.min, limits.max, (3, 33, 37), kind, endpoint=True)
    stored[0, 0, :2] = limits.min, limits.max
    datasets = [classic_slice(AXIAL, z, **image_of(stored[z])) for z in range(3)]

    voxels = read_voxels(volume_of(save_all(datasets, tmp_path, syntax)))

    assert np.array_equal(voxels.array, stored.astype(np.float32))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_enhanced_frames_are_exact_in(syntax, tmp_path):
    dataset = enhanced(WIDE)
    stored = np.stack([WIDE.pixels(z) for z in range(5)])

    voxels = read_voxels(volume_of([save(dataset, tmp_path, syntax)]))

    assert np.array_equal(voxels.array, stored.astype(np.float32))


def test_unused_high_bits_are_no_part_of_the_value(tmp_path):
    stored = np.array([[[0x0FFF, 0x1001], [0xF800, 0x0800]]] * 3, np.uint16)
    datasets = [
        classic_slice(AXIAL, z, **{**image_of(stored[z]), "BitsStored": 12, "HighBit": 11}) for z in range(3)
    ]

    voxels = read_voxels(volume_of(save_all(datasets, tmp_path)))

    assert voxels.array[0].tolist() == [[0x0FFF, 1], [0x0800, 0x0800]]


def test_each_slice_has_its_own_rescale(tmp_path):
    datasets = [classic_slice(AXIAL, z, RescaleSlope=1 + z / 4, RescaleIntercept=-100 * z) for z in range(4)]

    voxels = read_voxels(volume_of(save_all(datasets, tmp_path)))

    for z in range(4):
        assert np.allclose(voxels.array[z], AXIAL.pixels(z) * (1 + z / 4) - 100 * z)


def test_each_enhanced_frame_has_its_own_rescale_in_whatever_order_frames_lie(tmp_path):
    dataset = enhanced()
    del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    order = [3, 0, 4, 1, 2]
    dataset.PixelData = np.stack([AXIAL.pixels(z) for z in order]).tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_at(
            AXIAL.position(z),
            PixelValueTransformationSequence=[item(RescaleSlope=0.5 + z, RescaleIntercept=z, RescaleType="US")],
        )
        for z in order
    ]

    voxels = read_voxels(volume_of([save(dataset, tmp_path)]))

    for z in range(5):
        assert np.allclose(voxels.array[z], AXIAL.pixels(z) * (0.5 + z) + z)


def test_only_the_frames_of_the_volume_are_read(tmp_path):
    grid = Grid(shape=(8, 6, 8))
    dataset = enhanced(grid)
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_at(grid.position(number // 2), MREchoSequence=[item(EffectiveEchoTime=[10.0, 80.0][number % 2])])
        for number in range(8)
    ]

    early, late = find_volumes(read_headers([save(dataset, tmp_path)])).volumes

    assert (early.name, late.name) == ("TE 10 ms", "TE 80 ms")
    for first, volume in enumerate((early, late)):
        stored = np.stack([grid.pixels(z) for z in range(first, 8, 2)])
        assert np.array_equal(read_voxels(volume).array, stored.astype(np.float32))


def test_a_file_without_file_meta_is_read(tmp_path):
    paths = []
    for dataset in classic_series():
        paths.append(tmp_path / f"{dataset.SOPInstanceUID}.bare")
        dataset.save_as(paths[-1], implicit_vr=True, little_endian=True)

    voxels = read_voxels(volume_of(paths))

    assert np.array_equal(voxels.array, expected_on(AXIAL.affine, AXIAL.shape))


# Errors


def error_of(volume):
    with pytest.raises(SeriesUnreadable) as raised:
        read_voxels(volume)
    return raised.value


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name
)
def test_a_file_that_was_cut_after_its_header_was_read_is_named(syntax, tmp_path):
    datasets = classic_series(WIDE)
    paths = save_all(datasets, tmp_path, syntax)
    volume = volume_of(paths)
    paths[3].write_bytes(paths[3].read_bytes()[:-20])

    error = error_of(volume)

    assert error.rule is Rule.TRUNCATED
    assert datasets[3].SOPInstanceUID in error.detail
    assert error.series_uid == datasets[0].SeriesInstanceUID


def test_a_file_that_is_gone_is_named(tmp_path):
    paths = save_all(classic_series(), tmp_path)
    volume = volume_of(paths)
    paths[1].unlink()

    error = error_of(volume)

    assert error.rule is Rule.FILE
    assert volume.frames[1].sop_instance_uid in error.detail


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_rubbish_between_whole_fragments_is_undecodable(syntax, tmp_path):
    datasets = classic_series(WIDE)
    paths = save_all(datasets, tmp_path, syntax)
    written = paths[2].read_bytes()
    start = written.index(b"\xfe\xff\x00\xe0", written.index(b"\xfe\xff\x00\xe0") + 8) + 8
    paths[2].write_bytes(written[:start] + b"\x5a" * 60 + written[start + 60 :])

    error = error_of(volume_of(paths))

    assert error.rule is Rule.UNDECODABLE
    assert datasets[2].SOPInstanceUID in error.detail


def test_a_compressed_image_that_breaks_off_within_its_fragment_is_truncated(tmp_path):
    datasets = classic_series(WIDE)
    paths = save_all(datasets, tmp_path, JPEG2000Lossless)
    written = paths[2].read_bytes()
    marker = written.rindex(b"\xff\xd9")
    paths[2].write_bytes(written[:marker] + b"\0\0" + written[marker + 2 :])

    content = find_volumes(read_headers(paths))

    assert [error.rule for error in content.left_out] == [Rule.TRUNCATED]
    assert datasets[2].SOPInstanceUID in content.left_out[0].detail


def test_an_image_of_another_matrix_than_the_volume_is_refused(tmp_path):
    volume = volume_of(save_all(classic_series(), tmp_path))

    assert error_of(replace(volume, shape=(5, 8, 6))).rule is Rule.MATRIX


# Real images


@pytest.mark.parametrize("name", ["prostate/px0001_t2_tra", "prostate/px0001_t2_sag"])
def test_a_real_series_is_read_as_simpleitk_reads_it(name):
    volume = volume_of(real_data.files(name))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(real_data.folder(name))))
    image = reader.Execute()

    voxels = read_voxels(volume)

    assert np.array_equal(voxels.array, SimpleITK.GetArrayFromImage(image).astype(np.float32))
    z, y, x = volume.shape
    for corner in ((0, 0, 0), (x - 1, 0, 0), (0, y - 1, 0), (0, 0, z - 1), (x - 1, y - 1, z - 1)):
        theirs = image.TransformIndexToPhysicalPoint(corner)
        assert np.allclose((voxels.affine @ [*corner, 1])[:3], theirs, atol=0.01)


def test_one_real_image_is_the_same_in_nine_transfer_syntaxes():
    images = []
    for path in real_data.files("tricky/siemens_trio_9_transfer_syntaxes"):
        (header,) = read_headers([path]).read
        images.append(read_voxels(single(path, header.sop_instance_uid, header.frames[0].matrix)).array)

    assert len(images) == 9
    for image in images[1:]:
        assert np.array_equal(image, images[0])


def test_real_jpeg_and_big_endian_images_are_read():
    for name in (
        "abdomen/weasis_philips_cor_adrenal_jpegll_1img",
        "shoulder/nema_mr2_j2k_lossy",
        "tricky/clunie_mr_no_meta_pynetdicom_be",
    ):
        for path in real_data.files(name):
            (header,) = read_headers([path]).read
            array = read_voxels(single(path, header.sop_instance_uid, header.frames[0].matrix)).array
            assert array.std() > 10


def single(path: Path, sop_instance_uid: str, matrix) -> Volume:
    """One image as if it were a volume."""
    return Volume(
        "1.2",
        "1.2",
        "1.2",
        1,
        "",
        (FrameRef(path, sop_instance_uid, "", None),),
        np.eye(4),
        (1, *matrix),
        Plane.AXIAL,
        0.0,
    )
