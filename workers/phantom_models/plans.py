"""A recipe in; the `plans.json` and `dataset.json` out that nnU-Net would have to be given for it.

nnU-Net's planner sizes networks for a GPU. These are sized for two CPU cores: coarse spacings, so that one patch
holds nearly the whole image, few features, and resampling by torch, which is several times faster than the default.
"""

from typing import Any

from workers.phantom_models.datasets import Recipe

TRAINER = "nnUNetTrainerNoMirroring"
PLANS = "nnUNetPlans"
CONFIGURATION = "3d_fullres"
DESCRIPTION = (
    "PHANTOM MODEL, NOT FOR CLINICAL USE: trained only on synthetic phantoms drawn by Sagittal; "
    "it knows nothing of patients."
)


def dataset_json(recipe: Recipe, cases: int) -> dict[str, Any]:
    """The description of the data set, in nnU-Net v2's words."""
    return {
        "name": recipe.dataset,
        "description": DESCRIPTION,
        "licence": "Apache-2.0",
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, **{name: value for value, name in enumerate(recipe.labels, 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }


def plans_json(recipe: Recipe) -> dict[str, Any]:
    """Plans with the one configuration `3d_fullres`."""
    backward = [recipe.transpose.index(axis) for axis in range(3)]
    return {
        "dataset_name": recipe.dataset,
        "plans_name": PLANS,
        "original_median_spacing_after_transp": list(recipe.spacing_mm),
        "original_median_shape_after_transp": list(recipe.patch),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(recipe.transpose),
        "transpose_backward": backward,
        "configurations": {CONFIGURATION: _configuration(recipe)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},  # for CT only; MR is normalised by itself
    }


def _configuration(recipe: Recipe) -> dict[str, Any]:
    resampling = {"force_separate_z": False, "memefficient_seg_resampling": False}
    return {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(recipe.patch),
        "median_image_size_in_voxels": list(recipe.patch),
        "spacing": list(recipe.spacing_mm),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_torch_fornnunet",
        "resampling_fn_seg": "resample_torch_fornnunet",
        "resampling_fn_probabilities": "resample_torch_fornnunet",
        "resampling_fn_data_kwargs": {"is_seg": False, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, **resampling},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, **resampling},
        "batch_dice": True,
        "architecture": _architecture(recipe),
    }


def _architecture(recipe: Recipe) -> dict[str, Any]:
    stages = len(recipe.features)
    kernels = [[1, 3, 3] if stage < recipe.flat_stages else [3, 3, 3] for stage in range(stages)]
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(recipe.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": kernels,
            "strides": [list(stride) for stride in recipe.strides],
            # One convolution instead of two where the image is finest: half the time, hardly a loss.
            "n_conv_per_stage": [1] + [2] * (stages - 1),
            "n_conv_per_stage_decoder": [2] * (stages - 2) + [1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
