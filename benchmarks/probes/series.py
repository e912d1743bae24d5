"""The series that the probes send: axial phantoms of small slices, plain, compressed, or with a given name."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_nodes.types import Plane
from service.phantom.body import Phantom
from service.phantom.dicom import write_dicom
from service.phantom.grids import grid
from service.phantom.headers import derive_uid
from service.phantom.protocols import make_phantom
from tests.dicom_nodes.seg_sources import graft
from tests.faults.journal import instance_uid

SLICES = 60
COMPRESSED = {
    "JPEG Lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "RLE": RLELossless,
    "Deflate": DeflatedExplicitVRLittleEndian,
}
"""Transfer syntaxes without loss, by name."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series on disk, as it will be sent."""

    series_uid: str
    study_uid: str
    paths: tuple[Path, ...]
    uids: tuple[str, ...]
    """SOP Instance UIDs of the paths."""
    transfer_syntax_uid: str = ExplicitVRLittleEndian

    def without(self, uids: frozenset[str]) -> "Series":
        """What of it is left to send."""
        left = [(path, uid) for path, uid in zip(self.paths, self.uids, strict=True) if uid not in uids]
        return replace(self, paths=tuple(path for path, _ in left), uids=tuple(uid for _, uid in left))


def make_series(
    folder: Path,
    seed: int,
    slices: int = SLICES,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    elements: Sequence[RawDataElement] = (),
) -> Series:
    """Write a series that states no count; `elements` stand in each instance to the byte.

    The same seed gives the same UIDs and pixels in every transfer syntax. subprocess.CalledProcessError where
    dcmcjpeg fails.
    """
    phantom = _phantom(slices)
    shade = np.minimum(phantom.pixels + seed, 4095).astype(phantom.pixels.dtype)
    by_dcmtk = transfer_syntax_uid == JPEGLosslessSV1
    written = write_dicom(
        replace(phantom, pixels=shade), folder, study_uid=str(derive_uid("probes", seed)), seed=seed,
        transfer_syntax=ExplicitVRLittleEndian if by_dcmtk else UID(transfer_syntax_uid),
    )  # fmt: skip
    for path in written.paths:
        if elements:
            graft(path, elements)
        if by_dcmtk:
            subprocess.run(["dcmcjpeg", path, path], check=True, capture_output=True)
    uids = tuple(instance_uid(path) for path in written.paths)
    return Series(written.series_uid, written.study_uid, written.paths, uids, str(transfer_syntax_uid))


def lacking(transfer_syntax_uid: str) -> str:
    """What is not installed to write this transfer syntax; empty where nothing is."""
    return "dcmcjpeg" if transfer_syntax_uid == JPEGLosslessSV1 and not shutil.which("dcmcjpeg") else ""


@cache
def _phantom(slices: int) -> Phantom:
    where = grid(
        Plane.AXIAL, (0.0, 0.0, 0.0), matrix=(128, 128), pixel_mm=3.0, slices=slices,
        thickness_mm=300.0 / slices, gap_mm=0.0,
    )  # fmt: skip
    return make_phantom("abdomen", 7, acquisition=where, contrast="T2")
