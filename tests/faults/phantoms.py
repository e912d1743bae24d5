"""Small MR series for the load: one imaged phantom, each series in a study of its own and a shade brighter."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicom_nodes.types import Plane
from service.phantom.body import Phantom
from service.phantom.dicom import write_dicom
from service.phantom.grids import grid
from service.phantom.headers import derive_uid
from service.phantom.protocols import make_phantom
from tests.faults.journal import instance_uid

VENDORS = ("siemens", "ge", "philips", "siemens")
"""Of the senders in turn; GE's objects say how many they are."""


@dataclass(frozen=True, slots=True)
class Made:
    """A series on disk, as a sender will send it."""

    series_uid: str
    study_uid: str
    paths: tuple[Path, ...]
    sop_instance_uids: tuple[str, ...]


def make_series(folder: Path, seed: int, count: int, senders: Sequence[str]) -> dict[str, list[Made]]:
    """So many series, dealt to the senders in turn."""
    phantoms = {slices: _phantom(slices) for slices in (6, 9, 12)}
    made: dict[str, list[Made]] = {aet: [] for aet in senders}
    for number in range(count):
        at = number % len(senders)
        phantom = phantoms[(6, 9, 12)[number % 3]]
        study_uid = str(derive_uid("faults", seed, number))
        shade = np.minimum(phantom.pixels + number, 4095).astype(phantom.pixels.dtype)
        written = write_dicom(
            replace(phantom, pixels=shade), folder / f"{number:04d}", vendor=VENDORS[at % len(VENDORS)],
            study_uid=study_uid, seed=number,
        )  # fmt: skip
        uids = tuple(instance_uid(path) for path in written.paths)
        made[senders[at]].append(Made(written.series_uid, written.study_uid, written.paths, uids))
    return made


def _phantom(slices: int) -> Phantom:
    where = grid(
        Plane.AXIAL, (0.0, 0.0, 0.0), matrix=(32, 32), pixel_mm=12.0, slices=slices, thickness_mm=20.0, gap_mm=0.0
    )
    return make_phantom("abdomen", 7, acquisition=where, contrast="T2")
