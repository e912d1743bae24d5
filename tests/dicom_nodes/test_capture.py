"""Pictures as Secondary Capture: the right slice, the right side, and never for diagnosis."""

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.tag import Tag

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.secondary import pixel_aspect
from dicom_nodes.errors import EmptyResult
from dicom_nodes.pictures.slices import enlarged
from dicom_nodes.types import Finished, LabelMap, Laterality, Predecessor, Volume
from tests.dicom_nodes import seg_sources as made

DCIODVFY, DCM2PNM = shutil.which("dciodvfy"), shutil.which("dcm2pnm")
KINDS = ("sheet", "capture")
CLASSES = {"sheet": "1.2.840.10008.5.1.4.1.1.7", "capture": "1.2.840.10008.5.1.4.1.1.7.4"}
GEOMETRIES = {
    "axial": made.AXIAL,
    "sagittal": made.SAGITTAL,
    "coronal": made.CORONAL,
    "oblique": made.unit(made.OBLIQUE),
    "feet first prone": made.FEET_FIRST_PRONE,
    "upside down": made.UPSIDE_DOWN,
    "odd": made.ODD,
}
RED = (255, 40, 40)


def give_pixels(image: Dataset, pixels: npt.NDArray[np.uint16]) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())


def grey_of(z: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint16]:
    """Every slice evenly grey, each lighter than the one before."""
    return np.full(shape[1:], 100 * (z + 1), np.uint16)


def classic(folder: Path, geometry: made.Geometry = made.AXIAL, change: made.Header = lambda image: None) -> Volume:
    def both(image: Dataset) -> None:
        give_pixels(image, grey_of(int(image.InstanceNumber) - 1, geometry.shape))
        change(image)

    folder.mkdir(exist_ok=True)
    return made.classic(folder, geometry, both)


def enhanced(folder: Path) -> Volume:
    folder.mkdir(exist_ok=True)
    order = (4, 2, 5, 1, 3)
    volume = made.enhanced(folder, made.unit(made.OBLIQUE), order)
    path = volume.frames[0].path
    image = dcmread(path)
    slices = {number: grey_of(z, volume.shape) for z, number in enumerate(order)}
    give_pixels(image, np.stack([slices[number] for number in sorted(slices)]))
    image.save_as(path)
    return volume


SOURCES: dict[str, Callable[[Path], Volume]] = {"classic": classic, "enhanced": enhanced}


def finished(volume: Volume, side: Laterality | None = None, phantom: bool = False) -> Finished:
    label_map = made.label_map(volume, 1, 2, 3, listed=(1, 2, 3, 90), phantom=phantom)
    return Finished(label_map, volume, made.identity(side), ())


def block(volume: Volume, *slices: int) -> Finished:
    """One red structure, near the beginning of rows and columns, in some of the slices."""
    labels = np.zeros(volume.shape, np.uint8)
    for z in slices:
        labels[z, 3:8, 2:7] = 1
    (segment,) = made.segments(1)
    of = finished(volume)
    found = LabelMap(labels, volume.affine, (replace(segment, rgb=RED),), of.label_map.algorithm)
    return replace(of, label_map=found)


def encode(of: Finished, kind: str) -> Dataset:
    return ENCODERS[kind](of, ())


def written(of: Finished, kind: str, path: Path) -> Path:
    dcmwrite(path, encode(of, kind))
    return path


