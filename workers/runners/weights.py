"""Weights of one fold in; a safetensors file out; and back, bit for bit.

nnU-Net's state dict names every tensor of the encoder three times. Equal tensors are stored once; the other names
are kept beside them and are names of the same memory again when the file is read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save

from dicom_nodes.errors import ModelUnusable
from service.modelstore import check_digest

ALIASES = "aliases"
"""Key of the metadata: a JSON object, other name to the name that it is stored by."""


def write(weights: Mapping[str, torch.Tensor], path: Path) -> int:
    """Write the tensors in their own precision; gives how many numbers they are, each counted once."""
    stored: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in weights.items():
        name_stored = first.setdefault(_identity(tensor), name)
        if name_stored == name:
            stored[name] = tensor.detach().contiguous()
        else:
            aliases[name] = name_stored
    # Tensors that overlap in memory without being equal would be refused: each gets memory of its own.
    plain = {name: tensor.clone() for name, tensor in stored.items()}
    path.write_bytes(save(plain, {ALIASES: json.dumps(aliases)}))
    return sum(tensor.numel() for tensor in stored.values())


def identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same precision, shape and bits."""
    return _identity(one) == _identity(other)


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.dtype, tuple(tensor.shape), hashlib.sha256(content.data).digest()


def read(path: Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of `path`, in the precision they were trained or shipped in.

    What is parsed is what was hashed: the file is read once. Raises ModelUnusable where it is missing, damaged, or
    has not the digest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelUnusable(f"{path}: cannot be read: {error.strerror}") from error
    if sha256 is not None:
        check_digest(path, hashlib.sha256(content).hexdigest(), sha256)
    try:
        tensors: dict[str, torch.Tensor] = parse(content)
        aliases = _aliases(content)
        return tensors | {name: tensors[stored] for name, stored in aliases.items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelUnusable(f"{path}: not readable as safetensors: {error}") from error


def _aliases(content: bytes) -> dict[str, str]:
    """Of the metadata, in the JSON header: eight bytes of its length, then itself."""
    length = int.from_bytes(content[:8], "little")
    found = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][ALIASES])
    return {str(name): str(stored) for name, stored in found.items()}
