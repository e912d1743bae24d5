"""A process in; the same with a wall clock of its own, as if it ran on another host, out."""

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def why_not() -> str:
    """Why no process can have a clock of its own here; empty where it can."""
    return "" if shutil.which("gcc") else "no C compiler for the clock"


def build(folder: Path) -> Path:
    """What is preloaded."""
    library = folder / "clock.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True, capture_output=True
    )
    return library


def environment(library: Path, clock: Path) -> dict[str, str]:
    """What makes a process see the clock that a file says."""
    set_clock(clock, 0.0)
    return {"LD_PRELOAD": str(library), "SAGITTAL_CLOCK": str(clock)}


def set_clock(clock: Path, seconds: float) -> None:
    """Set it wrong by so many seconds, at once: the file is written in place, as it is mapped."""
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(struct.pack("=d", seconds))
