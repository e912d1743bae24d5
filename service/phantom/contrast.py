"""Tissues in, signal intensities out: how bright each tissue is in each kind of weighting, on a 12-bit scale."""

from enum import StrEnum

import numpy as np


class Tissue(StrEnum):
    """What a part is made of, as far as MR tells it apart."""

    AIR = "air"
    LUNG = "lung"
    FAT = "fat"
    MUSCLE = "muscle"
    CORTEX = "cortical bone"
    MARROW = "fatty marrow"
    SPONGIOSA = "haematopoietic marrow"
    NUCLEUS = "nucleus pulposus"
    ANNULUS = "annulus fibrosus"
    TENDON = "tendon and ligament"
    CARTILAGE = "hyaline cartilage"
    FLUID = "fluid"
    CORD = "spinal cord"
    BRAIN = "brain"
    VESSEL = "flowing blood"
    HEART = "heart"
    LIVER = "liver"
    SPLEEN = "spleen"
    RENAL_CORTEX = "renal cortex"
    RENAL_MEDULLA = "renal medulla"
    PANCREAS = "pancreas"
    BOWEL = "bowel"
    GLAND = "gland"
    PERIPHERAL_ZONE = "peripheral zone of the prostate"
    TRANSITION_ZONE = "transition zone of the prostate"


class Contrast(StrEnum):
    """The weighting of a sequence."""

    T1 = "T1"
    T2 = "T2"
    PD = "PD"
    FAT_SUPPRESSED = "FS"
    """PD or T2 with suppressed fat, or STIR: fat dark, fluid bright."""


SIGNAL: dict[Tissue, tuple[float, float, float, float]] = {
    # tissue: T1, T2, PD, fat-suppressed; relative to the brightest a sequence shows, times 1000
    Tissue.AIR: (0, 0, 0, 0),
    Tissue.LUNG: (35, 30, 40, 45),
    Tissue.FAT: (900, 720, 820, 160),
    Tissue.MUSCLE: (340, 190, 410, 285),
    Tissue.CORTEX: (70, 50, 90, 50),
    Tissue.MARROW: (760, 570, 690, 85),
    Tissue.SPONGIOSA: (560, 420, 560, 210),
    Tissue.NUCLEUS: (340, 610, 620, 560),
    Tissue.ANNULUS: (240, 140, 260, 160),
    Tissue.TENDON: (110, 80, 120, 80),
    Tissue.CARTILAGE: (440, 380, 600, 610),
    Tissue.FLUID: (200, 960, 700, 980),
    Tissue.CORD: (420, 400, 560, 430),
    Tissue.BRAIN: (460, 420, 600, 470),
    Tissue.VESSEL: (130, 90, 150, 150),
    Tissue.HEART: (330, 300, 400, 330),
    Tissue.LIVER: (500, 260, 460, 300),
    Tissue.SPLEEN: (350, 430, 520, 560),
    Tissue.RENAL_CORTEX: (450, 520, 580, 640),
    Tissue.RENAL_MEDULLA: (330, 640, 620, 740),
    Tissue.PANCREAS: (590, 370, 520, 400),
    Tissue.BOWEL: (320, 400, 440, 430),
    Tissue.GLAND: (430, 520, 560, 560),
    Tissue.PERIPHERAL_ZONE: (350, 780, 640, 780),
    Tissue.TRANSITION_ZONE: (345, 430, 520, 450),
}

TEXTURE: dict[Tissue, float] = {
    Tissue.MUSCLE: 0.14,
    Tissue.FAT: 0.06,
    Tissue.SPONGIOSA: 0.08,
    Tissue.MARROW: 0.07,
    Tissue.LIVER: 0.08,
    Tissue.BOWEL: 0.25,
    Tissue.TRANSITION_ZONE: 0.28,
    Tissue.PANCREAS: 0.15,
    Tissue.BRAIN: 0.12,
    Tissue.HEART: 0.15,
    Tissue.GLAND: 0.2,
}
"""By how much the signal of a tissue varies from place to place; tissues not named here vary by 0.04."""


def signals(contrast: Contrast, rng: np.random.Generator) -> dict[Tissue, float]:
    """The signal of every tissue in one examination: the table with this patient's deviations, about 8 %."""
    column = list(Contrast).index(contrast)
    return {tissue: row[column] * float(rng.uniform(0.9, 1.1)) for tissue, row in SIGNAL.items()}


def texture_of(tissue: Tissue) -> float:
    """The relative variation of a tissue's signal from place to place."""
    return TEXTURE.get(tissue, 0.04)
