"""A volume that does not fit the plain way is run in another with the same label map, or refused with numbers."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.modelstore import ModelStore
from tests.workers.trained import TINY, TRAINED, dataset_folder, submodel
from workers.install.installing import Wish, install
from workers.phantom_models.datasets import Recipe
from workers.phantom_models.plans import CONFIGURATION, plans_json

SLOW = replace(TINY, patch=(16, 64, 64), spacing_mm=(3.0, 1.5, 1.5), transpose=(0, 1, 2))
WIDE = replace(SLOW, patch=(64, 128, 128), features=tuple(8 * n for n in TINY.features))
"""So large that it runs layer by layer."""
MANY = 44
SHAPE, SPACING_MM = (100, 112, 112), (3.0, 1.25, 1.25)
"""Its logits are 72 MiB."""
LARGE = (128, 320, 320)
"""50 MiB as float32."""

Run = Callable[..., dict[str, Any]]


def put(folder: Path, name: str, classes: int, default_resampling: bool, recipe: Recipe = SLOW) -> Path:
    """A network that tells so many classes apart, installed under the name tiny in a folder of its own."""
    recipe = replace(recipe, labels=TINY.labels if classes == 3 else tuple(f"l{n}" for n in range(1, classes)))
    plans = plans_json(recipe)
    if default_resampling:
        chosen = plans["configurations"][CONFIGURATION]
        for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
            chosen[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
            how = {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}
            chosen[f"resampling_fn_{what}_kwargs"] = how
    source = dataset_folder(folder / f"{name}-plain", recipe, plans=plans) / TRAINED
    install(source, ModelStore(folder / name / "models"), (submodel(recipe=recipe),), Wish(name="tiny"))
    return folder / name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a network on a volume in a process of its own."""
    errors = tmp_path_factory.mktemp("said") / "stderr"
    command = [sys.executable, "-m", "tests.workers.small_memory"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with (
        errors.open("w") as said,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, text=True, env=alone) as runs,
    ):
        assert runs.stdin is not None and runs.stdout is not None
        asked, told = runs.stdin, runs.stdout

        def one(folder: Path, **values: Any) -> dict[str, Any]:
            asked.write(json.dumps({"folder": str(folder), **values}) + "\n")
            asked.flush()
            found: dict[str, Any] = json.loads(told.readline() or '{"broke": "at its end"}')
            assert "broke" not in found, errors.read_text()[-2000:]
            return found

        yield one
        asked.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Run:
    """Runs a network of 44 classes."""
    folder = put(tmp_path_factory.mktemp("many"), "many", MANY, default_resampling=True)
    return lambda **asked: run(folder=folder, classes=MANY, **{"shape": SHAPE, "spacing_mm": SPACING_MM, **asked})


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three classes."""
    return put(tmp_path_factory.mktemp("few"), "few", 3, default_resampling=True)


@pytest.fixture(scope="module")
def plain(many: Run) -> dict[str, Any]:
    """As it runs where there is enough."""
    told = many()
    assert told["notes"] == []
    assert len(told["labels"]) > 5
    return told


def test_logits_go_to_disk_where_they_do_not_fit_and_the_label_map_is_the_same(
    many: Run, plain: dict[str, Any]
) -> None:
    between = int((plain["memory_mb"] + plain["disk_mb"]) / 2)
    told = many(warm=True, limit_mb=between)
    assert told["found"] == plain["found"]
    (note,) = told["notes"]
    assert re.match(
        r"tiny is run on the CPU, logits on disk: the plain way needs \d+ MiB of memory, and there", note
    )
    assert told["peak_mb"] < plain["peak_mb"]


def test_what_fits_in_no_way_is_refused_with_the_numbers_before_it_is_run(many: Run, plain: dict[str, Any]) -> None:
    told = many(limit_mb=int(plain["disk_mb"] / 2))
    assert re.search(
        r"a volume of 112 x 112 x 100 voxels needs \d+ MiB of memory, \d+ MiB of disk for this sub-model at least, "
        r"and there are \d+ MiB of memory, \d+ MiB of disk: .* \[workers\] memory_mb",
        told["refused"].replace("(", " "),
    )
    assert told["peak_mb"] < 40


def test_a_volume_that_is_too_large_for_what_the_site_gives_is_not_tried_again(many: Run) -> None:
    told = many(memory_mb=100)
    assert re.search(r"needs \d+ MiB of memory, .* and there are 100 MiB of memory", told["refused"])
    assert not told["again"]


def test_a_volume_for_which_there_is_too_little_at_present_is_tried_again(many: Run) -> None:
    """The process has taken most of what the site gives: a new one would have room."""
    told = many(memory_mb=400)
    assert re.search(r"needs \d+ MiB of memory, .* and there are \d+ MiB of memory", told["refused"])
    assert told["again"]


def test_a_run_that_is_out_of_memory_all_the_same_is_done_once_more_with_its_logits_on_disk(
    many: Run,
) -> None:
    """The estimate is deceived; the limit is real, and torch's and NumPy's own errors say so.

    It takes 255 MB in memory and 105 with logits on disk, and what the heap has free counts on neither side.
    """
    deep = (200, *SHAPE[1:])
    plain = many(shape=deep)
    told = many(warm=True, boundless=True, limit_mb=130, shape=deep)
    first, second, third, fourth = told["notes"]
    assert first.startswith("tiny was out of memory on the CPU, keeping what it frees: ")
    assert second == "tiny is run on the CPU"
    assert third.startswith("tiny was out of memory on the CPU: ")
    assert fourth == "tiny is run on the CPU, logits on disk"
    assert told["found"] == plain["found"]


def test_a_run_that_is_out_of_memory_in_every_way_is_refused_with_the_numbers_and_tried_again(many: Run) -> None:
    """Each array of the volume is larger than what the allocator keeps or takes from its heap: none is to be had.

    32 MiB is the most for which glibc does not ask the system (mallopt(3), M_MMAP_THRESHOLD).
    """
    told = many(boundless=True, limit_mb=16, shape=LARGE)
    out = [note.partition(": ")[0] for note in told["notes"] if "out of memory" in note]
    ways = ("on the CPU, keeping what it frees", "on the CPU", "on the CPU, logits on disk")
    assert out == [f"tiny was out of memory {way}" for way in ways]
    assert re.search(
        r"a volume of 320 x 320 x 128 voxels needs \d+ MiB of memory, \d+ MiB of disk", told["refused"]
    )
    assert told["again"]
    assert told["peak_mb"] < 16


def test_a_job_that_cost_a_worker_its_life_is_run_with_its_logits_on_disk(many: Run, plain: dict[str, Any]) -> None:
    told = many(frugal=True)
    assert told["notes"] == ["tiny is run on the CPU, logits on disk: to be on the safe side"]
    assert told["found"] == plain["found"]


def held_against(told: dict[str, Any], at_most: float = 1.6) -> None:
    assert told["peak_mb"] <= told["kept_mb"]
    asked_for = told["kept_mb"] - 160
    assert asked_for <= at_most * told["peak_mb"], "or hospitals are asked for memory that nobody needs"


def test_what_is_estimated_is_never_less_than_what_a_run_takes(plain: dict[str, Any]) -> None:
    held_against(plain)


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((48, 160, 160), (1.5, 0.75, 0.75)), ((24, 144, 144), (6.0, 1.25, 1.25))],
    ids=["to fewer voxels", "slices and planes apart"],
)
def test_nor_where_the_volume_has_another_spacing_than_the_network(
    few: Path, run: Run, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    held_against(run(folder=few, classes=3, shape=shape, spacing_mm=spacing_mm))


def test_nor_where_a_large_network_runs_layer_by_layer(tmp_path: Path, run: Run) -> None:
    folder = put(tmp_path, "wide", MANY, default_resampling=True, recipe=WIDE)
    told = run(folder=folder, classes=MANY, shape=(72, 128, 128), spacing_mm=WIDE.spacing_mm)
    held_against(told, at_most=2.0)  # as the holes of the allocator lie
