"""A phantom → the files of one MR series, as Siemens, GE or Philips write it: classic per slice, or Enhanced MR."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from service.phantom.body import Phantom
from service.phantom.enhanced import SECONDS_PER_SLICE, add_enhanced
from service.phantom.headers import (
    PLANE_OF_AXIS,
    Plan,
    add_private,
    anatomic_region,
    common,
    decimals,
    derive_uid,
    fill,
    orientation,
    pixel_spacing,
    position,
    time,
    window_of,
)
from service.phantom.vendors import SCANNERS, Vendor, image_type, pulse

IMPLEMENTATION = derive_uid("service.phantom.dicom")


@dataclass(frozen=True, slots=True)
class PhantomSeries:
    """A series on disk."""

    paths: tuple[Path, ...]
    """In the order of InstanceNumber, which is the vendor's and need not be the phantom's slice order."""
    study_uid: str
    series_uid: str


def write_dicom(
    phantom: Phantom,
    folder: Path,
    *,
    vendor: str = "siemens",
    enhanced: bool = False,
    study_uid: str | None = None,
    patient_position: str = "HFS",
    seed: int | None = None,
    transfer_syntax: UID = ExplicitVRLittleEndian,
) -> PhantomSeries:
    """Write the phantom below `folder` (made if absent) in a native or a lossless transfer syntax.

    Geometry is the affine's alone; `patient_position` only states how the patient lay. UIDs, dates and PatientID
    follow from the arguments (`seed` is the phantom's own if None), so the same call writes the same bytes.
    Raises ValueError for a vendor we do not know, values outside 12 bits, slices not stacked along their normal.
    """
    number = phantom.seed if seed is None else seed
    plan = _plan(phantom, Vendor(vendor), enhanced, study_uid, patient_position, number)
    _check(plan)
    folder.mkdir(parents=True, exist_ok=True)
    objects = (
        [_enhanced(plan)] if enhanced else [_classic(plan, number) for number in range(1, len(plan.pixels) + 1)]
    )
    paths = tuple(folder / f"IM{number:04d}.dcm" for number in range(1, len(objects) + 1))
    for dataset, path in zip(objects, paths, strict=True):
        if transfer_syntax.is_encapsulated:
            dataset.compress(transfer_syntax, generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = transfer_syntax
        dataset.save_as(path, enforce_file_format=True)
    return PhantomSeries(paths, str(plan.study_uid), str(plan.series_uid))


def _plan(
    phantom: Phantom, vendor: Vendor, enhanced: bool, study_uid: str | None, patient_position: str, seed: int
) -> Plan:
    study = UID(study_uid or derive_uid("study", phantom.protocol, vendor, enhanced, patient_position, seed))
    affine = np.asarray(phantom.affine, dtype=np.float64)
    return Plan(
        pixels=phantom.pixels,
        affine=affine,
        slice_thickness_mm=phantom.thickness_mm,
        window=window_of(phantom.pixels, SCANNERS[vendor, enhanced].rescale_slope),
        protocol=phantom.protocol,
        laterality=phantom.laterality,
        vendor=vendor,
        scanner=SCANNERS[vendor, enhanced],
        pulse=pulse(phantom.protocol, phantom.contrast),
        patient_position=patient_position,
        seed=seed,
        study_uid=study,
        series_uid=derive_uid(study, phantom.contrast, vendor, enhanced, decimals(affine[:3])),
        frame_of_reference_uid=derive_uid(study, "frame of reference"),
    )


def _check(plan: Plan) -> None:
    low, high = int(plan.pixels.min()), int(plan.pixels.max())
    if low < 0 or high > 4095:
        raise ValueError(f"pixel values {low}..{high} do not fit 12 bits")
    step = plan.affine[:3, 2]
    if abs(abs(plan.normal @ step) - np.linalg.norm(step)) > 1e-3:
        raise ValueError("the slices are not stacked along their normal")


def _classic(plan: Plan, number: int) -> Dataset:
    """Instance `number` (from 1) of MR Image Storage."""
    z = plan.order[number - 1]
    dataset = common(plan)
    for group in (_acquisition(plan), _slice(plan, z, number), _stored_values(plan, z)):
        fill(dataset, group)
    if plan.vendor is Vendor.GE:
        dataset.ImagesInAcquisition = len(plan.pixels)
        dataset.StackID = "1"
        dataset.InStackPositionNumber = number
        if "BodyPartExamined" in dataset:
            dataset.AnatomicRegionSequence = [anatomic_region(plan)]
    add_private(plan, dataset)
    return _sealed(dataset, MRImageStorage, derive_uid(plan.series_uid, number), plan.pixels[z])


def _acquisition(plan: Plan) -> dict[str, Any]:
    pulse_ = plan.pulse
    values: dict[str, Any] = {
        "ImageType": image_type(plan.vendor, pulse_, enhanced=False),
        "ScanningSequence": pulse_.scanning_sequence,
        "SequenceVariant": ["SK", "SP", "OSP"] if plan.vendor is Vendor.SIEMENS else ["SK"],
        "ScanOptions": ["FAST_GEMS"] * (plan.vendor is Vendor.GE) + ["FS"] * pulse_.fat_suppressed,
        "MRAcquisitionType": "2D",
        "AngioFlag": "N",
        "SliceThickness": decimals(plan.slice_thickness_mm)[0],
        "RepetitionTime": decimals(pulse_.repetition)[0],
        "EchoTime": decimals(pulse_.echo)[0],
        "NumberOfAverages": "1",
        "ImagingFrequency": decimals(42.577 * plan.scanner.tesla)[0],
        "ImagedNucleus": "1H",
        "EchoNumbers": 1,
        "SpacingBetweenSlices": decimals(plan.slice_spacing_mm)[0],
        "EchoTrainLength": pulse_.echo_train,
        "PercentSampling": "100",
        "PercentPhaseFieldOfView": "100",
        "PixelBandwidth": decimals(pulse_.bandwidth)[0],
        "TransmitCoilName": "Body",
        "AcquisitionMatrix": [0, plan.pixels.shape[1], plan.pixels.shape[2], 0],
        "InPlanePhaseEncodingDirection": "ROW",
        "FlipAngle": decimals(pulse_.flip)[0],
        "VariableFlipAngleFlag": "N",
    }
    if pulse_.inversion:
        values["InversionTime"] = decimals(pulse_.inversion)[0]
    if plan.vendor is Vendor.SIEMENS:
        values["SequenceName"] = pulse_.sequence_name
    return values


def _slice(plan: Plan, z: int, number: int) -> dict[str, Any]:
    acquired = plan.started + datetime.timedelta(seconds=SECONDS_PER_SLICE * (number - 1))
    where = position(plan, z)
    return {
        "InstanceNumber": number,
        "AcquisitionDate": acquired.strftime("%Y%m%d"),
        "AcquisitionTime": time(acquired),
        "ContentTime": time(acquired),
        "ImagePositionPatient": where,
        "ImageOrientationPatient": orientation(plan),
        "PixelSpacing": pixel_spacing(plan),
        "SliceLocation": where[PLANE_OF_AXIS.index(plan.plane)],
    }


def _stored_values(plan: Plan, z: int) -> dict[str, Any]:
    center, width = plan.window
    values: dict[str, Any] = {"WindowCenter": center, "WindowWidth": width}
    if plan.vendor is Vendor.PHILIPS:
        return values | {
            "RescaleIntercept": "0",
            "RescaleSlope": decimals(plan.scanner.rescale_slope)[0],
            "RescaleType": "normalized",
        }
    return values | {
        "SmallestImagePixelValue": int(plan.pixels[z].min()),
        "LargestImagePixelValue": int(plan.pixels[z].max()),
    }


def _enhanced(plan: Plan) -> Dataset:
    """The one instance of Enhanced MR Image Storage."""
    dataset = common(plan)
    add_enhanced(plan, dataset)
    add_private(plan, dataset)
    stack = plan.pixels[list(plan.order)]
    return _sealed(dataset, EnhancedMRImageStorage, derive_uid(plan.series_uid, 1), stack)


def _sealed(dataset: Dataset, sop_class: UID, instance_uid: UID, stored: npt.NDArray[np.uint16]) -> Dataset:
    """Add identity, file meta information and pixel data."""
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = instance_uid
    dataset.InstanceCreationDate = dataset.SeriesDate
    dataset.InstanceCreationTime = dataset.SeriesTime
    dataset.add_new("PixelData", "OW", stored.astype("<u2").tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = "SAGITTAL_PHANTOM"
    dataset.file_meta = meta
    return dataset
