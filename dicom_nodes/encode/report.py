"""The root of a structured report and the source it speaks of → the encoded document, the same at every attempt.

What every report of ours has in common: who made it, in which study and series it lies, what it is based on.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from dicom_nodes.encode.equipment import list_equipment
from dicom_nodes.encode.identity import Names, derived_uid, name_result, plain, result_uid
from dicom_nodes.encode.seal import seal
from dicom_nodes.encode.source import REQUIRED, Source, read_source
from dicom_nodes.types import Finished, Measurement, Segment

NOT_FINDING = "checks: nothing found that is not plausible"
_NOT_IN_A_REPORT = frozenset({"PositionReferenceIndicator"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of report: what tells it from the other objects of its job."""

    name: str
    sop_class_uid: str
    head: str
    """What its SeriesDescription begins with, after "AI"."""
    series_offset: int
    """Added to the SeriesNumber of the SEG."""


@dataclass(frozen=True, slots=True, eq=False)
class Based:
    """What a report is made from, read once."""

    finished: Finished
    source: Source
    names: Names


def read_base(finished: Finished) -> Based:
    """Read the headers that a report takes patient, study and references from; raises ResultUnsound."""
    source = read_source(finished.volume)
    names = name_result(finished.volume, source, finished.label_map.algorithm, finished.identity)
    return Based(finished, source, names)


def measured(finished: Finished) -> Iterator[tuple[Segment, Measurement]]:
    """Go through the segments with voxels by rising value, as the SEG numbers them."""
    known = {segment.value: segment for segment in finished.label_map.segments}
    for each in sorted(finished.measurements, key=lambda measurement: measurement.value):
        yield known[each.value], each


def remarks(based: Based) -> tuple[str, ...]:
    """Say what a reader must know beside the numbers: what made them, what checks found, what was not there."""
    finished, found = based.finished, {each.value for each in based.finished.measurements}
    algorithm = finished.label_map.algorithm
    absent = [segment.name for segment in finished.label_map.segments if segment.value not in found]
    notes = [f"checks: {note}" for note in finished.notes] or [NOT_FINDING]
    told = [
        f"Made by {based.names.algorithm}, version {algorithm.version}; not verified by a person",
        *notes,
        *([f"Looked for and not found: {', '.join(absent)}"] if absent else []),
    ]
    return tuple(plain(text, 1024) for text in told)


def observer(based: Based) -> hd.sr.ObservationContext:
    """Name the model as the device that observed; its UID changes with its weights (TID 1002, TID 1004)."""
    algorithm, identity = based.finished.label_map.algorithm, based.finished.identity
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("algorithm", algorithm.name, algorithm.version),
        name=based.names.algorithm,
        manufacturer_name=plain(identity.manufacturer, 64),
        model_name=plain(identity.model_name, 64),
        serial_number=plain(identity.device_serial, 64),
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def encode_report(
    based: Based, kind: Kind, root: Dataset, others: Mapping[str, Dataset], referred: bool
) -> Dataset:
    """Encode a document around its root content item (PS3.3 C.17).

    `others` are the objects of the same job that it speaks of. They and the source's instances are evidence of the
    current procedure where the content refers to them (`referred`), else pertinent evidence.
    """
    finished, names = based.finished, based.names
    report, result = Dataset(), finished.identity
    for keyword in REQUIRED - _NOT_IN_A_REPORT:
        setattr(report, keyword, None)  # until the source's take their place
    report.update(root)
    identified = (finished.volume, finished.label_map.algorithm, result)
    report.SOPClassUID, report.SOPInstanceUID = kind.sop_class_uid, result_uid(f"{kind.name} instance", *identified)
    report.StudyInstanceUID = finished.volume.study_uid
    report.SeriesInstanceUID = result_uid(f"{kind.name} series", *identified)
    report.Modality, report.InstanceNumber = "SR", 1
    report.SeriesNumber = names.series_number + kind.series_offset
    report.SeriesDescription = plain(f"AI {kind.head}{names.series_description.removeprefix('AI')}", 64)
    report.InstanceCreationDate = report.SeriesDate = report.ContentDate = result.made_at.date()
    report.InstanceCreationTime = report.SeriesTime = report.ContentTime = result.made_at.time()
    report.Manufacturer, report.ManufacturerModelName = result.manufacturer, result.model_name
    report.SoftwareVersions, report.DeviceSerialNumber = result.software_version, result.device_serial
    report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "FINAL"
    report.ReferencedPerformedProcedureStepSequence = report.PerformedProcedureCodeSequence = []
    report.ContributingEquipmentSequence = list_equipment(based.source, finished.label_map.algorithm, names, result)
    evidence = "CurrentRequestedProcedureEvidenceSequence" if referred else "PertinentOtherEvidenceSequence"
    setattr(report, evidence, [_evidence(based, others)])
    return dcmread(io.BytesIO(seal(report, replace(based.source, lossy=None), _NOT_IN_A_REPORT)))


def _evidence(based: Based, others: Mapping[str, Dataset]) -> Dataset:
    """List every instance that the report is based on, by series (PS3.3 Table C.17-3)."""
    volume = based.finished.volume
    frames = {frame.sop_instance_uid: frame.sop_class_uid for frame in volume.frames}
    series = [_series(volume.series_uid, frames)]
    for other in others.values():
        series.append(_series(other.SeriesInstanceUID, {other.SOPInstanceUID: other.SOPClassUID}))
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = volume.study_uid, series
    return study


def _series(series_uid: str, instances: Mapping[str, str]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID, item.ReferencedSOPSequence = series_uid, []
    for instance_uid, class_uid in instances.items():
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = class_uid, instance_uid
        item.ReferencedSOPSequence.append(reference)
    return item
