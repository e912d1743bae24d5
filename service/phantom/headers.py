"""One series about to be written → the attributes that all its instances share, by DICOM keyword."""

import datetime
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from dicom_nodes.types import Affine, Laterality, Plane
from service.phantom.vendors import REGIONS, Pulse, Scanner, Vendor, naming

PLANE_OF_AXIS = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All that the header of a series is made from."""

    pixels: npt.NDArray[np.uint16]
    """(z, y, x)."""
    affine: Affine
    slice_thickness_mm: float
    window: tuple[str, str]
    """WindowCenter and WindowWidth."""
    protocol: str
    laterality: Laterality | None
    vendor: Vendor
    scanner: Scanner
    pulse: Pulse
    patient_position: str
    seed: int
    study_uid: UID
    series_uid: UID
    frame_of_reference_uid: UID

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit normal of the slices, row × column."""
        normal: npt.NDArray[np.float64] = np.cross(_unit(self.affine[:3, 0]), _unit(self.affine[:3, 1]))
        return normal

    @property
    def plane(self) -> Plane:
        """The anatomical plane nearest to the slices, by their normal."""
        return PLANE_OF_AXIS[int(np.argmax(np.abs(self.normal)))]

    @property
    def slice_spacing_mm(self) -> float:
        """Distance between slice centres along the normal."""
        return abs(float(self.normal @ self.affine[:3, 2]))

    @property
    def order(self) -> range:
        """Slice indices in the order in which this vendor numbers its instances."""
        axis = PLANE_OF_AXIS.index(self.plane)
        count = len(self.pixels)
        along = self.affine[axis, 2] * self.scanner.first_slice[self.plane]
        return range(count) if along > 0 else range(count - 1, -1, -1)

    @property
    def started(self) -> datetime.datetime:
        """When the series began: from the seed, so that the same phantom is the same file."""
        day = datetime.datetime(2026, 3, 2, 7, 30)  # noqa: DTZ001 DICOM's local time
        return day + datetime.timedelta(days=self.seed % 28, minutes=11 * (self.seed % 50))


def derive_uid(*parts: object) -> UID:
    """A UID under 2.25 that follows from its parts alone (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, parts))).int}")


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def decimals(values: npt.ArrayLike) -> list[str]:
    """Numbers as decimal strings of at most 16 characters (VR DS)."""
    return [format_number_as_ds(float(value)) for value in np.ravel(values)]


def fill(dataset: Dataset, values: Mapping[str, Any]) -> Dataset:
    """Set each value by its keyword; returns the dataset."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def item(**values: Any) -> Dataset:
    """A sequence item of these values."""
    return fill(Dataset(), values)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item (PS3.3 8.8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def time(moment: datetime.datetime) -> str:
    """A TM value with fractions."""
    return moment.strftime("%H%M%S.%f")


def position(plan: Plan, z: int) -> list[str]:
    """ImagePositionPatient of slice z: the centre of its first voxel."""
    return decimals(plan.affine[:3, 3] + z * plan.affine[:3, 2])


def orientation(plan: Plan) -> list[str]:
    """ImageOrientationPatient: where the column index grows, then where the row index grows."""
    return decimals([_unit(plan.affine[:3, 0]), _unit(plan.affine[:3, 1])])


def pixel_spacing(plan: Plan) -> list[str]:
    """PixelSpacing: between rows, then between columns."""
    return decimals([np.linalg.norm(plan.affine[:3, 1]), np.linalg.norm(plan.affine[:3, 0])])


def window_of(pixels: npt.NDArray[np.uint16], slope: float) -> tuple[str, str]:
    """WindowCenter and WindowWidth over a series, in the units after the rescale."""
    low, high = np.percentile(pixels, (1, 99.5)) * slope
    return f"{(low + high) / 2:.1f}", f"{max(high - low, 1.0):.1f}"


def common(plan: Plan) -> Dataset:
    """Patient, study, series, equipment, frame of reference and pixel description: equal in every instance."""
    dataset = Dataset()
    for group in (_patient(plan), _study(plan), _series(plan), _equipment(plan), _pixels(plan)):
        fill(dataset, group)
    fill(dataset, naming(plan.vendor, plan.protocol, plan.pulse, plan.plane, plan.laterality, plan.pixels.shape[2]))
    dataset.PerformedProcedureStepDescription = dataset.StudyDescription
    return dataset


def anatomic_region(plan: Plan) -> Dataset:
    """The region as a code item, in SRT as these scanners write it."""
    value, meaning = REGIONS[plan.protocol].anatomy
    return code(value, "SRT", meaning)


def _patient(plan: Plan) -> dict[str, Any]:
    name = plan.protocol
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": f"Sagittal^Demo {name.capitalize()}",
        "PatientID": f"SAGITTAL-DEMO-{name.upper()}-{plan.seed}",
        "PatientBirthDate": "19710614",
        "PatientSex": REGIONS[name].sex,
        "PatientAge": "054Y",
        "PatientSize": "1.74",
        "PatientWeight": "76",
    }


