"""A volume and a network in; how much memory a run takes, and which ways of running it fit, out; pure.

The numbers of bytes per voxel were measured on nnU-Net 2.6 (tests/workers/test_needs.py holds them against real
runs): they are upper bounds for its default resampling, and more than that for resampling by torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from dicom_nodes.errors import SagittalError

MIB = 2**20
Shape = tuple[int, int, int]
Millimetres = tuple[float, float, float]

_ANISOTROPIC = 3.0
"""nnU-Net resamples slices and planes apart where the largest spacing is more than so many times the smallest."""
_PREPARE = (37, 18)
"""Bytes for each voxel of the volume and of the network's grid, while the volume is normalised and resampled."""
_PREPARE_APART = (20, 60)
"""The same where slices are resampled apart: coordinates of every voxel, in double precision."""
_LABEL = (12, 10)
"""Bytes for each voxel of the volume and of the network's grid, while a class is brought back."""
_LABEL_APART = (60, 12)
_HELD = (6, 5)
"""Bytes for each of them that stay all the time: voxels, label maps, what was prepared."""
_LOGIT = 2
_FLOAT = 4
_ACTIVATIONS = 8
"""Arrays as large as the finest features of a patch that a U-Net holds at a time."""
_LAYERED = 2
"""The same where it runs layer by layer, all stages together."""
_IN_WORK = 256 * MIB
PART_BYTES, FEWEST_PLANES = 40 * MIB, 4
"""Of what goes into a large layer and comes out of it, at a time, and how many planes at least."""
_OF_PARTS = 4
_MIRRORED = 3
"""Arrays of all that a tile puts out: their sum, the next and its mirror image."""
_HOLES = 1.5
"""How much more a process takes for a tile where it keeps what is freed."""
_FIRST_RUN = 160 * MIB
"""What torch, its compiler of kernels and nnU-Net's imports take once, with the first series."""
_GPU_FIRST_RUN = 768 * MIB
"""Context, libraries and workspaces of CUDA: not measured."""


class TooLittleMemory(SagittalError, MemoryError):
    """A volume does not fit into the memory of this machine; the message has the numbers and the key to change."""


class NeverFits(TooLittleMemory):
    """It would not fit if all of the machine that this worker may use were free: to try again is of no use."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What of a network decides how much memory it takes."""

    classes: int
    """Told apart, the background with them."""
    patch: tuple[int, ...]
    """Voxels of a tile, in the plans' order of axes; two of them for a network that goes slice by slice."""
    spacing_mm: tuple[float, ...]
    """As `patch`."""
    transpose: tuple[int, ...]
    """From (z, y, x) to the plans' order."""
    features: int
    """Of the finest stage."""
    weights_bytes: int
    """Of the network that runs, one fold."""
    layered: bool = False
    """Run layer by layer on a CPU (`workers.runners.layers`)."""
    mirrored: bool = False
    """Averaged over mirrored tiles."""


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """How a network is run; the result is the same."""

    on_cpu: bool
    """And not on the GPU."""
    on_disk: bool
    """Its logits wait in a file, and not in memory."""
    keeps_pages: bool = False
    """Memory that one layer frees is kept for the next: faster on a CPU, and takes more."""

    def __str__(self) -> str:
        where = "on the CPU" if self.on_cpu else "on the GPU"
        kept = ", keeping what it frees" if self.keeps_pages else ""
        return f"{where}, logits on disk" if self.on_disk else f"{where}{kept}"


@dataclass(frozen=True, slots=True)
class Needs:
    """What one run takes at its worst moment, over what is in use before it."""

    host_bytes: int
    gpu_bytes: int = 0
    disk_bytes: int = 0

    def __str__(self) -> str:
        parts = [f"{_mib(self.host_bytes)} MiB of memory"]
        parts += [f"{_mib(self.gpu_bytes)} MiB of the GPU's"] if self.gpu_bytes else []
        parts += [f"{_mib(self.disk_bytes)} MiB of disk"] if self.disk_bytes else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Room:
    """What there is for one run, now."""

    host_bytes: int
    gpu_bytes: int | None
    """None where no GPU is used."""
    disk_bytes: int

    def holds(self, needs: Needs) -> bool:
        """Whether there is enough of everything."""
        enough = needs.host_bytes <= self.host_bytes and needs.disk_bytes <= self.disk_bytes
        return enough and needs.gpu_bytes <= (self.gpu_bytes or 0)

    def __str__(self) -> str:
        return str(Needs(max(0, self.host_bytes), max(0, self.gpu_bytes or 0), max(0, self.disk_bytes)))


def estimate(shape: Shape, spacing_mm: Millimetres, network: Footprint, way: Way) -> Needs:
    """What a network takes for an array (z, y, x) with its spacing, run in this way; never less than it will."""
    grid = network_grid(shape, spacing_mm, network)
    padded = _padded(grid, network.patch)
    logits = network.classes * prod(grid) * _LOGIT
    window = network.classes * prod(_window(padded, network.patch)) * _LOGIT
    running = window + _tile(network, way)
    on_host = running if way.on_cpu else window // network.classes
    lying = logits if not way.on_disk else 0
    apart = _apart(shape, spacing_mm, network, grid)
    stages = (
        _bytes(_PREPARE_APART if apart else _PREPARE, shape, grid),
        on_host + lying + _FLOAT * prod(padded),
        lying + _bytes(_LABEL_APART if apart else _LABEL, shape, grid),
    )
    host = _FIRST_RUN + _bytes(_HELD, shape, grid) + max(stages)
    gpu = 0 if way.on_cpu else _GPU_FIRST_RUN + network.weights_bytes + running
    return Needs(host, gpu, logits if way.on_disk else 0)


