"""A checkpoint file in, its weights out; read as data, so that nothing in the file can be executed."""

import pickle
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dicom_nodes.errors import ModelUnusable


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What nnU-Net's trainer saved of one fold."""

    weights: Mapping[str, torch.Tensor]
    trainer_name: str
    phantom: bool
    """True where our recipe for the phantom models wrote it so."""


def read(path: Path) -> Checkpoint:
    """The weights in `path`, all of them finite; raises ModelUnusable for anything but plain data and tensors."""
    content = _load(path)
    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()):
        raise ModelUnusable(f"{path}: is no nnU-Net v2 checkpoint, it has no network_weights")
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelUnusable(f"{path}: {name} holds values that are not finite; the file is damaged")
    return Checkpoint(
        weights=weights,
        trainer_name=str(content.get("trainer_name", "")),
        phantom=content.get("sagittal_phantom") is True,
    )


def _load(path: Path) -> Any:
    try:
        with _numbers_of_training_logs():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUnusable(f"{path}: refused, {_wanted(path)}") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        # A damaged archive fails in torch's reader at any of these.
        raise ModelUnusable(f"{path}: not readable as a checkpoint: {error}") from error


def _numbers_of_training_logs() -> AbstractContextManager[None]:
    """What unstripped nnU-Net checkpoints hold beside tensors: numpy scalars in their training log."""
    numbers = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
    dtypes: list[Any] = [type(np.dtype(number)) for number in numbers]
    scalar = np.float64(0).__reduce__()[0]
    old_name = (scalar, "numpy.core.multiarray.scalar")  # as numpy before 2 called it
    allowed: list[Any] = [scalar, old_name, np.dtype, *numbers, *dtypes]
    context: AbstractContextManager[None] = torch.serialization.safe_globals(allowed)
    return context


def _wanted(path: Path) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError, pickle.UnpicklingError):
        names = []
    if not names:
        return "it is not a plain file of tensors"
    return f"it asks to run {', '.join(sorted(names))}: a checkpoint must be data only"
