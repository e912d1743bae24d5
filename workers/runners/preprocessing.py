"""An array in; what nnU-Net's `DefaultPreprocessor` makes of it, and what the way back needs, out.

The same steps in the same order: transpose, crop to what is not zero, normalise, resample. What nnU-Net does beside
them for training, a mask that is filled and resampled, is left out where the normalisation does not use it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, get_bbox_from_mask
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from workers.runners.resampling import grids, image_resampled

Image = npt.NDArray[np.float32]


def preprocessed(
    predictor: Any, array: Image, spacing_mm: tuple[float, float, float]
) -> tuple[torch.Tensor, dict[str, Any]]:
    """(channel, ...) of an array (z, y, x), in the order and spacing of the plans; and nnU-Net's `properties`."""
    configuration = predictor.configuration_manager
    properties: dict[str, Any] = {"spacing": [float(mm) for mm in spacing_mm]}
    if any(configuration.use_mask_for_norm):
        return _by_nnunet(predictor, array, properties)
    data = array.astype(np.float32).transpose(predictor.plans_manager.transpose_forward)
    properties["shape_before_cropping"] = data.shape
    # The box around a mask is the same whether its holes are filled or not.
    box = get_bbox_from_mask(data != 0)
    data = data[bounding_box_to_slice(box)]
    properties["bbox_used_for_cropping"] = box
    properties["shape_after_cropping_and_before_resampling"] = data.shape
    preprocessor = configuration.preprocessor_class(verbose=False)
    intensities = predictor.plans_manager.foreground_intensity_properties_per_channel
    normalised = preprocessor._normalize(data[None], [None], configuration, intensities)
    return torch.from_numpy(np.ascontiguousarray(_resampled(predictor, normalised, properties))), properties


def _resampled(predictor: Any, data: Image, properties: dict[str, Any]) -> Image:
    """On the grid of the plans; a 2-D network keeps the distance of slices."""
    configuration = predictor.configuration_manager
    have = [properties["spacing"][axis] for axis in predictor.plans_manager.transpose_forward]
    want = list(configuration.spacing)
    want = want if len(want) == len(have) else [have[0], *want]
    shape = compute_new_shape(data.shape[1:], have, want)
    to = grids(configuration.resampling_fn_data, data.shape[1:], shape, have, want)
    if to is not None:
        return np.stack([image_resampled(each, to) for each in data])
    found: Image = np.asarray(configuration.resampling_fn_data(data, shape, have, want))
    return found


def _by_nnunet(predictor: Any, array: Image, properties: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        array[None], None, properties, predictor.plans_manager, predictor.configuration_manager,
        predictor.dataset_json,
    )  # fmt: skip
    return torch.from_numpy(np.ascontiguousarray(data)), properties
