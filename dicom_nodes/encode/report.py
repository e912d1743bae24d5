"""The root of a structured report and the source it speaks of → the encoded document, the same at every attempt.

What every report of ours has in common: what it is based on, what it says beside the numbers.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from dicom_nodes.encode.beside import NOT_BESIDE, Based, Kind, begin
from dicom_nodes.encode.codes import code_item, standard_code
from dicom_nodes.encode.identity import derived_uid, plain
from dicom_nodes.encode.seal import seal
from dicom_nodes.types import Finished, Measurement, Predecessor, Segment

NOT_FINDING = "checks: nothing found that is not plausible"


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


def encode_report(based: Based, kind: Kind, root: Dataset, referred: Sequence[Dataset] = ()) -> Dataset:
    """Encode a document around its root content item (PS3.3 C.17).

    `referred` are the objects of the same job that its content refers to: with the source's instances they are
    evidence of the current procedure, without any those are pertinent evidence.
    """
    report = begin(based, kind, "".join(f" of {each.SOPInstanceUID}" for each in referred))
    report.update(root)
    report.Modality = "SR"
    report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "FINAL"
    report.ReferencedPerformedProcedureStepSequence = report.PerformedProcedureCodeSequence = []
    evidence = "CurrentRequestedProcedureEvidenceSequence" if referred else "PertinentOtherEvidenceSequence"
    setattr(report, evidence, [_evidence(based, referred)])
    if based.finished.predecessor is not None:
        report.PredecessorDocumentsSequence = [_replaced(based.finished.predecessor, report.StudyInstanceUID)]
    return dcmread(io.BytesIO(seal(report, replace(based.source, lossy=None), NOT_BESIDE)))


def _evidence(based: Based, referred: Sequence[Dataset]) -> Dataset:
    """List every instance that the report is based on, by series (PS3.3 Table C.17-3)."""
    volume = based.finished.volume
    frames = {frame.sop_instance_uid: frame.sop_class_uid for frame in volume.frames}
    series = [_series(volume.series_uid, frames)]
    for other in referred:
        series.append(_series(other.SeriesInstanceUID, {other.SOPInstanceUID: other.SOPClassUID}))
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = volume.study_uid, series
    return study


def _replaced(predecessor: Predecessor, study_uid: str) -> Dataset:
    """Name the document of the same study that the new one takes the place of (PS3.3 C.17.2, PS3.16 CID 7009)."""
    series = _series(predecessor.series_uid, {predecessor.sop_instance_uid: predecessor.sop_class_uid})
    purpose = code_item(standard_code(codes.DCM.ReplacedReport))
    series.ReferencedSOPSequence[0].PurposeOfReferenceCodeSequence = [purpose]
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, [series]
    return study


def _series(series_uid: str, instances: Mapping[str, str]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID, item.ReferencedSOPSequence = series_uid, []
    for instance_uid, class_uid in instances.items():
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = class_uid, instance_uid
        item.ReferencedSOPSequence.append(reference)
    return item
