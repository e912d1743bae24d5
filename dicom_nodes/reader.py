"""A volume in; its voxels out: float32 (z, y, x), rescaled as the header says, on the volume's affine.

Any transfer syntax, 8 to 32 bits, signed or not, one frame or many in a file. Plain images are read by `native`,
all others by pydicom. What pydicom or a codec raises becomes `SeriesUnreadable` here, with the instance and the
rule.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_nodes import jpeg
from dicom_nodes.attributes import FrameView
from dicom_nodes.elements import numbers
from dicom_nodes.errors import Rule, SeriesUnreadable
from dicom_nodes.headers import UNREADABLE
from dicom_nodes.native import fill_native
from dicom_nodes.pixel_size import UNDEFINED_LENGTH, pixel_fault, stated_size
from dicom_nodes.quiet import quiet_pydicom
from dicom_nodes.screen import REMEDIES
from dicom_nodes.types import Volume, Voxels

_UNDECODABLE = (*UNREADABLE, RuntimeError)
"""What pydicom and its codecs let through when pixel data are not what the header says."""


def read_voxels(volume: Volume) -> Voxels:
    """Read the pixel values of a volume.

    Raises SeriesUnreadable (FILE, TRUNCATED, UNDECODABLE or MATRIX), naming the instance.
    """
    jpeg.install()
    array = np.empty(volume.shape, dtype=np.float32)
    slices: dict[Path, list[int]] = {}
    for z, ref in enumerate(volume.frames):
        slices.setdefault(ref.path, []).append(z)
    for path, places in slices.items():
        if len(places) == 1 and _is_filled(array[places[0]], path, volume.frames[places[0]].frame_number):
            continue
        fault = _fill(array, path, places, [volume.frames[z].frame_number or 1 for z in places])
        if fault is not None:
            raise _unreadable(volume, places[0], *fault)
    return Voxels(array, volume.affine)


def _is_filled(out: npt.NDArray[np.float32], path: Path, frame_number: int | None) -> bool:
    """Read the only image (y, x) of a file; False where it is not plain, or something is wrong with it."""
    try:
        with quiet_pydicom():
            return frame_number is None and fill_native(out, path)
    except OSError:
        return False


def _fill(
    array: npt.NDArray[np.float32], path: Path, places: Sequence[int], frame_numbers: Sequence[int]
) -> tuple[Rule, str] | None:
    """Decode some frames of one file into slices of the array (z, y, x); the rule that broke, or None."""
    try:
        with quiet_pydicom():
            dataset = dcmread(path, force=True)
            fault = _pixel_fault(dataset)
            if fault is not None:
                return fault
            for z, values in zip(places, _rescaled(dataset, frame_numbers), strict=True):
                if values.shape != array.shape[1:]:
                    return Rule.MATRIX, f"an image of {values.shape} in a volume of {array.shape[1:]}"
                array[z] = values
    except OSError:
        return Rule.FILE, "the file could not be read"
    except _UNDECODABLE as error:
        return Rule.UNDECODABLE, f"the pixel data could not be decoded ({type(error).__name__})"
    return None


def _rescaled(dataset: FileDataset, frame_numbers: Sequence[int]) -> Iterator[npt.NDArray[np.float64]]:
    """Decode frames by 1-based number and apply each one's RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2)."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _native_syntax(*dataset.original_encoding)
    indices = [number - 1 for number in frame_numbers]
    for index, stored in zip(indices, iter_pixels(dataset, indices=indices), strict=True):
        view = FrameView(dataset, index)
        slope, intercept = (numbers(view.value(keyword), 1) for keyword in ("RescaleSlope", "RescaleIntercept"))
        yield stored.astype(np.float64) * (slope[0] if slope else 1.0) + (intercept[0] if intercept else 0.0)


def _pixel_fault(dataset: FileDataset) -> tuple[Rule, str] | None:
    """Say whether the pixel data are whole, as far as shows without decoding."""
    if "PixelData" not in dataset:
        return Rule.TRUNCATED, "the pixel data are not there, or cut off"
    element = dataset["PixelData"]
    length = UNDEFINED_LENGTH if element.is_undefined_length else len(element.value)
    return pixel_fault(stated_size(dataset), BytesIO(element.value), length)


def _native_syntax(implicit: bool | None, little_endian: bool | None) -> UID:
    """Name the transfer syntax of a file that does not."""
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian


def _unreadable(volume: Volume, z: int, rule: Rule, detail: str) -> SeriesUnreadable:
    where = f"instance {volume.frames[z].sop_instance_uid}"
    return SeriesUnreadable(rule, volume.series_uid, f"{where}: {detail}", REMEDIES[rule])
