"""A checkpoint file of nnU-Net in; what its trainer saved that we need, out; read so that nothing in it can run.

A checkpoint is a pickle, and a pickle can call whatever it names. torch's reader for plain data calls nothing but
what stands in a list; to that list we add names of numpy that training logs need, and for these it is given
stand-ins that build nothing: not even numpy is called.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dicom_nodes.errors import ModelUnusable


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What nnU-Net's trainer saved of one fold."""

    weights: Mapping[str, torch.Tensor]
    trainer: str
    """Name of the class that trained it; never looked up."""
    configuration: str
    """As 3d_fullres."""
    mirroring_axes: tuple[int, ...] | None
    """Spatial axes along which mirrored copies may be averaged; None: along none."""
    phantom: bool
    """True where our recipe for the phantom models wrote it so."""

    @property
    def heads(self) -> int | None:
        """Output channels of the last layers, by the shape of their weights; None where there is no such layer."""
        found = {int(v.shape[0]) for k, v in self.weights.items() if ".seg_layers." in k and k.endswith(".weight")}
        return found.pop() if len(found) == 1 else None

    @property
    def channels(self) -> int | None:
        """Input channels of the first convolution, by its weights; None where there is no such layer."""
        first = (v for k, v in self.weights.items() if k.startswith("encoder.") and k.endswith("conv.weight"))
        shape = next((tuple(v.shape) for v in first), ())
        return int(shape[1]) if len(shape) > 1 else None


def read(path: Path) -> Checkpoint:
    """The checkpoint in `path`, its weights all finite; raises ModelUnusable for all but plain data and tensors."""
    _check_size(path)
    content = _load(path)
    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights or not all(map(_is_weight, weights.items())):
        raise ModelUnusable(f"{path}: is no nnU-Net v2 checkpoint, it has no network_weights")
    for name, tensor in weights.items():
        if fault := _fault(tensor):
            raise ModelUnusable(f"{path}: {name} {fault}")
    return Checkpoint(
        weights=weights,
        trainer=_text(path, content, "trainer_name"),
        configuration=_text(path, content.get("init_args"), "configuration"),
        mirroring_axes=_axes(path, content.get("inference_allowed_mirroring_axes")),
        phantom=content.get("sagittal_phantom") is True,
    )


def _is_weight(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


_PLAIN = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32)


def _fault(tensor: torch.Tensor) -> str | None:
    """What is wrong with one tensor of the weights."""
    if tensor.layout is not torch.strided or tensor.dtype not in _PLAIN or tensor.device.type != "cpu":
        return "is no plain array of numbers"
    if tensor.is_nested or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "claims more numbers than the file holds"
    if not bool(torch.isfinite(tensor).all()):
        return "holds values that are not finite; the file is damaged"
    return None


def _text(path: Path, table: object, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    if not isinstance(value, str) or not value:
        raise ModelUnusable(f"{path}: is no nnU-Net v2 checkpoint, it does not say its {key.replace('_', ' ')}")
    return value


def _axes(path: Path, value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list) or not all(type(axis) is int and 0 <= axis <= 2 for axis in value):
        raise ModelUnusable(f"{path}: inference_allowed_mirroring_axes is {value!r}, and should be axes 0 to 2")
    return tuple(value) or None


def _check_size(path: Path) -> None:
    """torch stores tensors as they are: a checkpoint that unpacks to much more than itself is no checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > 2 * path.stat().st_size + 1_000_000:
            raise ModelUnusable(f"{path}: would unpack to {unpacked:,} bytes; torch writes no such file")
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return  # an old checkpoint, or no checkpoint: the reader will say


def _load(path: Path) -> Any:
    try:
        with _training_logs():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUnusable(f"{path}: refused, {_wanted(path, str(error))}") from error
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        # A damaged archive fails in torch's reader at any of these.
        raise ModelUnusable(f"{path}: not readable as a checkpoint: {str(error).splitlines()[0]}") from error


class _Ignored:
    """Stands where a pickle asks for a number or an array of numpy; keeps nothing of what it is given."""

    def __init__(self, *_: object) -> None:
        """Take any arguments."""

    def __setstate__(self, _state: object) -> None:
        """Take any state."""


_NAMES = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
"""`core` before numpy 2."""
_DTYPES = ("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32",
           "Float64", "LongDouble")  # fmt: skip


def _training_logs() -> AbstractContextManager[None]:
    """What unstripped checkpoints hold beside tensors: numbers of numpy, in their training log."""
    names = (*_NAMES, *(f"numpy.dtypes.{name}DType" for name in _DTYPES))
    context: AbstractContextManager[None] = torch.serialization.safe_globals([(_Ignored, name) for name in names])
    return context


def _wanted(path: Path, says: str) -> str:
    """Which names a refused pickle asked for."""
    try:
        with _training_logs():
            names = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, OSError, LookupError, AttributeError, TypeError, pickle.UnpicklingError):
        names = set(re.findall(r"GLOBAL ([\w.]+)", says))  # it reads zips only, and only sound ones
    if not names:
        return "it is not a plain file of tensors"
    return f"it asks to run {', '.join(sorted(names))}: a checkpoint must be data only"
