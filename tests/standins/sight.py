"""What the base network sees in one phantom: the image as it gets it, and its features before the last layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch

from dicom_nodes.orientation import reorient
from service.phantom.protocols import make_phantom
from tests.standins.network import BASE, BASE_AXES, TILE, base

SEED = 41
"""Of the phantom that is looked at; no training saw it."""


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Mean and deviation of each of the features before the last layer."""

    mean: torch.Tensor
    deviation: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The features everywhere, and inside each organ that was found."""

    features: torch.Tensor
    """(feature, voxel)."""
    everywhere: Spread
    organs: Mapping[str, torch.Tensor]
    """(feature, voxel), of the voxels where each organ was found."""


@cache
def seen() -> Sight:
    """Run the base network once over every tile; about three seconds."""
    module, kept, found = base().module(), [], []
    layer = module.get_submodule(f"decoder.seg_layers.{len(base().decoder) - 1}")
    layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].transpose(0, 1).flatten(1)))
    image = _image()
    with torch.inference_mode():
        for z, y, x in _tiles(tuple(image.shape[2:])):
            found.append(module(image[..., z, y, x]).argmax(1).flatten())
    features, classes = torch.cat(kept, dim=1).clone(), torch.cat(found)
    organs = {name: features[:, classes == value] for value, name in enumerate(BASE.labels, 1)}
    return Sight(features, _spread(features), organs)


def _spread(features: torch.Tensor) -> Spread:
    deviation, mean = torch.std_mean(features, dim=1, correction=0)
    return Spread(mean, deviation + 1e-6)


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """As a sliding window with half a tile's step has them, the rest at the far edges left out."""
    starts = (range(0, n - tile + 1, tile // 2) for n, tile in zip(shape, TILE, strict=True))
    for corner in product(*starts):
        yield tuple(slice(start, start + tile) for start, tile in zip(corner, TILE, strict=True))


def _image() -> torch.Tensor:
    """(1, 1, z, y, x): a phantom on the base network's axes and grid, normalised."""
    drawn = make_phantom("abdomen", SEED, voxel_scale=2.5, contrast="T2")
    turned = reorient(drawn.pixels.astype(np.float32), drawn.affine, BASE_AXES)
    scale = [mm / wanted for mm, wanted in zip(turned.spacing_mm, BASE.spacing_mm, strict=True)]
    shape = [round(n * s) for n, s in zip(turned.array.shape, scale, strict=True)]
    image = torch.nn.functional.interpolate(torch.from_numpy(turned.array)[None, None], shape, mode="trilinear")
    return (image - image.mean()) / image.std()
