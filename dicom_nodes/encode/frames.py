"""Segment numbers on a grid → the frames of a Segmentation: bits packed without gaps, functional groups as bytes.

A result has thousands of frames that differ in a few bytes, and as many data sets of pydicom take seconds. So the
parts that frames share are encoded once, and each frame's item is put together of them.
"""

import struct

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes

from dicom_nodes.encode.codes import code_elements, standard_code
from dicom_nodes.encode.explicit import element, item, raw_element, sequence
from dicom_nodes.encode.place import number_frames, refer_to
from dicom_nodes.encode.source import Source, SourceFrame

DERIVATION = standard_code(codes.cid7203.SegmentationImageDerivation)
PURPOSE = standard_code(codes.DCM.SourceImageForImageProcessingOperation)  # PS3.16 CID 7202

Frames = list[tuple[int, int]]
"""(segment number, slice) of each frame, in the order of the object."""
SEVERAL = 0
"""Stands for the segment number of a frame that holds all segments of its slice."""

_TOGETHER = 8  # so many frames end on a whole byte, whatever their matrix


def list_frames(voxels: npt.NDArray[np.integer]) -> Frames:
    """List the frames that have voxels, by segment and then by slice; `voxels` (z, n) count segment n + 1."""
    segments, slices = np.nonzero(voxels.T)
    return list(zip((segments + 1).tolist(), slices.tolist(), strict=True))


def pack(numbers: npt.NDArray[np.uint8], frames: Frames) -> bytes:
    """Pack one bit a voxel, the lowest bit first, on across frames (PS3.5 8.1.1), zeros up to an even length."""
    planes = numbers.reshape(len(numbers), -1)
    length = (len(frames) * planes.shape[1] + 7) // 8
    packed = np.zeros(length + length % 2, dtype=np.uint8)
    masks = np.empty((_TOGETHER, planes.shape[1]), dtype=np.bool_)
    filled = 0
    for start in range(0, len(frames), _TOGETHER):
        several = frames[start : start + _TOGETHER]
        for mask, (segment, z) in zip(masks, several, strict=False):
            np.equal(planes[z], segment, out=mask)
        part = np.packbits(masks[: len(several)], bitorder="little")
        packed[filled : filled + len(part)] = part
        filled += len(part)
    return packed.tobytes()


def encode_groups(frames: Frames, source: Source) -> RawDataElement:
    """Encode the Per-Frame Functional Groups Sequence (PS3.3 C.7.6.16): place, segment and source of every frame.

    The segment's number stands in each frame's own item even where there is one segment only, since Weasis looks
    nowhere else, and in none that holds several (Table A.51-2); each frame has exactly one source; its place is the
    source's own decimal strings.
    """
    slices = sorted({z for _, z in frames})
    positions = {z: n for n, z in enumerate(slices, start=1)}
    derivations = {z: _derivation(source.frames[z]) for z in slices}
    places = {z: _place(source.frames[z]) for z in slices}
    segments = {segment: _segment(segment) for segment in {segment for segment, _ in frames}}
    contents = {n: sequence("FrameContentSequence", element("DimensionIndexValues", bytes(n)))[:-n] for n in (4, 8)}
    items = []
    for segment, z in frames:
        index = struct.pack("<I", positions[z]) if segment == SEVERAL else struct.pack("<II", segment, positions[z])
        own = contents[len(index)] + index
        items.append(item(derivations[z] + own + places[z] + segments[segment]))
    return raw_element("PerFrameFunctionalGroupsSequence", b"".join(items))


def _derivation(frame: SourceFrame) -> bytes:
    """Say that the frame was segmented from exactly this image (PS3.3 A.51.5.1)."""
    image = [
        refer_to(frame),
        number_frames([frame]),
        element("SpatialLocationsPreserved", "YES"),
        sequence("PurposeOfReferenceCodeSequence", code_elements(PURPOSE)),
    ]
    images = sequence("SourceImageSequence", b"".join(image))
    return sequence(
        "DerivationImageSequence", images + sequence("DerivationCodeSequence", code_elements(DERIVATION))
    )


def _place(frame: SourceFrame) -> bytes:
    return sequence("PlanePositionSequence", element("ImagePositionPatient", "\\".join(frame.position)))


def _segment(number: int) -> bytes:
    if number == SEVERAL:
        return b""
    value = number.to_bytes(2, "little")
    return sequence("SegmentIdentificationSequence", element("ReferencedSegmentNumber", value))
