"""A finished job and a kind of object → the data set that one beside the SEG begins with.

What all of them have in common: who made it and when, in which study and series it lies, what took part.
"""

from dataclasses import dataclass

from pydicom import Dataset

from dicom_nodes.encode.equipment import list_equipment
from dicom_nodes.encode.identity import Names, name_result, plain, result_uid
from dicom_nodes.encode.source import REQUIRED, Source, read_source
from dicom_nodes.types import Finished

NOT_BESIDE = frozenset({"PositionReferenceIndicator"})
"""Of what a result takes from its source: an object without a frame of reference has no place for it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: what tells it from the others of its job."""

    name: str
    sop_class_uid: str
    head: str
    """What its SeriesDescription begins with, after "AI"."""
    series_offset: int
    """Added to the SeriesNumber of the SEG."""


@dataclass(frozen=True, slots=True, eq=False)
class Based:
    """What an object is made from, read once."""

    finished: Finished
    source: Source
    names: Names


def read_base(finished: Finished) -> Based:
    """Read the headers that patient, study and references are taken from; raises ResultUnsound."""
    source = read_source(finished.volume)
    names = name_result(finished.volume, source, finished.label_map.algorithm, finished.identity)
    return Based(finished, source, names)


def begin(based: Based, kind: Kind, of: str = "") -> Dataset:
    """Describe object, series and equipment; `of` goes into the UIDs of what is made of other objects.

    The attributes of the patient are there and empty: `seal` puts the source's in their place.
    """
    finished, names = based.finished, based.names
    made, result = Dataset(), finished.identity
    for keyword in REQUIRED - NOT_BESIDE:
        setattr(made, keyword, None)
    identified = (finished.volume, finished.label_map.algorithm, result)
    made.SOPClassUID = kind.sop_class_uid
    made.SOPInstanceUID = result_uid(f"{kind.name} instance{of}", *identified)
    made.StudyInstanceUID = finished.volume.study_uid
    made.SeriesInstanceUID = result_uid(f"{kind.name} series{of}", *identified)
    made.InstanceNumber = 1
    made.SeriesNumber = names.series_number + kind.series_offset
    made.SeriesDescription = plain(f"AI {kind.head}{names.series_description.removeprefix('AI')}", 64)
    made.InstanceCreationDate = made.SeriesDate = made.ContentDate = result.made_at.date()
    made.InstanceCreationTime = made.SeriesTime = made.ContentTime = result.made_at.time()
    made.Manufacturer, made.ManufacturerModelName = result.manufacturer, result.model_name
    made.SoftwareVersions, made.DeviceSerialNumber = result.software_version, result.device_serial
    made.ContributingEquipmentSequence = list_equipment(based.source, finished.label_map.algorithm, names, result)
    return made