@pytest.mark.parametrize("slices", [(0, 2, 3), (4,)])
@pytest.mark.parametrize("source", SOURCES)
def test_there_is_a_frame_for_each_slice_with_labels_in_slice_order(
    tmp_path: Path, source: str, slices: tuple[int, ...]
) -> None:
    volume = SOURCES[source](tmp_path / "source")
    capture = encode(block(volume, *slices), "capture")
    assert capture.NumberOfFrames == len(slices)
    pixels = capture.pixel_array.reshape(len(slices), capture.Rows, capture.Columns, 3)
    times = capture.Columns // volume.shape[2]
    away = [int(frame[20 * times, 16 * times, 0]) for frame in pixels]
    assert away == sorted(away)
    assert away == pytest.approx([255 * z / 4 for z in slices], abs=1)
    normal = volume.affine[:3, 2] / np.linalg.norm(volume.affine[:3, 2])
    where = [float(normal @ (volume.affine @ (0, 0, z, 1))[:3]) for z in slices]
    found = capture.SliceLocationVector
    assert np.atleast_1d(np.array(found, float)) == pytest.approx(where, abs=1e-3)
    assert capture.FrameIncrementPointer == Tag("SliceLocationVector")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_label_is_drawn_where_the_headers_of_the_slice_put_it(tmp_path: Path, name: str) -> None:
    """From voxel to patient by the label map's affine, back to the picture by the header's own attributes."""
    volume = classic(tmp_path / "source", GEOMETRIES[name])
    of = block(volume, 1)
    capture = encode(of, "capture")
    z, y, x = np.nonzero(of.label_map.array)
    centre = (volume.affine @ (x.mean(), y.mean(), z.mean(), 1))[:3]
    header = dcmread(volume.frames[1].path)
    across, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    offset = centre - np.array(header.ImagePositionPatient, float)
    column, row = offset @ across / header.PixelSpacing[1], offset @ down / header.PixelSpacing[0]
    times = capture.Columns // volume.shape[2]
    red = capture.pixel_array[..., 0].astype(int) - capture.pixel_array[..., 1]
    red = red[: volume.shape[1] * times]  # without the legend
    rows, columns = np.nonzero(red > 30)
    assert (rows.mean() + 0.5) / times - 0.5 == pytest.approx(row, abs=0.3)
    assert (columns.mean() + 0.5) / times - 0.5 == pytest.approx(column, abs=0.3)


