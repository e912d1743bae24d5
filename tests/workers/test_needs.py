"""Which way of running is taken follows from the numbers, and a refusal names them."""

from dataclasses import replace

import pytest

from workers.needs import MIB, Footprint, NeverFits, Room, TooLittleMemory, Way, estimate, ways_that_fit

FULL_SIZE = Footprint(45, (48, 160, 160), (3.0, 1.25, 1.25), (0, 1, 2), 32, 120 * MIB)
SHAPE, SPACING_MM = (80, 320, 320), (3.0, 1.25, 1.25)
MOST = Room(2**40, None, 2**50)
GPU, GPU_DISK, CPU, CPU_DISK = Way(False, False), Way(False, True), Way(True, False), Way(True, True)
KEPT = Way(True, False, keeps_pages=True)


def needed(way: Way) -> int:
    return estimate(SHAPE, SPACING_MM, FULL_SIZE, way).host_bytes


def fitting(host: int, gpu: int | None, disk: int = 2**50, frugal: bool = False) -> tuple[Way, ...]:
    return ways_that_fit(SHAPE, SPACING_MM, FULL_SIZE, Room(host, gpu, disk), MOST, frugal)


def test_where_there_is_enough_the_gpu_goes_before_the_cpu_and_memory_before_disk() -> None:
    assert fitting(2**40, 2**40) == (GPU, GPU_DISK, KEPT, CPU, CPU_DISK)
    assert fitting(2**40, None) == (KEPT, CPU, CPU_DISK)


def test_pages_are_kept_only_where_there_is_room_for_the_holes_between_them() -> None:
    assert fitting(needed(KEPT), None) == (KEPT, CPU, CPU_DISK)
    assert fitting(needed(KEPT) - 1, None) == (CPU, CPU_DISK)
    assert needed(CPU) < needed(KEPT)


def test_a_gpu_that_is_too_small_leaves_the_cpu() -> None:
    assert fitting(2**40, 512 * MIB) == (KEPT, CPU, CPU_DISK)


def test_logits_wait_on_disk_where_the_memory_does_not_hold_them() -> None:
    assert fitting(needed(CPU) - 1, None) == (CPU_DISK,)
    with pytest.raises(TooLittleMemory, match=r"320 x 320 x 80 voxels .*MiB of disk"):
        fitting(needed(CPU) - 1, None, disk=10 * MIB)


def test_a_job_that_cost_a_worker_its_life_takes_the_ways_that_need_least() -> None:
    assert fitting(2**40, 2**40, frugal=True) == (GPU_DISK, CPU_DISK)


def test_a_refusal_is_a_memory_error_that_names_what_is_needed_what_there_is_and_the_key() -> None:
    with pytest.raises(MemoryError, match=r"needs \d+ MiB of memory.* there are 100 MiB.*\[workers\] memory_mb"):
        fitting(100 * MIB, None)


def test_what_does_not_fit_now_is_told_apart_from_what_never_will() -> None:
    least = needed(CPU_DISK)
    now, enough, small = (Room(host, None, 2**50) for host in (least - 1, least, least - 1))
    with pytest.raises(TooLittleMemory) as at_present:
        ways_that_fit(SHAPE, SPACING_MM, FULL_SIZE, now, enough)
    assert not isinstance(at_present.value, NeverFits)
    with pytest.raises(NeverFits, match=rf"there are {-(-(least - 1) // MIB)} MiB of memory"):
        ways_that_fit(SHAPE, SPACING_MM, FULL_SIZE, now, small)


def test_a_network_that_runs_layer_by_layer_needs_less_on_a_cpu_and_as_much_on_a_gpu() -> None:
    layered = replace(FULL_SIZE, layered=True)
    for way in (CPU, KEPT, CPU_DISK):
        assert estimate(SHAPE, SPACING_MM, layered, way).host_bytes < 0.9 * needed(way)
    mirrored = replace(layered, mirrored=True)
    assert (
        estimate(SHAPE, SPACING_MM, layered, CPU).host_bytes < estimate(SHAPE, SPACING_MM, mirrored, CPU).host_bytes
    )
    assert estimate(SHAPE, SPACING_MM, layered, GPU) == estimate(SHAPE, SPACING_MM, FULL_SIZE, GPU)


def test_more_classes_voxels_or_slices_apart_never_need_less() -> None:
    plain = estimate(SHAPE, SPACING_MM, FULL_SIZE, CPU).host_bytes
    larger = estimate((160, 320, 320), SPACING_MM, FULL_SIZE, CPU).host_bytes
    apart = estimate(SHAPE, (6.0, 1.25, 1.25), FULL_SIZE, CPU).host_bytes
    assert plain < larger
    assert plain < apart
