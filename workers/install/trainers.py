"""The name of a trainer in; whether its network is the one that the plans describe, out. No class is looked up.

nnU-Net asks the trainer's class for the network. Where that class does not override `build_network_architecture`,
the network is what the plans say, and the class is not needed. This table holds nnU-Net's own trainers that do not
(of 2.8); those of the published models stand in the tables of the sub-models.
"""

from fnmatch import fnmatchcase

from dicom_nodes.errors import ModelUnusable
from service.submodel import Network

_KINDS = (
    "", "Adam", "Adam1en3", "Adam3en4", "Adan", "Adan1en1", "Adan1en3", "Adan3en4", "AdanCosAnneal",
    "Benchmark_5epochs", "Benchmark_5epochs_noDataLoading", "CELoss", "CELoss_5epochs", "CosAnneal", "DA5",
    "DA5Segord0", "DA5_10epochs", "DA5ord0", "DiceCELoss_noSmooth", "DiceLoss", "DiceTopK10Loss", "NoDA",
    "NoDeepSupervision", "NoMirroring", "Topk10Loss", "Topk10LossLS01", "VanillaAdam", "VanillaAdam1en3",
    "VanillaAdam3en4", "_1epoch", "_5epochs", "_10epochs", "_20epochs", "_50epochs", "_100epochs", "_250epochs",
    "_500epochs", "_750epochs", "_2000epochs", "_4000epochs", "_8000epochs", "_250epochs_NoMirroring",
    "_2000epochs_NoMirroring", "_4000epochs_NoMirroring", "_8000epochs_NoMirroring", "_DASegOrd0",
    "_DASegOrd0_NoMirroring", "_noDummy2DDA", "_onlyMirror01", "_onlyMirror01_1500ep", "_onlyMirror01_DA5",
    "_onlyMirror01_DASegOrd0", "_probabilisticOversampling", "_probabilisticOversampling_010",
    "_probabilisticOversampling_033", "_warmup",
)  # fmt: skip
PLAIN = frozenset(f"nnUNetTrainer{kind}" for kind in _KINDS)


def check(trainer: str, network: Network) -> None:
    """Raise ModelUnusable where nothing says that a trainer builds the network of the plans."""
    if trainer in PLAIN or any(fnmatchcase(trainer, known) for known in network.trainers if known != "*"):
        return
    raise ModelUnusable(
        f"it was trained by {trainer}, and nothing says that this trainer builds the network of plans.json; if its "
        f"class does not override build_network_architecture, copy the sub-model's TOML into your own folder of "
        f"sub-models and add {trainer} to the trainers of {network.name}"
    )
