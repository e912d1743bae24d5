"""Drawn pictures and what they were drawn of → a Secondary Capture (PS3.3 A.8), in a series not for diagnosis.

Uncompressed RGB, which every archive and viewer takes. No attribute of the patient is burned in: what says who it
is stands in the header, byte for byte as the source has it.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_nodes.encode.beside import NOT_BESIDE, Based, Kind, begin
from dicom_nodes.encode.identity import plain
from dicom_nodes.encode.place import refer_to_predecessor, refer_to_source
from dicom_nodes.encode.seal import seal, take_bytes
from dicom_nodes.encode.source import LOSSY, borrow

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSIS"
"""In the SeriesDescription of every picture, before what a viewer may cut off."""
_SQUARE = 1e-3


def encode_secondary(
    based: Based, kind: Kind, pixels: npt.NDArray[np.uint8], slices: Sequence[int], specific: Dataset
) -> Dataset:
    """Encode pictures (row, column, RGB), or several of them (picture, row, column, RGB).

    `slices` are those of the volume, counted from 0, that they were drawn of; `specific` is what the kind of object
    adds. The same bytes at every attempt.
    """
    picture = begin(based, kind)
    picture.Modality, picture.ConversionType = "OT", "WSD"
    picture.update(specific)
    picture.BurnedInAnnotation = "NO"  # letters and names of structures, nothing that identifies (PS3.3 C.7.6.1)
    side = based.finished.identity.laterality
    picture.Laterality = str(side) if side else None
    words = f"{based.names.content_description}; {picture.DerivationDescription}"
    picture.DerivationDescription = plain(words, 1024)
    take_bytes(picture, _references(based, slices))
    _add_pixels(picture, pixels)
    _add_history(picture, based)
    return dcmread(io.BytesIO(seal(picture, based.source, NOT_BESIDE)))


def pixel_aspect(spacing_mm: tuple[float, float]) -> list[int] | None:
    """PixelAspectRatio (0028,0034) of (row, column) spacing; None where pixels are square."""
    down, across = spacing_mm
    if abs(down / across - 1) < _SQUARE:
        return None
    ratio = Fraction(down / across).limit_denominator(1000)
    return [ratio.numerator, ratio.denominator]


def _references(based: Based, slices: Sequence[int]) -> list[RawDataElement]:
    """Name the images that were drawn on, and the picture that this one takes the place of."""
    drawn_on = replace(based.source, frames=tuple(based.source.frames[z] for z in slices))
    tag = Tag("SourceImageSequence")
    found = [each for each in refer_to_source(based.finished.volume, drawn_on) if each.tag == tag]
    older = based.finished.predecessor
    return [*found, *([refer_to_predecessor(older)] if older else [])]


def _add_pixels(picture: Dataset, pixels: npt.NDArray[np.uint8]) -> None:
    """Write the pixels (PS3.3 C.7.6.3), the colours of each together."""
    *_, picture.Rows, picture.Columns, picture.SamplesPerPixel = pixels.shape
    picture.PhotometricInterpretation, picture.PlanarConfiguration = "RGB", 0
    picture.BitsAllocated, picture.BitsStored, picture.HighBit, picture.PixelRepresentation = 8, 8, 7, 0
    encoded = pixels.tobytes()
    picture.add_new("PixelData", "OB", encoded + b"\0" * (len(encoded) % 2))


def _add_history(picture: Dataset, based: Based) -> None:
    """Pixels that were once compressed with loss stay so (PS3.3 C.7.6.1.1.5)."""
    lossy = based.source.lossy
    picture.LossyImageCompression = "00" if lossy is None else "01"
    if lossy is not None:
        take_bytes(picture, list(borrow(lossy, LOSSY)))
    take_bytes(picture, list(borrow(based.source.header, ("RecognizableVisualFeatures",))))
