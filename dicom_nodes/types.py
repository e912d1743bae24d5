"""The nouns: frozen values that travel between the rooms; no behaviour beyond what a value can say of itself.

Coordinates are the patient's, LPS+ in millimetres (PS3.3 C.7.6.2.1.1). Arrays are ordered (z, y, x) = (slice,
row, column); an affine is (4, 4) and maps (x, y, z, 1) = (column, row, slice index, 1) to (L, P, S, 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64]
"""(4, 4): (column, row, slice index, 1) to (L, P, S, 1) in millimetres."""


class Plane(StrEnum):
    """The anatomical plane nearest to the slices of a volume."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


class Laterality(StrEnum):
    """The side of a paired body part, in the words of Laterality (0020,0060)."""

    RIGHT = "R"
    LEFT = "L"


class Ending(StrEnum):
    """How an association ended; only a release is evidence that the sender had no more to send."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "connection lost"


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP Instance that lies durably on disk, and what its header says of where it belongs."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax_uid: str
    path: Path
    size_bytes: int
    calling_aet: str
    association_id: str
    declared_count: int | None = None
    """How many instances the series has by the object's own word; None where it says nothing."""


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """The end of one association, with the series that it brought instances of."""

    association_id: str
    calling_aet: str
    ending: Ending
    series_uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class InstanceRefused:
    """An object that was answered with a failure status, and why."""

    calling_aet: str
    sop_instance_uid: str
    status: int
    reason: str
    series_uid: str = ""
    """Of an object that may be sent again (A700); empty where the data set could not be read."""


@dataclass(frozen=True, slots=True)
class FrameRef:
    """One frame of a volume: the file that holds it and its number there."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None
    """1-based ReferencedFrameNumber in a multi-frame object; None in a single-frame one."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One 3-D volume of a series, from headers alone: which frames, and where they lie in the patient."""

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    index: int
    """1-based place among the volumes of the series."""
    name: str
    """What tells it from the others of its series, as "echo 2" or "b 800"; empty when it is the only one."""
    frames: tuple[FrameRef, ...]
    """In slice order: frame k is slice z = k of the array."""
    affine: Affine
    shape: tuple[int, int, int]
    """(z, y, x)."""
    plane: Plane
    oblique_degrees: float
    """Angle between the slice normal and the axis of the nearest plane."""
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Header values that routing reads, by DICOM keyword; multi-valued ones joined by a backslash."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x), from positions and never from SliceThickness."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Size of the covered box along (z, y, x)."""
        z, y, x = (n * d for n, d in zip(self.shape, self.spacing_mm, strict=True))
        return z, y, x


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """The pixel values of a volume: float32 (z, y, x), rescaled as the header says, on its affine."""

    array: npt.NDArray[np.float32]
    affine: Affine


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8): value, scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One label of a sub-model: its value in the label map, name, codes and colour."""

    value: int
    name: str
    category: Code
    type: Code
    laterality: Code | None
    rgb: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made a label map: goes into SegmentationAlgorithmIdentificationSequence (PS3.3 10.16)."""

    name: str
    version: str
    """Changes with the weights: a digest of the model's files."""
    source: str
    phantom: bool
    """Trained on synthetic phantoms; read from the weights themselves, and no setting can clear it."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """What a sub-model found: uint8 (z, y, x) on the source volume's own grid, and the meaning of each value."""

    array: npt.NDArray[np.uint8]
    affine: Affine
    segments: tuple[Segment, ...]
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class ResultIdentity:
    """Which result this is and who makes it: what an output object needs beside the label map and its volume."""

    submodel: str
    protocol: str
    """The study protocol the volume was routed as, as "knee"."""
    revision: int
    """Of the source series: more instances came, a new result."""
    laterality: Laterality | None
    """Side of the paired part the volume shows; segments without a side of their own take it. None elsewhere."""
    made_at: datetime
    """When the label map was made, in the site's time; the same at every attempt, for the same bytes."""
    software_version: str
    device_serial: str
    manufacturer: str = "Sagittal"
    model_name: str = "Sagittal"
    part: str = ""
    """Which of the structures, as "vertebrae", where they go into several objects; empty for all of them."""


class Edge(StrEnum):
    """Where a structure reaches the end of what was imaged, so that more of it may lie beyond."""

    IN_PLANE = "in-plane"
    FIRST_SLICE = "first slice"
    LAST_SLICE = "last slice"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one segment on the voxels of the volume that it was found in."""

    value: int
    """The segment's value in the label map."""
    volume_ml: float
    mean: float | None
    """Of the pixel values, rescaled as the header says, in arbitrary units; None where they are not finite."""
    sd: float | None
    """Their standard deviation, as of a whole population; None as `mean`."""
    slices: int
    """How many slices have voxels of it."""
    first_slice: int
    """0-based, in the order of the volume, as `last_slice`."""
    last_slice: int
    edges: tuple[Edge, ...]
    """Empty where it is seen whole."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The object that another takes the place of, in the same study."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """All that the output objects of one job are made of."""

    label_map: LabelMap
    volume: Volume
    identity: ResultIdentity
    measurements: tuple[Measurement, ...]
    """Of every segment that has voxels."""
    notes: tuple[str, ...] = ()
    """What the checks found, one sentence each."""
    predecessor: Predecessor | None = None
    """Of the object that is made of it, by an earlier model or of an earlier revision of the series."""


@dataclass(frozen=True, slots=True)
class Node:
    """A DICOM application entity to talk to."""

    aet: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reference:
    """An object by its SOP Class and SOP Instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a node reported of one transaction of storage commitment (PS3.4 J.3.3)."""

    said_by: str
    """Its AE title."""
    transaction_uid: str
    committed: frozenset[str]
    """SOP Instance UIDs that it keeps."""
    failed: Mapping[str, int]
    """SOP Instance UIDs that it does not keep, with FailureReason (0008,1197)."""


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What a destination answered to the C-STORE of one object."""

    sop_instance_uid: str
    status: int
    comment: str

    @property
    def stored(self) -> bool:
        """True for Success and for the warnings that still store (B000, B006, B007; PS3.4 Table B.2-1)."""
        return self.status in (0x0000, 0xB000, 0xB006, 0xB007)