def _study(plan: Plan) -> dict[str, Any]:
    day = plan.started.strftime("%Y%m%d")
    begun = time(plan.started - datetime.timedelta(minutes=4))
    return {
        "StudyInstanceUID": plan.study_uid,
        "StudyID": str(1000 + plan.seed % 9000),
        "StudyDate": day,
        "StudyTime": begun,
        "AccessionNumber": f"SAG{plan.seed % 10**9:05d}",
        "ReferringPhysicianName": "",
        "PerformedProcedureStepStartDate": day,
        "PerformedProcedureStepStartTime": begun,
        "PerformedProcedureStepID": str(1000 + plan.seed % 9000),
    }


def _series(plan: Plan) -> dict[str, Any]:
    number = {Vendor.SIEMENS: 4, Vendor.GE: 3, Vendor.PHILIPS: 401}[plan.vendor]
    return {
        "Modality": "MR",
        "SeriesInstanceUID": plan.series_uid,
        "SeriesNumber": number,
        "AcquisitionNumber": 4 if plan.vendor is Vendor.PHILIPS else 1,
        "SeriesDate": plan.started.strftime("%Y%m%d"),
        "SeriesTime": time(plan.started),
        "ContentDate": plan.started.strftime("%Y%m%d"),
        "PatientPosition": plan.patient_position,
        "FrameOfReferenceUID": plan.frame_of_reference_uid,
        "PositionReferenceIndicator": "",
        "ImageComments": "Drawn by a program, no patient was imaged",
    }


def _equipment(plan: Plan) -> dict[str, Any]:
    scanner = plan.scanner
    return {
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "SoftwareVersions": list(scanner.software),
        "DeviceSerialNumber": "00000",
        "InstitutionName": "Sagittal",
        "StationName": scanner.station,
        "MagneticFieldStrength": f"{scanner.tesla:g}",
    }


def _pixels(plan: Plan) -> dict[str, Any]:
    _, rows, columns = plan.pixels.shape
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": plan.scanner.stored_bits,
        "HighBit": plan.scanner.stored_bits - 1,
        "PixelRepresentation": int(plan.scanner.signed),
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
    }


def private(plan: Plan) -> Iterator[tuple[int, str, int, str, Any]]:
    """The few private elements that readers of this vendor look at: group, creator, offset, VR, value."""
    count = len(plan.pixels)
    if plan.vendor is Vendor.SIEMENS:
        yield 0x0051, "SIEMENS MR HEADER", 0x0E, "LO", plan.plane.value[:3].capitalize()
        yield 0x0051, "SIEMENS MR HEADER", 0x13, "SH", "+LPH"
    elif plan.vendor is Vendor.GE:
        yield 0x0019, "GEMS_ACQU_01", 0x9C, "LO", {"h": "ssfse", "fl": "efgre"}.get(plan.pulse.family, "fse-xl")
        yield 0x0025, "GEMS_SERS_01", 0x07, "SL", count
    else:
        yield 0x2001, "Philips Imaging DD 001", 0x18, "SL", count
        yield 0x2005, "Philips MR Imaging DD 001", 0x0D, "FL", 0.0
        yield 0x2005, "Philips MR Imaging DD 001", 0x0E, "FL", 0.0106


def add_private(plan: Plan, dataset: Dataset) -> None:
    """Put the vendor's private elements into their blocks."""
    for group, creator, offset, vr, value in private(plan):
        dataset.private_block(group, creator, create=True).add_new(offset, vr, value)
