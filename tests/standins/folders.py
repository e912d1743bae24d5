"""A network of a sub-model in; a folder out as its authors' archive holds it, with a stand-in's weights.

Only what a program reads is there: no validation results, no training logs.
"""

import json
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from service.submodel import Network, SubModel
from tests.standins.checkpoint import checkpoint
from tests.standins.labels import relabelled
from tests.standins.network import BASE, TILE, Net, Triple, base
from tests.standins.surgery import finer, shaken, turned
from workers.phantom_models.plans import DESCRIPTION

PUBLISHED = (
    "Dataset001_Abdomen",
    "Dataset002_ShoulderKnee",
    "Dataset003_PelvisProstate",
    "Dataset004_Spine",
    "Dataset219_AMOS2022_postChallenge_task2",
    "Dataset576_mri_liver_segments_120subj",
    "Dataset589_ct_mri_liver_lesions_750subj",
    "Dataset597_mri_body_139subj",
    "Dataset598_mri_body_6mm_139subj",
    "Dataset730_TotalSegmentatorMRI_part1_organs_495subj",
    "Dataset731_TotalSegmentatorMRI_part2_muscles_495subj",
    "Dataset732_TotalSegmentatorMRI_total_3mm_495subj",
    "Dataset733_TotalSegmentatorMRI_total_6mm_495subj",
    "Dataset756_mri_vertebrae_1076subj",
    "Dataset850_TotalSegMRI_part1_organs_1088subj",
    "Dataset851_TotalSegMRI_part2_muscles_1088subj",
    "Dataset852_TotalSegMRI_total_3mm_1088subj",
    "Dataset853_TotalSegMRI_total_6mm_1088subj",
    "Dataset855_TotalSegMRI_appendicular_bones_1088subj",
    "Dataset856_TotalSegMRI_face_1088subj",
    "Dataset857_TotalSegMRI_thigh_shoulder_1088subj",
    "Dataset925_MRI_tissue_subset_903subj",
)
"""Folder names that the authors' programs ask for."""
MIRRORED = (0, 1, 2)


def stand_in(submodel: SubModel, network: Network) -> Net:
    """The base network for one published network: its axes, its voxels, its labels."""
    net = turned(replace(base(), patch=TILE), submodel.orientation)
    block = _block(network)
    if block != (1, 1, 1):
        net = finer(net, block)
    return relabelled(net, network.labels)


def write_dataset(submodel: SubModel, network: Network, folder: Path) -> Path:
    """`DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION` under `folder`: TotalSegmentator and MRAnnotator."""
    name = dataset_name(network)
    trained = folder / name / f"{network.trainers[0]}__{network.plans}__{network.configuration}"
    write_trained(submodel, network, trained)
    return folder / name


def write_bare(submodel: SubModel, network: Network, folder: Path) -> Path:
    """`plans.json`, `fold_0` ... and `version.json` in `folder` itself, as MRSegmentator has it."""
    write_trained(submodel, network, folder)
    version = network.weights_version[0] if network.weights_version else 1.0
    _write(folder / "version.json", {"weights_version": version})
    return folder


def write_trained(submodel: SubModel, network: Network, folder: Path) -> Path:
    """Plans, data set description and every fold's checkpoint into `folder`."""
    net = stand_in(submodel, network)
    plans, dataset = plans_json(net, network), dataset_json(network)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "plans.json", plans)
    _write(folder / "dataset.json", dataset)
    trainer = network.trainers[0]
    for fold in network.folds:
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        saved = checkpoint(
            net if fold == 0 else shaken(net, fold),
            trainer=trainer,
            mirroring_axes=None if "NoMirroring" in trainer else MIRRORED,
            configuration=network.configuration,
            fold=fold,
            plans=plans,
            dataset=dataset,
        )
        torch.save(saved, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def dataset_name(network: Network) -> str:
    """The published folder's name; where none is known, one that says so."""
    if network.dataset == "*":
        return "Dataset999_StandIn"
    known = (name for name in PUBLISHED if fnmatch(name, network.dataset))
    return next(known, network.dataset.replace("*", "StandIn"))


def dataset_json(network: Network) -> dict[str, Any]:
    """The description of the data set, in nnU-Net v2's words."""
    return {
        "name": dataset_name(network),
        "description": DESCRIPTION,
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, **{name: value for value, name in enumerate(network.labels, 1)}},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def plans_json(net: Net, network: Network) -> dict[str, Any]:
    """Plans as nnU-Net's default planner writes them, with its default resampling."""
    spacing = list(spacing_mm(network))
    data = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    labels = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    logits = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    how = {"data": data, "seg": labels, "probabilities": logits}
    return {
        "dataset_name": dataset_name(network),
        "plans_name": network.plans,
        "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": list(net.patch),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            network.configuration: {
                "data_identifier": f"{network.plans}_{network.configuration}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(net.patch),
                "median_image_size_in_voxels": [float(n) for n in net.patch],
                "spacing": spacing,
                "normalization_schemes": ["ZScoreNormalization"],
                "use_mask_for_norm": [False],
                **{f"resampling_fn_{what}": "resample_data_or_seg_to_shape" for what in how},
                **{f"resampling_fn_{what}_kwargs": kwargs for what, kwargs in how.items()},
                "batch_dice": True,
                "architecture": net.architecture(),
            }
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {"mean": 300.0, "std": 200.0, "percentile_00_5": 1.0,
                                                              "percentile_99_5": 999.0}},
    }  # fmt: skip


def spacing_mm(network: Network) -> tuple[float, float, float]:
    """What the authors state, or the base network's own where they state none."""
    return network.spacing_mm or BASE.spacing_mm


def _block(network: Network) -> Triple:
    """How many of a network's voxels, along each axis, are nearly one of the base network's."""
    z, y, x = (max(1, round(mm / own)) for mm, own in zip(BASE.spacing_mm, spacing_mm(network), strict=True))
    return z, y, x


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
