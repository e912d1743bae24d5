"""Files in; plain frozen headers out: what each frame says of where it lies and what it is, and no pixel value.

`read_headers` reads any DICOM encoding up to the pixel data, looks at the size of these, and turns what later rooms
need into plain values, so that no library object, and no patient attribute, travels on.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_nodes.attributes import WANTED, FrameView
from dicom_nodes.elements import items, numbers, text
from dicom_nodes.errors import Rule
from dicom_nodes.facts import frame_facts, object_facts
from dicom_nodes.pixel_size import StatedSize, pixel_fault, stated_size
from dicom_nodes.quiet import quiet_pydicom
from dicom_nodes.repeats import OWN, digest, own
from dicom_nodes.scan import PIXEL_TAGS, Scanned, scan_elements
from dicom_nodes.subject import subject
from dicom_nodes.traits import TRAITS, Trait
from dicom_nodes.types import FrameRef

UNREADABLE = (
    InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, TypeError, KeyError, IndexError,
    AttributeError, NotImplementedError, OverflowError, MemoryError, RecursionError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom lets through when a file is not what it says."""
_KEPT_HEADERS = 128
_NO_PATH, _NO_UID = Path(), "0"
"""In place of what an image says for itself."""


class IdentityMissingError(ValueError):
    """A file whose dataset does not say which instance of which series it is."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, or one single-frame instance: where it lies and what tells it from the others of its series."""

    ref: FrameRef
    instance_number: int
    """InstanceNumber, and within one object the frame number: the order in which the series was written."""
    matrix: tuple[int, int]
    """Rows, Columns."""
    position: tuple[float, ...] | None
    """ImagePositionPatient, LPS mm; None where it is absent or no triple of numbers."""
    orientation: tuple[float, ...] | None
    """ImageOrientationPatient, six cosines; None where it is absent or no such six."""
    pixel_spacing: tuple[float, ...] | None
    """PixelSpacing: between rows, then between columns, mm; None where it is absent or not positive."""
    traits: Mapping[str, Trait]
    """By the name in `traits.TRAITS`: echo, b-value, time and so on; absent where the frame is silent."""
    facts: Mapping[str, str]
    """By DICOM keyword, or by a name of ours (`facts`)."""


@dataclass(frozen=True, slots=True)
class Header:
    """One object of a series without its pixel values."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    image_type: tuple[str, ...]
    photometric_interpretation: str
    samples_per_pixel: int
    patient_digest: str
    """Equal for equal PatientID and PatientName, and nothing else can be read from it."""
    vendor_grid: bool
    """The image is a grid of tiles (Siemens mosaic, UIH grid), each of them a slice."""
    pixel_fault: tuple[Rule, str] | None
    """What is wrong with the pixel data, as far as the file shows it without decoding; None where nothing is."""
    frame_count: int
    """NumberOfFrames, or 1; more than `frames` where the functional groups do not tell of all."""
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that is no DICOM object with an identity."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Headers:
    """What a pile of files holds."""

    read: tuple[Header, ...]
    unreadable: tuple[UnreadableFile, ...] = ()


def read_headers(paths: Iterable[Path]) -> Headers:
    """Read the files' headers; what is no DICOM object is named in `unreadable`, never raised."""
    read: list[Header] = []
    unreadable: list[UnreadableFile] = []
    with quiet_pydicom():
        for path in paths:
            try:
                read.append(_read(path))
            except IdentityMissingError as error:
                unreadable.append(UnreadableFile(path, str(error)))
            except UNREADABLE as error:
                unreadable.append(UnreadableFile(path, f"{type(error).__name__} while reading the header"))
    return Headers(tuple(read), tuple(unreadable))


def by_series(headers: Headers) -> Mapping[str, Headers]:
    """Sort headers by SeriesInstanceUID, in the order in which the series appear; unreadable files are not kept."""
    piles: dict[str, list[Header]] = {}
    for header in headers.read:
        piles.setdefault(header.series_uid, []).append(header)
    return MappingProxyType({uid: Headers(tuple(pile)) for uid, pile in piles.items()})


def read_header(path: Path) -> Header:
    """Read one file up to its pixel data. Raises one of UNREADABLE where it is no DICOM object with an identity."""
    with quiet_pydicom():
        return _read(path)


def _read(path: Path) -> Header:
    """Read the dataset before the pixel data, and judge the size of these."""
    with path.open("rb", buffering=0) as file:
        scanned = scan_elements(file, WANTED)
        if scanned is not None:
            file.seek(scanned.offset)
            return _of_scanned(path, file, scanned)
    with path.open("rb") as buffered:
        return _plain(path, *_read_by_pydicom(buffered))


_alike: dict[bytes, tuple[Header, StatedSize]] = {}
"""Digest of what the images of a series say alike, to a header without what each says for itself."""


def forget_headers() -> None:
    """Drop every header that was kept; what is read is the same, at first more slowly."""
    _alike.clear()


