"""MR series as headers on disk, the volume each makes, and label maps that no turn or mirror leaves unchanged."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    generate_uid,
)

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.types import (
    Affine,
    Algorithm,
    Code,
    Finished,
    FrameRef,
    LabelMap,
    Laterality,
    Plane,
    ResultIdentity,
    Segment,
    Volume,
)

LEFT = Code("7771000", "SCT", "Left")
Header = Callable[[Dataset], None]


@dataclass(frozen=True)
class Geometry:
    """Where the slices of a made series lie, as the decimal strings of its headers."""

    orientation: tuple[str, ...]
    shape: tuple[int, int, int] = (5, 24, 20)
    spacing: tuple[str, str] = ("1.25", "0.78125")
    origin: tuple[float, float, float] = (-31.25, 12.5, 101.75)
    between_mm: float = 3.6

    def position(self, z: int) -> tuple[str, ...]:
        across, down = np.array(self.orientation, float).reshape(2, 3)
        return tuple(f"{v:.8f}"[:16] for v in np.array(self.origin) + np.cross(across, down) * self.between_mm * z)

    def affine(self) -> Affine:
        affine = np.eye(4)
        across, down = np.array(self.orientation, float).reshape(2, 3)
        first, last = (np.array(self.position(z), float) for z in (0, self.shape[0] - 1))
        affine[:3, 0], affine[:3, 1] = across * float(self.spacing[1]), down * float(self.spacing[0])
        affine[:3, 2], affine[:3, 3] = (last - first) / max(self.shape[0] - 1, 1), first
        return affine


AXIAL = Geometry(("1", "0", "0", "0", "1", "0"))
SAGITTAL = Geometry(("0", "1", "0", "0", "0", "-1"))
CORONAL = Geometry(("1", "0", "0", "0", "0", "-1"))
OBLIQUE = Geometry(("0.93969262", "0.26604444", "-0.21460180", "-0.31322760", "0.91756385", "-0.24494610"))
FEET_FIRST_PRONE = Geometry(("-1", "0", "0", "0", "1", "0"))
UPSIDE_DOWN = Geometry(("-1", "0", "0", "0", "-1", "0"))
ODD = Geometry(AXIAL.orientation, shape=(4, 33, 41))
ODD_31_37 = Geometry(AXIAL.orientation, shape=(4, 31, 37))
ODD_OBLIQUE = Geometry(OBLIQUE.orientation, shape=(3, 101, 83))


def unit(geometry: Geometry) -> Geometry:
    """Make the cosines exactly perpendicular and of length one, as strings of at most 16 characters."""
    across, down = np.array(geometry.orientation, float).reshape(2, 3)
    across /= np.linalg.norm(across)
    down -= across * (across @ down)
    down /= np.linalg.norm(down)
    cosines = tuple(f"{value:.13f}"[:16] for value in (*across, *down))
    return Geometry(cosines, geometry.shape, geometry.spacing, geometry.origin, geometry.between_mm)


def describe(image: Dataset, name: str) -> None:
    """Write what every header of the series has in common."""
    image.PatientName, image.PatientID = "Proband^Anna", "P-0001"
    image.PatientBirthDate, image.PatientSex = "19700131", "F"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20261120", "081500", "7", "A-17"
    image.ReferringPhysicianName, image.StudyDescription = "Arzt^Otto", "MR study"
    image.StudyInstanceUID = generate_uid(entropy_srcs=["study", name])
    image.SeriesInstanceUID = generate_uid(entropy_srcs=["series", name])
    image.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", name])
    image.PositionReferenceIndicator = ""
    image.Modality, image.SeriesNumber, image.SeriesDescription = "MR", 5, "t2_tse_tra"
    image.Manufacturer, image.ManufacturerModelName = "SIEMENS", "Skyra"
    image.SoftwareVersions, image.DeviceSerialNumber = ["syngo MR E11", "N4"], "4711"


def save(image: Dataset, path: Path, little_endian: bool = True, implicit_vr: bool = False) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    syntaxes = {(False, True): ExplicitVRLittleEndian, (True, True): "1.2.840.10008.1.2"}
    meta.TransferSyntaxUID = syntaxes.get((implicit_vr, little_endian), "1.2.840.10008.1.2.2")
    image.file_meta = meta
    dcmwrite(path, image, enforce_file_format=True)


def classic(folder: Path, geometry: Geometry, change: Header = lambda image: None, **how: Any) -> Volume:
    """Write one file per slice; `change` has the last word on each header, `how` goes to `save`."""
    frames = []
    for z in range(geometry.shape[0]):
        image = Dataset()
        describe(image, str(folder))
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, generate_uid(entropy_srcs=[str(folder), str(z)])
        image.InstanceNumber = z + 1
        image.Rows, image.Columns = geometry.shape[1:]
        image.ImageOrientationPatient = list(geometry.orientation)
        image.ImagePositionPatient = list(geometry.position(z))
        image.PixelSpacing, image.SliceThickness = list(geometry.spacing), "3"
        change(image)
        path = folder / f"{z}.dcm"
        save(image, path, **how)
        frames.append(FrameRef(path, str(image.SOPInstanceUID), str(image.SOPClassUID), None))
    return volume_of(image, frames, geometry)


def enhanced(
    folder: Path,
    geometry: Geometry,
    order: Sequence[int] | None = None,
    legacy: bool = False,
    orientation_per_frame: bool = False,
) -> Volume:
    """Write one multi-frame file; `order` gives, slice by slice, the 1-based frame that holds it."""
    order = order or range(1, geometry.shape[0] + 1)
    image = Dataset()
    describe(image, str(folder))
    image.SOPClassUID = LegacyConvertedEnhancedMRImageStorage if legacy else EnhancedMRImageStorage
    image.SOPInstanceUID = generate_uid(entropy_srcs=[str(folder)])
    image.Rows, image.Columns = geometry.shape[1:]
    image.NumberOfFrames = max(order)
    shared, per_frame = Dataset(), [Dataset() for _ in range(max(order))]
    for item in per_frame if orientation_per_frame else [shared]:
        item.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(geometry.orientation))]
        item.PixelMeasuresSequence = [_item(PixelSpacing=list(geometry.spacing), SliceThickness="3")]
    for item in per_frame:
        item.PlanePositionSequence = [_item(ImagePositionPatient=["0", "0", "-5000"])]
    for z, number in enumerate(order):
        per_frame[number - 1].PlanePositionSequence[0].ImagePositionPatient = list(geometry.position(z))
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], per_frame
    path = folder / "multiframe.dcm"
    save(image, path)
    frames = [FrameRef(path, str(image.SOPInstanceUID), str(image.SOPClassUID), n) for n in order]
    return volume_of(image, frames, geometry)


def volume_of(
    image: Dataset, frames: Sequence[FrameRef], geometry: Geometry, index: int = 1, name: str = ""
) -> Volume:
    return Volume(
        series_uid=str(image.SeriesInstanceUID),
        study_uid=str(image.StudyInstanceUID),
        frame_of_reference_uid=str(image.get("FrameOfReferenceUID", "")),
        index=index,
        name=name,
        frames=tuple(frames),
        affine=geometry.affine(),
        shape=geometry.shape,
        plane=Plane.AXIAL,
        oblique_degrees=0.0,
    )


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def segments(*values: int) -> tuple[Segment, ...]:
    body = Code("123037004", "SCT", "Anatomical Structure")
    kidney = Code("64033007", "SCT", "Kidney")
    return tuple(
        Segment(v, f"organ_{v}", body, kidney, LEFT if v == 3 else None, (5 * v % 256, 80, 160)) for v in values
    )


def labels(volume: Volume, values: Sequence[int], seed: int = 7) -> npt.NDArray[np.uint8]:
    """Scatter each value over the array, most of it background and without any symmetry."""
    random = np.random.default_rng(seed)
    weights = [0.4, *[0.6 / len(values)] * len(values)]
    return random.choice(np.array([0, *values], np.uint8), size=volume.shape, p=weights)


def label_map(volume: Volume, *values: int, listed: Sequence[int] = (), phantom: bool = False) -> LabelMap:
    return LabelMap(
        array=labels(volume, values),
        affine=volume.affine,
        segments=segments(*(listed or values)),
        algorithm=Algorithm("Organ net", "0123abcd", "https://example.org/organ-net", phantom),
    )


def identity(laterality: Laterality | None = None, revision: int = 1, protocol: str = "abdomen") -> ResultIdentity:
    return ResultIdentity(
        submodel="Organs",
        protocol=protocol,
        revision=revision,
        laterality=laterality,
        made_at=datetime(2026, 11, 20, 9, 30, 15),  # noqa: DTZ001 -- site time, as DICOM has it
        software_version="0.1.0",
        device_serial="test-1",
    )


def onto_grid(volume: Volume, array: npt.NDArray[Any], affine: Affine) -> npt.NDArray[np.uint8]:
    """Paint another reader's (z, y, x) array on the volume's grid by the patient position of each voxel."""
    z, y, x = np.nonzero(array)
    position = affine @ np.stack([x, y, z, np.ones_like(x)])
    index = np.linalg.inv(volume.affine) @ position
    nearest = np.round(index[:3]).astype(int)
    off_mm = np.abs(volume.affine[:3, :3] @ (index[:3] - nearest)).max()
    assert off_mm < 0.01, f"voxels lie {off_mm} mm off the grid"
    painted = np.zeros(volume.shape, np.uint8)
    painted[tuple(nearest[::-1])] = array[z, y, x]
    return painted


def tag(number: int) -> BaseTag:
    return Tag(number)


def vr_of(element_tag: BaseTag) -> str:
    return dictionary_VR(element_tag)


def graft(path: Path, elements: Sequence[RawDataElement]) -> None:
    """Put encoded elements into an Explicit VR Little Endian file as they are; no character set plays a part."""
    image = dcmread(path)
    for element in elements:
        if element.VR != "SQ":
            value = bytes(element.value or b"")
            image[element.tag] = RawDataElement(
                element.tag, element.VR or vr_of(element.tag), len(value), value, 0, False, True
            )
    image.set_original_encoding(False, True, image._character_set)
    dcmwrite(path, image)


def encode(label_map: LabelMap, volume: Volume) -> Dataset:
    """Its BINARY SEG."""
    return encode_seg(label_map, volume, identity())


def finish(label_map: LabelMap, volume: Volume, **more: object) -> Finished:
    """What is made of it, with nothing found."""
    finished = Finished(label_map, volume, identity(), ())
    return replace(finished, **more)  # type: ignore[arg-type]


def written(dataset: Dataset) -> bytes:
    """As a file holds it."""
    file = io.BytesIO()
    dcmwrite(file, dataset)
    return file.getvalue()


def raw(dataset: Dataset, keyword: str) -> bytes | None:
    """An element's value as the file holds it; None where it is not there."""
    element = dataset.get_item(keyword, keep_deferred=True)
    if element is None:
        return None
    assert isinstance(element, RawDataElement), keyword
    return bytes(element.value or b"")


def plain_element(number: int, vr: str, value: bytes) -> RawDataElement:
    """An element as a file has it."""
    value += b" " * (len(value) % 2)
    return RawDataElement(tag(number), vr, len(value), value, 0, False, True)


def frames(seg: Dataset) -> Iterator[tuple[int, Dataset]]:
    for item in seg.PerFrameFunctionalGroupsSequence:
        yield item.SegmentIdentificationSequence[0].ReferencedSegmentNumber, item
