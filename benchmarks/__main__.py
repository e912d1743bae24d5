"""`make bench`: every benchmark, one after another, with the machine and the versions they ran on."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version

PACKAGES = ("sagittal", "pydicom", "pynetdicom", "highdicom", "nnunetv2", "torch")
BENCHMARKS = (
    "benchmarks.receive", "benchmarks.headers", "benchmarks.series", "benchmarks.seg", "benchmarks.ledger",
    "benchmarks.latency",
)  # fmt: skip


def main() -> None:
    """Run them all."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z, {os.cpu_count()} cores, {platform.platform()}, {_processor()}")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES), flush=True)
    for name in BENCHMARKS:
        print(f"\n$ python -m {name}", flush=True)
        subprocess.run([sys.executable, "-m", name], check=True)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123  # a kernel's file
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown CPU")


if __name__ == "__main__":
    main()
