"""What each phantom model learns: its labels, the protocols it sees and the grid its network works on.

Labels and data set numbers are MRAnnotator's, so that a phantom model stands exactly where the real one will.
"""

from dataclasses import dataclass

from service.phantom.protocols import DATASETS

MODEL_AXES = "LAS"
"""The directions in which MRAnnotator's arrays grow along x, y, z."""

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one phantom model is made. All triples but `transpose` are in the order after `transpose`."""

    dataset: str
    labels: tuple[str, ...]
    """In the order of their values, from 1."""
    protocols: tuple[str, ...]
    transpose: Triple
    """nnU-Net's transpose_forward on (z, y, x): the axis with the thick slices first."""
    spacing_mm: tuple[float, float, float]
    patch: Triple
    strides: tuple[Triple, ...]
    flat_stages: int
    """Stages that are convolved in plane only, as the first spacing is so much the largest."""
    features: tuple[int, ...]
    cases: int
    """Training phantoms per protocol."""
    iterations: int


RECIPES: dict[str, Recipe] = {
    recipe.dataset: recipe
    for recipe in (
        Recipe(
            dataset="Dataset001_Abdomen",
            labels=tuple(DATASETS["Dataset001_Abdomen"]),
            protocols=("abdomen",),
            transpose=(0, 1, 2),
            spacing_mm=(6.6, 3.5, 3.5),
            patch=(32, 80, 112),
            strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)),
            flat_stages=1,
            features=(8, 16, 32, 64, 96),
            cases=60,
            iterations=1500,
        ),
        Recipe(
            dataset="Dataset002_ShoulderKnee",
            labels=tuple(DATASETS["Dataset002_ShoulderKnee"]),
            protocols=("shoulder", "knee"),
            transpose=(0, 1, 2),
            spacing_mm=(2.75, 2.75, 2.75),
            patch=(64, 48, 64),
            strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 1, 2)),
            flat_stages=0,
            features=(8, 16, 32, 64, 96),
            cases=60,
            iterations=2500,
        ),
        Recipe(
            dataset="Dataset003_PelvisProstate",
            labels=tuple(DATASETS["Dataset003_PelvisProstate"]),
            protocols=("pelvis", "prostate"),
            transpose=(0, 1, 2),
            spacing_mm=(4.0, 4.0, 4.0),
            patch=(64, 48, 80),
            strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 1, 2)),
            flat_stages=0,
            features=(8, 16, 32, 64, 96),
            cases=50,
            iterations=2500,
        ),
        Recipe(
            dataset="Dataset004_Spine",
            labels=tuple(DATASETS["Dataset004_Spine"]),
            protocols=("cervical", "thoracic", "lumbar"),
            transpose=(2, 0, 1),
            spacing_mm=(3.5, 2.2, 2.2),
            patch=(20, 192, 96),  # the whole length of the column: a vertebra is named by counting
            strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)),
            flat_stages=1,
            features=(8, 16, 32, 64, 96, 96),
            cases=80,
            iterations=10000,
        ),
    )
}
