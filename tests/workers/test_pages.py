"""Memory that is freed and taken again costs no page faults where pages are kept, and is given back in the end."""

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="pages are kept with glibc only")

MIB = 2**20
ROUNDS, SIZE = 40, 64 * MIB
"""glibc leaves holes in the first eight rounds or so, until its caches of small pieces are full."""
_FAULTS = """
import json, resource, sys
import torch
from workers.runners.pages import pages_kept

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = resident()
with pages_kept(sys.argv[1] == "kept"):
    began = faults()
    for _ in range(int(sys.argv[2])):
        torch.empty(int(sys.argv[3]), dtype=torch.uint8).fill_(1)
    took = (faults() - began) * resource.getpagesize()
print(json.dumps({"faulted": took, "left": resident() - before}))
"""


def told(how: str) -> dict[str, int]:
    """Bytes of faulted pages, and bytes that stay in use, of a process that takes and frees arrays."""
    command = [sys.executable, "-c", _FAULTS, how, str(ROUNDS), str(SIZE)]
    found: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def test_pages_are_faulted_once_where_they_are_kept_and_each_time_where_not() -> None:
    assert told("kept")["faulted"] < 0.4 * ROUNDS * SIZE
    assert told("given back")["faulted"] > 0.9 * ROUNDS * SIZE


def test_what_was_kept_is_given_back_at_the_end() -> None:
    assert told("kept")["left"] < SIZE / 4
