"""What the site allows and what the machine has in; how many bytes a worker may have for weights and volumes."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

HOST_PART = 0.5
"""Of the host's memory, for the weights of all inference processes together; the rest is for volumes and logits."""
GPU_PART = 0.5
"""Of the GPU's memory, likewise."""

MIB = 2**20

RESERVE_PART = 0.05
"""Of the host's memory, which no run may count on."""
RESERVE_MOST = 512 * MIB


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes of weights one inference process may hold."""

    host_bytes: int
    gpu_bytes: int | None
    """None where no GPU is used."""


def host_share(processes: int) -> int:
    """The part of this host's memory that each of so many inference processes may fill with weights, in bytes."""
    return int(host_memory() * HOST_PART / processes)


def gpu_share(processes: int) -> int:
    """The part of the GPU that each of so many inference processes may fill with weights, in bytes."""
    return int(gpu_most() * GPU_PART / processes)


def gpu_most() -> int:
    """Bytes of memory that the GPU has."""
    from workers.runners.device import gpu_memory  # noqa: PLC0415  # torch is loaded only where a model is

    return gpu_memory()


def gpu_room() -> int:
    """Bytes of the GPU that this process may take now."""
    from workers.runners.device import free_gpu_memory  # noqa: PLC0415  # torch is loaded only where a model is

    return free_gpu_memory()


def host_memory() -> int:
    """Bytes of memory that this process could have: the machine's, or less where its control group is limited."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def host_room(processes: int, memory_mb: int | None) -> int:
    """Bytes that this inference process may take now beside what it has, where there are so many `processes`.

    The least of: `memory_mb`, or this process's share of the host's memory, less what it has already; what is free
    on the host and in its control groups; what is left of its address space (RLIMIT_AS). It may be negative.
    """
    reserve = _reserve(host_memory())
    taken = _status("VmRSS")
    free = (_available(), *group_rooms(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))
    rooms = [host_most(processes, memory_mb) - taken, *(room - reserve for room in free)]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        rooms.append(soft - _status("VmSize"))
    return min(rooms)


def host_most(processes: int, memory_mb: int | None) -> int:
    """Bytes that this inference process may take in all, were everything of the host free.

    `memory_mb`, or this process's share of the host's memory: never less than its room.
    """
    host = host_memory()
    most = host - _reserve(host)
    return most // processes if memory_mb is None else min(most, memory_mb * MIB)


def group_rooms(membership: Path, mount: Path) -> list[int]:
    """What is left of the memory limits of a process's control group and of those around it (cgroup v2), in bytes.

    Files that the group has in the page cache and does not use count as free.
    """
    rooms = []
    for folder in _groups(membership, mount):
        limit, used = _limit(folder / "memory.max"), _limit(folder / "memory.current")
        if limit is not None and used is not None:
            rooms.append(limit - used + _field(folder / "memory.stat", "inactive_file", 1))
    return rooms


def _reserve(host: int) -> int:
    """Bytes of the host's memory that no run may count on."""
    return min(int(host * RESERVE_PART), RESERVE_MOST)


def _available() -> int:
    """MemAvailable of the machine (proc(5)); its free memory where the kernel does not say."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return _field(Path("/proc/meminfo"), "MemAvailable:", 1024) or free


def _status(name: str) -> int:
    """A size of this process, in bytes (proc_pid_status(5))."""
    return _field(Path("/proc/self/status"), f"{name}:", 1024)


def _field(file: Path, name: str, unit: int) -> int:
    """The number that follows a name at the start of a line, times its unit; 0 where there is none."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    words = (line.split() for line in lines)
    return next((int(each[1]) * unit for each in words if len(each) > 1 and each[0] == name), 0)


def group_limits(membership: Path, mount: Path) -> list[int]:
    """The memory limits of a process's control group and of those around it (cgroup v2), in bytes."""
    return [limit for folder in _groups(membership, mount) if (limit := _limit(folder / "memory.max")) is not None]


def _groups(membership: Path, mount: Path) -> list[Path]:
    """The folders of a process's control group and of those around it."""
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    inside = next((line[3:].strip("/") for line in lines if line.startswith("0::")), None)
    if inside is None or ".." in inside:
        return []
    group = mount / inside
    return [group, *(parent for parent in group.parents if parent.is_relative_to(mount))]


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
