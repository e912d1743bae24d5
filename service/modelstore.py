"""The folder of installed models in; what is installed in it, checked file by file, out. Needs no torch.

`<network>/{model.json, plans.json, dataset.json, fold_0.safetensors, ...}`: what `sagittal models install` makes of
a published model. A name that begins with a dot is an install that is under way or was cut off, and is no model.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dicom_nodes.errors import ConfigurationError, ModelUnusable
from service.config import Site, read_site

STAGING = ".staging-"
"""How the names of folders begin that an install works in."""

RECORD = "model.json"
PHANTOM_FOLDER = "phantom-models"
"""Under the site's data: where the shipped phantom models are installed."""
PHANTOM_LOCK = ".phantoms.lock"
"""In that folder: held by the worker that installs them."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Installed(BaseModel):
    """`model.json`: one installed network, where it came from and what its files must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    network: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    submodel: str
    """The sub-model in whose table the network stands."""
    system: str
    why: tuple[str, ...]
    """How it was recognised."""
    remarks: tuple[str, ...] = ()
    """What is out of the ordinary, as an archive that is not the published one."""
    origin: str
    """Name of the file or folder that it was installed from."""
    installed_at: datetime
    software: str
    """Version of Sagittal that installed it."""
    licence: str
    licence_accepted: bool
    """Whether it was accepted at install by --accept-licence."""
    configuration: str
    trainer: str
    mirroring_axes: tuple[int, ...] | None
    """Spatial axes along which the checkpoint allows mirrored copies to be averaged; None: along none."""
    phantom: bool
    """Trained on synthetic phantoms, by the word of its checkpoints."""
    folds: Annotated[tuple[int, ...], Field(min_length=1)]
    originals: Mapping[str, Digest]
    """SHA-256 of the published files, by their path in the model's folder."""
    files: Mapping[FileName, Digest]
    """SHA-256 of the installed files."""
    version: Digest
    """SHA-256 over the originals."""
    parameters: int
    """Weights of one fold."""
    bytes: int
    """Memory that the weights of all folds take, as float32."""

    def fold_file(self, fold: int) -> str:
        """Name of the file with the weights of a fold."""
        return f"fold_{fold}.safetensors"


class ModelStore:
    """The installed models of one folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def installed(self) -> tuple[Installed, ...]:
        """Every model whose record can be read, in order of name; see `broken` for the others."""
        return tuple(model for name in self._names() if isinstance(model := self._try(name), Installed))

    def broken(self) -> Mapping[str, str]:
        """Why, by folder name, for every folder that looks like a model and cannot be one."""
        return {name: fault for name in self._names() if isinstance(fault := self._try(name), str)}

    def get(self, network: str) -> Installed:
        """The record of one network; raises ModelUnusable where it is absent or cannot be read."""
        path = self.path(network)
        if not (path / RECORD).is_file():
            there = ", ".join(self._names()) or "none"
            raise ModelUnusable(
                f"{network} is not installed in {self.folder} (there: {there}); "
                f"install it with:  sagittal models install ZIP_OR_FOLDER"
            )
        return read_record(path)

    def path(self, network: str) -> Path:
        """The folder of one network, whether or not it is there; raises ModelUnusable for what is no name."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", network):
            raise ModelUnusable(f"{network!r} is no name of a network")
        return self.folder / network

    def verify(self, network: str) -> None:
        """Compute the SHA-256 of every file again; raises ModelUnusable, naming one that is not as installed."""
        model, path = self.get(network), self.path(network)
        for name, wanted in model.files.items():
            check_digest(path / name, sha256(path / name), wanted)
        if extra := sorted({file.name for file in path.iterdir()} - {*model.files, RECORD}):
            raise ModelUnusable(f"{path}: {', '.join(extra)} was not there when {network} was installed")

    def remove(self, network: str) -> None:
        """Take a model away, whole and at once; a worker that has it loaded keeps it for the job in work."""
        path = self.path(network)
        if not path.is_dir():
            self.get(network)
        aside = Path(tempfile.mkdtemp(prefix=STAGING, dir=self.folder))
        path.rename(aside / network)
        shutil.rmtree(aside)

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(record.parent.name for record in self.folder.glob(f"[!.]*/{RECORD}"))

    def _try(self, name: str) -> Installed | str:
        try:
            return read_record(self.folder / name)
        except ModelUnusable as error:
            return str(error)


def read_record(folder: Path) -> Installed:
    """The `model.json` of one installed network; raises ModelUnusable where it is missing or wrong."""
    file = folder / RECORD
    try:
        model = Installed.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ModelUnusable(f"{file}: cannot be read: {error.strerror}; is it an installed model?") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelUnusable(f"{file}: {'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}") from error
    if model.network != folder.name:
        raise ModelUnusable(f"{file}: speaks of {model.network}, but stands in {folder.name}")
    if model.version != version_of(model.originals):
        raise ModelUnusable(f"{file}: the version is not that of the original files; the record was changed")
    return model


def record_text(model: Installed) -> str:
    """The content of `model.json`."""
    return json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def version_of(originals: Mapping[str, str]) -> str:
    """SHA-256 over the paths and digests of the original files, in their order."""
    whole = hashlib.sha256()
    for path, digest in originals.items():
        whole.update(f"{path}\0{digest}\n".encode())
    return whole.hexdigest()


def sha256(file: Path) -> str:
    """Of a file, read in pieces; raises ModelUnusable where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnusable(f"{file}: cannot be read: {error.strerror}") from error


def check_digest(file: Path, found: str, wanted: str) -> None:
    """Raise ModelUnusable where a file is not what was installed."""
    if found != wanted:
        raise ModelUnusable(f"{file}: was changed after it was installed; install the model again")


def site_store(site: Site) -> ModelStore:
    """The installed models that a site runs."""
    if site.models.weights == "phantom":
        return ModelStore(site.folder / PHANTOM_FOLDER)
    return ModelStore(site.home / site.models.weights)


def chosen_store(site_file: Path, folder: Path | None) -> ModelStore:
    """The models in `folder`, or where that is None those of the site; raises ConfigurationError."""
    return ModelStore(folder) if folder is not None else site_store(read_site(site_file))


def store_to_fill(site_file: Path, folder: Path | None) -> ModelStore:
    """The same, to install into: not the phantom models' folder, which fills itself."""
    if folder is None and read_site(site_file).models.weights == "phantom":
        raise ConfigurationError(
            f'{site_file}: [models] weights is "phantom": this site runs the shipped phantom models. '
            f'Name a folder there first, as weights = "models", or install with --folder MODELS'
        )
    return chosen_store(site_file, folder)