def network_grid(shape: Shape, spacing_mm: Millimetres, network: Footprint) -> tuple[int, ...]:
    """Voxels of the whole array at the network's spacing, in the plans' order of axes (nnU-Net crops air first)."""
    old, mm = _turned(shape, spacing_mm, network)
    return tuple(
        max(1, round(n * have / want)) for n, have, want in zip(old, mm, _target(mm, network), strict=True)
    )


def ways_that_fit(
    shape: Shape, spacing_mm: Millimetres, network: Footprint, room: Room, most: Room, frugal: bool = False
) -> tuple[Way, ...]:
    """Those ways of running that fit, the best first: on the GPU before the CPU, in memory before on disk, and on a
    CPU with pages that are kept before all others.

    `frugal` leaves those out that keep logits in memory. Raises, with the numbers of the way that takes least,
    TooLittleMemory where none fits into the `room` there is now, and NeverFits where none fits into the `most` that
    there could be.
    """
    devices = (True,) if room.gpu_bytes is None else (False, True)
    ways = [Way(on_cpu, on_disk) for on_cpu in devices for on_disk in (False, True)]
    ways.insert(ways.index(Way(on_cpu=True, on_disk=False)), Way(on_cpu=True, on_disk=False, keeps_pages=True))
    needed = {way: estimate(shape, spacing_mm, network, way) for way in ways}
    fitting = tuple(way for way, needs in needed.items() if room.holds(needs) and (way.on_disk or not frugal))
    if fitting:
        return fitting
    least = needed[Way(on_cpu=True, on_disk=True)]
    if any(most.holds(needs) for needs in needed.values()):
        raise TooLittleMemory(refusal(shape, least, room))
    raise NeverFits(refusal(shape, least, most))


def refusal(shape: Sequence[int], needs: Needs, room: Room) -> str:
    """Why a volume is not run on this machine, with the numbers and what to do."""
    z, y, x = shape
    return (
        f"a volume of {x} x {y} x {z} voxels needs {needs} for this sub-model at least, and there are {room}: give "
        "this worker more ([workers] memory_mb, fewer inference_processes), or run a smaller variant of it"
    )


def _turned(shape: Shape, spacing_mm: Millimetres, network: Footprint) -> tuple[list[int], list[float]]:
    return [shape[axis] for axis in network.transpose], [spacing_mm[axis] for axis in network.transpose]


def _target(mm: Sequence[float], network: Footprint) -> tuple[float, ...]:
    """A network that goes slice by slice keeps the distance of slices."""
    return network.spacing_mm if len(network.spacing_mm) == 3 else (mm[0], *network.spacing_mm)


def _apart(shape: Shape, spacing_mm: Millimetres, network: Footprint, grid: Sequence[int]) -> bool:
    """Whether planes and slices are resampled apart, and to another number of slices: by coordinates of voxels."""
    old, mm = _turned(shape, spacing_mm, network)
    for each in (mm, _target(mm, network)):
        coarsest = max(range(3), key=lambda axis, each=each: each[axis])  # type: ignore[misc]
        if each[coarsest] / min(each) > _ANISOTROPIC and old[coarsest] != grid[coarsest]:
            return True
    return False


def _padded(grid: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    flat = len(grid) - len(patch)
    return (*grid[:flat], *(max(n, p) for n, p in zip(grid[flat:], patch, strict=True)))


def _window(padded: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Logits that wait for later tiles: as deep as a patch along the first axis with several places."""
    deep = (1,) * (len(padded) - len(patch)) + tuple(patch)
    first = next((axis for axis in range(len(padded)) if padded[axis] > deep[axis]), 0)
    return tuple(deep[axis] if axis == first else n for axis, n in enumerate(padded))


def _tile(network: Footprint, way: Way) -> int:
    """While the network runs on one patch: the features of its finest stage, or what it puts out."""
    voxels, features, out = prod(network.patch) * _FLOAT, network.features, network.classes
    most = 2 * voxels + voxels * max(_ACTIVATIONS * features, 4 * features + out, _MIRRORED * out)
    if way.keeps_pages:
        most = int(most * _HOLES)
    if network.layered and way.on_cpu:
        whole = _MIRRORED * out if network.mirrored else 0
        parts = _IN_WORK + _OF_PARTS * max(PART_BYTES, 3 * FEWEST_PLANES * voxels * features // network.patch[0])
        most = min(most, voxels * (2 + _LAYERED * features + whole) + parts)
    return most


def _bytes(each: tuple[int, int], shape: Sequence[int], grid: Sequence[int]) -> int:
    return each[0] * prod(shape) + each[1] * prod(grid)


def _mib(count: int) -> int:
    return -(-count // MIB)