@pytest.mark.parametrize(
    ("name", "towards"),
    [
        ("axial", ["L", "P"]),
        ("sagittal", ["P", "F"]),
        ("coronal", ["L", "F"]),
        ("feet first prone", ["R", "P"]),
        ("upside down", ["R", "A"]),
    ],
)
def test_patient_orientation_says_where_rows_and_columns_run_to(
    tmp_path: Path, name: str, towards: list[str]
) -> None:
    capture = encode(block(classic(tmp_path / "source", GEOMETRIES[name]), 1), "capture")
    assert list(capture.PatientOrientation) == towards


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_each_is_in_a_series_of_its_own_that_says_it_is_not_for_diagnosis(
    tmp_path: Path, source: str, kind: str
) -> None:
    of = finished(SOURCES[source](tmp_path / "source"), Laterality.RIGHT)
    picture, text = encode(of, kind), encode(of, "text")
    assert picture.SOPClassUID == CLASSES[kind]
    assert picture.StudyInstanceUID == of.volume.study_uid
    assert len({str(each.SeriesInstanceUID) for each in (picture, text)} | {of.volume.series_uid}) == 3
    assert picture.SOPInstanceUID != text.SOPInstanceUID
    assert picture.SeriesDescription.startswith("AI ") and len(picture.SeriesDescription) <= 64
    assert "NOT FOR DIAGNOSIS" in picture.SeriesDescription
    assert list(picture.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert (picture.BurnedInAnnotation, picture.ConversionType, picture.Laterality) == ("NO", "WSD", "R")
    assert (picture.PhotometricInterpretation, picture.LossyImageCompression) == ("RGB", "00")
    assert picture.SeriesNumber == text.SeriesNumber - 70 + {"sheet": 80, "capture": 90}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_job_makes_the_same_bytes_again(tmp_path: Path, kind: str) -> None:
    of = finished(classic(tmp_path / "source"))
    first, second = io.BytesIO(), io.BytesIO()
    dcmwrite(first, encode(of, kind))
    dcmwrite(second, encode(of, kind))
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_the_patient_is_as_the_source_says_to_the_byte(tmp_path: Path, kind: str) -> None:
    name = "Yamada^Tarou=山田^太郎"

    def japanese(image: Dataset) -> None:
        image.SpecificCharacterSet, image.PatientName = ["", "ISO 2022 IR 87"], name

    volume = classic(tmp_path / "source", change=japanese)
    found = dcmread(written(finished(volume), kind, tmp_path / "picture.dcm"))
    source = dcmread(volume.frames[0].path)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        assert bytes(found.get_item(keyword).value) == bytes(source.get_item(keyword).value), keyword
    assert list(found.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]
    assert found.PatientName == name


def test_the_pictures_name_the_images_that_they_were_drawn_on_and_what_they_replace(tmp_path: Path) -> None:
    volume = enhanced(tmp_path / "source")
    older = Predecessor(CLASSES["capture"], "2.25.7", "2.25.8")
    capture = encode(replace(block(volume, 0, 3), predecessor=older), "capture")
    (image,) = capture.SourceImageSequence
    assert image.ReferencedSOPInstanceUID == volume.frames[0].sop_instance_uid
    assert sorted(image.ReferencedFrameNumber) == sorted(volume.frames[z].frame_number for z in (0, 3))
    (before,) = capture.ReferencedImageSequence
    assert before.ReferencedSOPInstanceUID == "2.25.7"
    sheet = encode(block(volume, 0, 3), "sheet")
    assert len(sheet.SourceImageSequence[0].ReferencedFrameNumber) == 5
    assert "ReferencedImageSequence" not in sheet


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_a_phantom_model_says_so_in_its_header_and_in_itself(tmp_path: Path, kind: str) -> None:
    volume = classic(tmp_path / "source")
    real, phantom = (encode(finished(volume, phantom=each), kind) for each in (False, True))
    assert "PHANTOM" in phantom.SeriesDescription and "PHANTOM" in phantom.DerivationDescription
    amber = (np.abs(phantom.pixel_array.astype(int) - (240, 178, 76)).max(axis=-1) < 12).sum()
    assert amber > 50 * int(phantom.get("NumberOfFrames", 1))
    assert real.SOPInstanceUID != "" and "PHANTOM" not in real.SeriesDescription


def test_nothing_labelled_makes_no_capture(tmp_path: Path) -> None:
    with pytest.raises(EmptyResult, match="no labelled voxel"):
        encode(block(classic(tmp_path / "source")), "capture")


@pytest.mark.parametrize(
    ("matrix", "points"),
    [
        ((320, 320), (640, 640)),
        ((256, 320), (640, 512)),
        ((512, 512), (512, 512)),
        ((640, 100), (100, 640)),
        ((2048, 1536), (768, 1024)),
        ((24, 20), (420, 504)),
        ((3, 1000), (1000, 3)),
    ],
)
def test_a_slice_is_enlarged_by_a_whole_factor_to_about_512(
    matrix: tuple[int, int], points: tuple[int, int]
) -> None:
    assert enlarged(*matrix) == points


def test_pixels_that_are_not_square_say_so() -> None:
    assert pixel_aspect((0.5, 0.5)) is None
    assert pixel_aspect((1.25, 0.78125)) == [8, 5]


@pytest.mark.skipif(DCIODVFY is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error(tmp_path: Path, source: str, kind: str) -> None:
    assert DCIODVFY is not None
    path = written(finished(SOURCES[source](tmp_path / "source")), kind, tmp_path / "picture.dcm")
    told = subprocess.run([DCIODVFY, path], capture_output=True, text=True)
    assert [line for line in told.stderr.splitlines() if line.startswith("Error")] == []
    assert told.returncode == 0


@pytest.mark.skipif(DCM2PNM is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_dcmtk_renders_what_was_drawn(tmp_path: Path, kind: str) -> None:
    assert DCM2PNM is not None
    of = finished(classic(tmp_path / "source", made.ODD))
    path = written(of, kind, tmp_path / "picture.dcm")
    drawn = encode(of, kind)
    count = int(drawn.get("NumberOfFrames", 1))
    frames = drawn.pixel_array.reshape(count, drawn.Rows, drawn.Columns, 3)
    for number, frame in enumerate(frames, start=1):
        rendered = tmp_path / "rendered.ppm"
        run = partial(subprocess.run, check=True, capture_output=True)
        run([DCM2PNM, "--write-raw-pnm", "--ignore-aspect", "--frame", str(number), path, rendered])
        with Image.open(rendered) as picture:
            assert np.array_equal(np.asarray(picture), frame)
