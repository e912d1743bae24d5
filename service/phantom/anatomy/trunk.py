"""A seed in, a whole trunk with neck and head out: abdominal, pelvic and spinal protocols look at parts of it."""

import numpy as np

from service.phantom.anatomy import abdomen, chest, column, habit, neck, pelvis, spine
from service.phantom.body import Anatomy


def trunk(seed: int) -> Anatomy:
    """One patient; landmarks are the centres of the vertebral bodies and the discs below them."""
    rng = np.random.default_rng((seed, 101))
    bones = column.grow(rng)
    outline = habit.build(bones, rng)
    joints = pelvis.hips(bones, rng)
    parts = (
        *habit.parts(outline),
        *chest.lungs(outline),
        *abdomen.parts(outline, rng),
        *chest.parts(outline, rng),
        *pelvis.parts(outline, joints, rng),
        *neck.parts(bones, rng),
        *spine.parts(bones),
    )
    landmarks = {}
    for level in (*bones.vertebrae, *bones.sacrum):
        v = bones[level]
        landmarks[level] = v.centre
        landmarks[f"below {level}"] = v.at(0, 0, -v.height / 2 - v.disc_below / 2)
    landmarks["half width"] = (outline.wide(bones["T12"].centre[2]) + 1.3 * outline.fat_mm, 0.0, 0.0)
    landmarks["hips"] = joints.mid(0, 0, 0)
    landmarks["prostate"] = joints.mid(0, -8, -18)
    middles = {v.name: v.centre for v in bones.vertebrae.values()}
    return Anatomy(parts, landmarks, middles)