def _of_scanned(path: Path, file: BinaryIO, scanned: Scanned) -> Header:
    """Make a header; where an image before it said the same but for `OWN`, only that is read of it."""
    its_own = own(scanned)
    if its_own is None:
        dataset = scanned.dataset()
        return _plain(path, dataset, pixel_fault(stated_size(dataset), file, scanned.length))
    key = digest(scanned)
    if key not in _alike:
        if len(_alike) >= _KEPT_HEADERS:
            _alike.clear()
        dataset = scanned.dataset(without=OWN)
        dataset.SOPInstanceUID = _NO_UID
        _alike[key] = _plain(_NO_PATH, dataset, None), stated_size(dataset)
    header, size = _alike[key]
    (frame,) = header.frames
    uid, number = its_own.sop_instance_uid, its_own.instance_number
    ref = replace(frame.ref, path=path, sop_instance_uid=uid)
    frame = replace(frame, ref=ref, instance_number=_in_series(number, 0), position=its_own.position)
    fault = pixel_fault(size, file, scanned.length)
    return replace(header, path=path, sop_instance_uid=uid, pixel_fault=fault, frames=(frame,))


def _read_by_pydicom(file: BinaryIO) -> tuple[FileDataset, tuple[Rule, str] | None]:
    stopped_at: list[int] = []

    def at_pixels(tag: int, _vr: str | None, length: int) -> bool:
        if tag in PIXEL_TAGS:
            stopped_at.append(length)
        return tag in PIXEL_TAGS

    dataset = read_partial(file, stop_when=at_pixels, force=True, specific_tags=[*WANTED.values()])
    deflated = dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if not stopped_at:
        return dataset, (Rule.PIXEL_DATA, "there is no pixel data element")
    length = stopped_at[0]
    if deflated:  # the rest of the stream has been inflated, and so is whole
        return dataset, pixel_fault(stated_size(dataset), None, length)
    implicit, _ = dataset.original_encoding
    file.seek(8 if implicit else 12, 1)
    return dataset, pixel_fault(stated_size(dataset), file, length)


def _plain(path: Path, dataset: Dataset, fault: tuple[Rule, str] | None) -> Header:
    whole = FrameView(dataset)
    uids = {name: text(whole.value(name)) for name in ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID")}
    missing = [name for name, uid in uids.items() if not uid]
    if missing:
        raise IdentityMissingError(f"it has no {', '.join(missing)}")
    image_type = tuple(text(whole.value("ImageType")).upper().split("\\"))
    return Header(
        path=path,
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        series_uid=uids["SeriesInstanceUID"],
        study_uid=text(whole.value("StudyInstanceUID")),
        frame_of_reference_uid=text(whole.value("FrameOfReferenceUID")),
        modality=text(whole.value("Modality")),
        image_type=image_type,
        photometric_interpretation=text(whole.value("PhotometricInterpretation")),
        samples_per_pixel=_integer(whole, "SamplesPerPixel", 1),
        patient_digest=_patient_digest(whole),
        vendor_grid=_is_grid(whole, image_type),
        pixel_fault=fault,
        frame_count=_integer(whole, "NumberOfFrames", 1),
        frames=tuple(_frames(path, dataset, whole, uids)),
    )


def _frames(path: Path, dataset: Dataset, whole: FrameView, uids: Mapping[str, str]) -> Iterable[Frame]:
    """Spread an object into its frames: as many as it has functional groups, or one where it has none."""
    groups = len(items(dataset, "PerFrameFunctionalGroupsSequence"))
    multi_frame = groups > 0 or _integer(whole, "NumberOfFrames", 1) > 1
    common = object_facts(whole, subject(whole))
    for index in range(max(1, groups)):
        view = FrameView(dataset, index) if groups else whole
        traits = {name: found for name, read in TRAITS.items() if (found := read(view)) is not None}
        yield Frame(
            ref=FrameRef(path, uids["SOPInstanceUID"], uids["SOPClassUID"], index + 1 if multi_frame else None),
            instance_number=_in_series(_integer(view, "InstanceNumber", 0), index),
            matrix=(_integer(view, "Rows", 0), _integer(view, "Columns", 0)),
            position=numbers(view.value("ImagePositionPatient"), 3),
            orientation=numbers(view.value("ImageOrientationPatient"), 6),
            pixel_spacing=numbers(view.value("PixelSpacing"), 2),
            traits=MappingProxyType(traits),
            facts=frame_facts(common, view, traits),
        )


def _in_series(instance_number: int, index: int) -> int:
    return instance_number * 100_000 + index


def _is_grid(view: FrameView, image_type: tuple[str, ...]) -> bool:
    """Say whether the slices are tiles of one image, by the image type, or by the number of tiles without it."""
    if {"MOSAIC", "VFRAME"} & set(image_type) or view.value("UIHGridSequence") is not None:
        return True
    siemens = text(view.value("SiemensCreator0019")).upper().startswith("SIEMENS MR")
    counted = [view.value("UIHImagesInGrid"), view.value("SiemensImagesInMosaic") if siemens else None]
    return any(tiles[0] > 1 for value in counted if (tiles := numbers(value, 1)))


def _integer(view: FrameView, keyword: str, absent: int) -> int:
    found = numbers(view.value(keyword), 1)
    return absent if found is None else int(found[0])


def _patient_digest(view: FrameView) -> str:
    """Digest of who the patient is; case, spaces and empty name components do not count."""
    name = text(view.value("PatientName")).casefold().strip("^= ")
    identity = "\0".join((text(view.value("PatientID")).strip(), " ".join(name.replace("^", " ").split())))
    return hashlib.sha256(identity.encode()).hexdigest()
