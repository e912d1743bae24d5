"""The sub-models that a site runs in; out: whether each is installed whole, licensed, and fits the machine."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dicom_nodes.errors import ModelUnusable
from service.doctor.seen import Ground, Seen, bad, count, listed, ok, warning
from service.modelstore import PHANTOM_LOCK, RECORD, Installed, ModelStore, check_digest, sha256, site_store
from service.running import submodels_to_run
from service.submodel import SubModel, site_submodels, with_rough

DIGESTED_BYTES = 64 << 20
"""A greater file is only looked at for its length."""
CAPACITY_SECONDS = 18.0
"""For a process that loads torch and looks at the machine."""
FULL_SIZE_BYTES = 4 << 30
"""What nnU-Net's default network took at its peak for 80 × 320 × 320 voxels and 45 classes on a CPU."""
_MIB = 2**20


def models(ground: Ground) -> Iterator[Seen]:
    """Whether every network of every running sub-model is installed, whole, and may be used."""
    site, store = ground.site, site_store(ground.site)
    phantom = site.models.weights == "phantom"
    if phantom:
        advice = "Install published weights, and name their folder in [models] weights: docs/models.md tells how."
        yield warning("phantom weights, trained on synthetic images: NOT for clinical use", advice)
    known = site_submodels(site.models.submodels, site.home)
    running = submodels_to_run(known, site.models.run)
    if phantom and (_installing(store.folder) or not store.installed()):
        yield ok(f"{count(len(running), 'sub-model')}, installed when the first worker starts")
        return
    needed = list({each.name: each for one in running for each in with_rough(one, known)}.values())
    absent = [n.name for each in needed for n in each.network if not (store.path(n.name) / RECORD).is_file()]
    faults = [fault for each in needed for fault in _faults(store, each, absent)]
    if absent:
        advice = f"Install what is published of them into {store.folder}: `sagittal models install ZIP_OR_FOLDER`."
        yield bad(f"not installed: {listed(dict.fromkeys(absent), 8)}", advice)
    elif not faults:
        yield ok(f"{count(len(running), 'sub-model')} installed: {listed((each.name for each in running), 6)}")
    yield from dict.fromkeys(faults)


def _installing(folder: Path) -> bool:
    """Whether a worker installs the phantom models at this moment."""
    try:
        with (folder / PHANTOM_LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _faults(store: ModelStore, submodel: SubModel, absent: Collection[str]) -> Iterator[Seen]:
    """What is wrong with those networks of a sub-model that are there."""
    for network in submodel.network:
        if network.name in absent:
            continue
        try:
            installed = store.get(network.name)
            check_quickly(store, installed)
        except ModelUnusable as error:
            yield bad(str(error), f"Install {network.name} again: `sagittal models install ZIP_OR_FOLDER`.")
            continue
        if missing := sorted(set(network.folds) - set(installed.folds)):
            advice = "Install the whole published archive, or run a variant that needs fewer folds."
            folds = ", ".join(map(str, missing))
            yield bad(f"{submodel.name} wants fold {folds} of {network.name}, which is not installed", advice)
        if submodel.accept_licence and not (installed.licence_accepted or installed.phantom):
            advice = "Read it, and install again with --accept-licence if you may use it so."
            yield bad(f"the licence of {network.name} ({installed.licence}) was not accepted", advice)


def check_quickly(store: ModelStore, installed: Installed) -> None:
    """That every file is there: digests of the small ones, the length of the great; raises ModelUnusable."""
    folder = store.path(installed.network)
    for name, wanted in installed.files.items():
        file = folder / name
        try:
            size = file.stat().st_size
        except OSError as error:
            raise ModelUnusable(f"{file}: cannot be read: {error.strerror}") from error
        if size <= DIGESTED_BYTES:
            check_digest(file, sha256(file), wanted)
        elif file.suffix == ".safetensors" and size != length_of(file):
            raise ModelUnusable(f"{file}: is not as long as it says; install the model again")


def length_of(file: Path) -> int:
    """Bytes that a safetensors file should have by its own header: its length, a JSON of offsets, the tensors."""
    try:
        with file.open("rb") as stream:
            head = int.from_bytes(stream.read(8), "little")
            offsets = json.loads(stream.read(min(head, DIGESTED_BYTES)))
            ends = [int(each["data_offsets"][1]) for name, each in offsets.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnusable(f"{file}: its header cannot be read; install the model again") from error
    return 8 + head + max(ends, default=0)


# ── the machine, as a worker sees it ────────────────────────────────────────────────────────────────────────


def capacity(ground: Ground) -> Iterator[Seen]:
    """What device a worker would run on, and whether the weights fit; asked of a process, for torch is theirs."""
    command = [sys.executable, "-m", "workers.capacity", str(ground.site_file)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CAPACITY_SECONDS, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        advice = "Try again when the machine is idle: workers take as long to start."
        yield warning(f"torch did not load in {CAPACITY_SECONDS:g} s", advice)
        return
    try:
        told = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        yield bad(f"a worker cannot start here: {last}", "Install Sagittal again: `pip install sagittal`.")
        return
    yield from told_of(ground.site.workers.device, told)
    if ground.site.models.weights != "phantom":
        yield from room_for_volumes(told["room_bytes"])


def told_of(wanted: str, told: dict[str, Any]) -> Iterator[Seen]:
    """What `workers.capacity` told, against the device that the site wants."""
    yield from _device(wanted, told)
    yield from _fit(told)


def room_for_volumes(room_bytes: int | None) -> Iterator[Seen]:
    """Whether the memory that is free now is what a network of full size works with."""
    if room_bytes is None:
        return
    said = f"{max(0, room_bytes) / 2**30:.1f} GiB of memory free for a worker"
    if room_bytes < FULL_SIZE_BYTES:
        advice = (
            "Free memory, or run fewer inference processes: volumes that do not fit are refused or take longer."
        )
        yield warning(f"{said}, and a network of full size wants about {FULL_SIZE_BYTES >> 30}", advice)
    else:
        yield ok(said)


def _device(wanted: str, told: dict[str, Any]) -> Iterator[Seen]:
    gpus = [f"{each['name']}, {each['memory_bytes'] / 2**30:.0f} GiB" for each in told["gpus"]]
    driver = f"driver {told['driver']}" if told["driver"] else "no driver of NVIDIA"
    if gpus:
        yield ok(f"GPU: {listed(gpus)}, {driver}, CUDA {told['cuda']}")
    elif wanted == "cuda":
        advice = (
            f"See that `nvidia-smi` shows it and that torch is a CUDA build (it is for {told['cuda'] or 'CPU'})."
        )
        yield bad(f"[workers] device is cuda, and torch sees no GPU ({driver})", advice)
    elif told["driver"]:
        advice = (
            f'Install a torch for this driver, or set device = "cpu" (torch is for CUDA {told["cuda"] or "-"}).'
        )
        yield warning(f"there is a GPU ({driver}), and torch does not see it: workers use the CPU", advice)
    else:
        yield ok("CPU" if wanted == "cpu" else "no GPU: workers use the CPU")


def _fit(told: dict[str, Any]) -> Iterator[Seen]:
    most, needs = told["host_bytes"] // _MIB, [-(-each // _MIB) for each in told["needs"].values()]
    if needs:
        yield ok(f"weights of up to {max(needs)} MiB, of {most} that a worker may hold")
    for name, why in told["unable"].items():
        yield bad(f"{name} cannot run: {why}", "Do what its message says; its jobs fail until then.")
