"""What the site allows and what the machine has in; how many bytes of weights a worker may hold out."""

import os
from dataclasses import dataclass
from pathlib import Path

HOST_PART = 0.5
"""Of the host's memory, for the weights of all inference processes together; the rest is for volumes and logits."""
GPU_PART = 0.5
"""Of the GPU's memory, likewise."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes of weights one inference process may hold."""

    host_bytes: int
    gpu_bytes: int | None
    """None where no GPU is used."""


def host_share(processes: int) -> int:
    """The part of this host's memory that each of so many inference processes may fill with weights, in bytes."""
    return int(host_memory() * HOST_PART / processes)


def host_memory() -> int:
    """Bytes of memory that this process could have: the machine's, or less where its control group is limited."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def group_limits(membership: Path, mount: Path) -> list[int]:
    """The memory limits of a process's control group and of those around it (cgroup v2), in bytes."""
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    inside = next((line[3:].strip("/") for line in lines if line.startswith("0::")), None)
    if inside is None or ".." in inside:
        return []
    group = mount / inside
    folders = [group, *(parent for parent in group.parents if parent.is_relative_to(mount))]
    return [limit for folder in folders if (limit := _limit(folder / "memory.max")) is not None]


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
