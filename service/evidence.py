"""A volume in, the plain values that routing reads of it out; and back. No frame and no path is among them."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from dicom_nodes.types import Plane, Volume

_PLAIN = (
    "series_uid", "study_uid", "frame_of_reference_uid", "index", "name", "shape", "plane", "oblique_degrees",
)  # fmt: skip


def plain_volume(volume: Volume) -> dict[str, Any]:
    """The values of a volume, without its frames, as JSON can hold them."""
    return {
        **{name: getattr(volume, name) for name in _PLAIN},
        "affine": volume.affine.tolist(),
        "facts": dict(volume.facts),
    }


def volume_of(values: Mapping[str, Any]) -> Volume:
    """The volume that `plain_volume` wrote, without frames."""
    return Volume(
        **{name: values[name] for name in _PLAIN if name not in ("shape", "plane")},
        shape=tuple(values["shape"]),
        plane=Plane(values["plane"]),
        frames=(),
        affine=np.array(values["affine"]),
        facts=MappingProxyType(dict(values["facts"])),
    )


def write_evidence(volume: Volume) -> str:
    """What the ledger keeps of a volume."""
    return json.dumps(plain_volume(volume), ensure_ascii=False)


def read_evidence(text: str) -> Volume:
    """What `write_evidence` wrote."""
    return volume_of(json.loads(text))
