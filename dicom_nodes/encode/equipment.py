"""What took part in a result: scanner and algorithm, as Contributing Equipment (PS3.3 C.12.1.5)."""

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.tag import Tag

from dicom_nodes.encode.codes import code_item, standard_code
from dicom_nodes.encode.identity import Names, derived_uid, plain
from dicom_nodes.encode.seal import take_bytes
from dicom_nodes.encode.source import SCANNER, Source, borrow
from dicom_nodes.types import Algorithm, ResultIdentity

_DATE_TIME = "%Y%m%d%H%M%S"


def list_equipment(source: Source, algorithm: Algorithm, names: Names, result: ResultIdentity) -> list[Dataset]:
    """List what contributed; the scanner only where the source names its maker, whom the standard requires."""
    scanner = _scanner(source)
    return [*([scanner] if scanner is not None else []), _algorithm(algorithm, names, result)]


def _scanner(source: Source) -> Dataset | None:
    elements = list(borrow(source.header, SCANNER))
    if not any(e.tag == Tag("Manufacturer") and (e.value or b"").strip() for e in elements):
        return None
    item = _purpose(codes.DCM.AcquisitionEquipment)
    item.ContributionDescription = "Acquisition of the source images"
    take_bytes(item, [element for element in elements if element.value])
    return item


def _algorithm(algorithm: Algorithm, names: Names, result: ResultIdentity) -> Dataset:
    """Describe the model as IHE AI Results asks: its DeviceUID changes with its weights."""
    item = _purpose(codes.DCM.ProcessingEquipment)
    item.Manufacturer = plain(algorithm.source, 64)
    item.ManufacturerModelName = names.algorithm
    item.SoftwareVersions = plain(algorithm.version, 64)
    item.DeviceUID = derived_uid("algorithm", algorithm.name, algorithm.version)
    item.ContributionDateTime = result.made_at.strftime(_DATE_TIME)
    item.ContributionDescription = names.content_description
    return item


def _purpose(code: DicomCode) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(standard_code(code))]
    return item
