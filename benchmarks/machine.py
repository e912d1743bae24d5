"""What the numbers of a benchmark were measured on: the machine, and the versions of ours and of the peers."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "sagittal", "pydicom", "pynetdicom", "highdicom", "dcmqi", "SimpleITK", "nnunetv2", "torch", "numpy",
    "SQLAlchemy", "celery",
)  # fmt: skip
DEBIAN = ("dcmtk", "orthanc", "redis-server")


def machine() -> str:
    """Date, cores, memory, system and processor in one line, with the load that was there at the start."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    gib = int(memory.split()[1]) / 2**20
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z, {os.cpu_count()} cores, {gib:.0f} GiB, {processor()}, "
        f"{platform.platform()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def versions() -> str:
    """Of the packages of Python and of Debian that are there."""
    found = [f"{name} {said}" for name in PACKAGES if (said := _of_python(name))]
    return ", ".join(found + [f"{name} {said}" for name in DEBIAN if (said := _of_debian(name))])


def processor() -> str:
    """What the kernel calls it."""
    said = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    return next((line.split(":")[1].strip() for line in said if line.startswith("model name")), "unknown CPU")


def has_gpu() -> bool:
    """Whether a GPU of NVIDIA answers."""
    if shutil.which("nvidia-smi") is None:
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0


def _of_python(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _of_debian(name: str) -> str:
    if shutil.which("dpkg-query") is None:
        return ""
    said = subprocess.run(["dpkg-query", "-W", "-f=${Version}", name], capture_output=True, text=True, check=False)
    return said.stdout.strip()
