"""nnU-Net's predictor in; what of it decides how much memory a volume takes out."""

from math import prod
from typing import Any

from workers.needs import Footprint
from workers.runners.layers import is_worth, runs_layered


def footprint(predictor: Any) -> Footprint:
    """Of a predictor that is initialised with plans and weights."""
    configuration, plans = predictor.configuration_manager, predictor.plans_manager
    stages = configuration.network_arch_init_kwargs["features_per_stage"]
    features = int(stages if isinstance(stages, int) else stages[0])
    return Footprint(
        classes=predictor.label_manager.num_segmentation_heads,
        patch=tuple(int(n) for n in configuration.patch_size),
        spacing_mm=tuple(float(mm) for mm in configuration.spacing),
        transpose=tuple(int(axis) for axis in plans.transpose_forward),
        features=features,
        weights_bytes=sum(each.numel() * each.element_size() for each in predictor.network.parameters()),
        mirrored=bool(predictor.use_mirroring and predictor.allowed_mirroring_axes),
        layered=runs_layered(predictor.network) and is_worth(prod(configuration.patch_size), features),
    )
