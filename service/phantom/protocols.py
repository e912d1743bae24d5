"""The name of a protocol and a seed in, a phantom out; what each protocol images, how, and for which model."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from dicom_nodes.types import Laterality
from service.phantom import placing
from service.phantom.anatomy.knee import knee
from service.phantom.anatomy.shoulder import shoulder
from service.phantom.anatomy.spine import LABELLED
from service.phantom.anatomy.trunk import trunk
from service.phantom.body import Acquisition, Anatomy, Phantom
from service.phantom.contrast import Contrast
from service.phantom.grids import coarser
from service.phantom.render import render


def _numbered(*names: str) -> Mapping[str, int]:
    return MappingProxyType({name: i for i, name in enumerate(names, 1)})


DATASETS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "Dataset001_Abdomen": _numbered(
            "spleen",
            "kidney_right",
            "kidney_left",
            "gallbladder",
            "liver",
            "aorta",
            "inferior vena cava",
            "pancreas",
        ),
        "Dataset002_ShoulderKnee": _numbered(
            "femur",
            "patella",
            "fibula",
            "tibia",
            "humerus_right",
            "clavicle_right",
            "scapula_right",
            "humerus_left",
            "clavicle_left",
            "scapula_left",
        ),
        "Dataset003_PelvisProstate": _numbered("upper_femora", "pelvis", "sacrum", "prostate"),
        "Dataset004_Spine": _numbered(*(f"Vertebrae {level}" for level in LABELLED)),
    }
)
"""The label tables of MRAnnotator's four models: structure to value."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One anatomic study protocol."""

    dataset: str
    """The folder name of the model that serves it."""
    anatomy: Callable[[int, Laterality], Anatomy]
    place: Callable[[Anatomy, np.random.Generator, Laterality], Acquisition]
    contrasts: tuple[Contrast, ...]
    structures: tuple[str, ...]
    """Those of the model's structures that the protocol may show."""
    sided: bool = False


def _trunk(seed: int, laterality: Laterality) -> Anatomy:
    return trunk(seed)


_SPINE = tuple(DATASETS["Dataset004_Spine"])
_JOINT = (Contrast.PD, Contrast.FAT_SUPPRESSED, Contrast.T1, Contrast.T2)
_SPINAL = (Contrast.T2, Contrast.T1, Contrast.FAT_SUPPRESSED)

TABLE: Mapping[str, Protocol] = MappingProxyType(
    {
        "abdomen": Protocol(
            "Dataset001_Abdomen",
            _trunk,
            placing.abdomen,
            (Contrast.T2, Contrast.T1, Contrast.FAT_SUPPRESSED),
            tuple(DATASETS["Dataset001_Abdomen"]),
        ),
        "pelvis": Protocol(
            "Dataset003_PelvisProstate",
            _trunk,
            placing.pelvis,
            (Contrast.T1, Contrast.FAT_SUPPRESSED, Contrast.T2),
            ("upper_femora", "pelvis", "sacrum"),
        ),
        "prostate": Protocol("Dataset003_PelvisProstate", _trunk, placing.prostate, (Contrast.T2,), ("prostate",)),
        "shoulder": Protocol(
            "Dataset002_ShoulderKnee",
            shoulder,
            placing.shoulder,
            _JOINT,
            tuple(DATASETS["Dataset002_ShoulderKnee"])[4:],
            sided=True,
        ),
        "knee": Protocol(
            "Dataset002_ShoulderKnee",
            knee,
            placing.knee,
            _JOINT,
            tuple(DATASETS["Dataset002_ShoulderKnee"])[:4],
            sided=True,
        ),
        "cervical": Protocol("Dataset004_Spine", _trunk, placing.cervical, _SPINAL, _SPINE[:8]),
        "thoracic": Protocol("Dataset004_Spine", _trunk, placing.thoracic, _SPINAL, _SPINE[3:19]),
        "lumbar": Protocol("Dataset004_Spine", _trunk, placing.lumbar, _SPINAL, _SPINE[15:]),
    }
)
PROTOCOLS: tuple[str, ...] = tuple(TABLE)
DATASET_OF: Mapping[str, str] = MappingProxyType({name: p.dataset for name, p in TABLE.items()})
"""The dataset folder of each protocol's model."""


def make_phantom(
    protocol: str,
    seed: int,
    *,
    voxel_scale: float = 1.0,
    contrast: str | None = None,
    laterality: Laterality | None = None,
    acquisition: Acquisition | None = None,
) -> Phantom:
    """A patient drawn by seed, imaged by one protocol.

    A voxel_scale above 1 gives the same field of view in fewer, larger pixels; `acquisition` images the same
    patient on a grid of one's own. Without them contrast, side and grid are drawn by the seed.
    Raises KeyError for a protocol and ValueError for a contrast that is not known.
    """
    rules = TABLE[protocol]
    rng = np.random.default_rng((seed, zlib.crc32(protocol.encode())))
    side = list(Laterality)[int(rng.integers(2))]
    drawn = rules.contrasts[int(rng.integers(len(rules.contrasts)))]
    side = laterality or side
    weighting = drawn if contrast is None else Contrast(contrast)
    anatomy = rules.anatomy(seed, side)
    grid = rules.place(anatomy, rng, side) if acquisition is None else acquisition
    if voxel_scale != 1.0:
        grid = coarser(grid, voxel_scale)
    labels = {name: value for name, value in DATASETS[rules.dataset].items() if name in rules.structures}
    return render(
        anatomy,
        grid,
        seed,
        protocol=protocol,
        labels=MappingProxyType(labels),
        absent=frozenset(name for name, middle in anatomy.middles.items() if not grid.holds(middle)),
        contrast=weighting,
        laterality=side if rules.sided else None,
    )
