"""A finished job → its contact sheet as a Secondary Capture: three planes, further slices, names and volumes."""

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_nodes.encode.beside import Kind, read_base
from dicom_nodes.encode.secondary import NOT_FOR_DIAGNOSIS, encode_secondary
from dicom_nodes.pictures import sheet_of
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Finished

KIND = Kind("sheet", SecondaryCaptureImageStorage, f"sheet {NOT_FOR_DIAGNOSIS}", 80)


def encode_sheet(finished: Finished, _: Sequence[Dataset]) -> Dataset:
    """Encode the sheet as one RGB image (PS3.3 A.8.1). The same bytes at every attempt.

    Raises ResultUnsound where the headers cannot be read, SeriesUnreadable where the pixels cannot.
    """
    based = read_base(finished)
    specific = Dataset()
    specific.ImageType, specific.PatientOrientation = ["DERIVED", "SECONDARY", "CONTACT_SHEET"], None
    specific.DerivationDescription = "outlines of what was found, over its source, in three planes and some slices"
    drawn = np.asarray(sheet_of(finished, read_voxels(finished.volume)))
    return encode_secondary(based, KIND, drawn, range(len(based.source.frames)), specific)
