"""Memory that is freed stays with the process for a while, and is given back at the end.

A network on a CPU takes and frees some hundred MB with each layer. The C library gives that much back to the system
at once, which has to clear every page of it for the next layer: two fifths of the time of a small network.
"""

import contextlib
import ctypes
from collections.abc import Iterator

_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -4, -3, -1  # malloc.h of glibc
_NEVER = 2**31 - 1
_MANY = 65_536
"""As glibc has it of its own accord, and the next two what it comes to in a process that frees large arrays."""
_LARGE_BYTES = 32 << 20
_TRIM_BYTES = 2 * _LARGE_BYTES


@contextlib.contextmanager
def pages_kept(wanted: bool) -> Iterator[None]:
    """Keep them until the end, where `wanted`; of the main thread only, and with glibc: else nothing is changed.

    What the process has at its worst moment becomes larger by holes, which `workers.needs` counts.
    """
    libc = ctypes.CDLL(None)
    if not wanted or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _MANY)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _TRIM_BYTES)
        libc.malloc_trim(0)
