"""How cost grows: time and memory against slices, matrix, classes and the length of the queue; a table and a plot.

    python -m benchmarks.growth [--only WORK ...] [--quick] [--picture docs/pictures/growth.png] [--json FILE]
    python -m benchmarks.growth --redraw --json FILE --picture docs/pictures/growth.png

Each point is measured in a process of its own, the fastest of three rounds; its memory is the largest resident set
less what the process had before the first. `growth_work.py` says what is done. Beside each curve stands the
exponent of its steepest part: 1 is cost that grows as its input does.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

SIZES: Mapping[str, tuple[int, ...]] = MappingProxyType({
    "slices": (20, 50, 100, 200, 500, 1000, 2000),
    "matrix": (128, 256, 512, 1024),
    "classes": (1, 4, 10, 24, 44, 104),
    "queue": (100, 1000, 10_000, 100_000),
})  # fmt: skip
USUAL: Mapping[str, int] = MappingProxyType({"slices": 40, "matrix": 128, "classes": 10, "queue": 1000})
"""Of what is not varied."""
WITH: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "reading": ("slices", "matrix"), "encoding": ("slices", "matrix", "classes"),
    "resampling": ("slices", "matrix", "classes"), "claiming": ("queue",),
    "choosing": ("queue",),
})  # fmt: skip
"""What each work is measured against."""


@dataclass(frozen=True, slots=True)
class Point:
    """One work at one size."""

    work: str
    against: str
    size: int
    seconds: float
    mib: float
    """Of memory, above what the process had before."""


def main() -> None:
    """Measure, or read what was measured; print and draw."""
    chosen = _arguments()
    points: list[Point] = []
    if chosen.json and chosen.json.exists() and (chosen.redraw or chosen.only):
        kept = (Point(**values) for values in json.loads(chosen.json.read_text()))
        points = [point for point in kept if chosen.redraw or point.work not in chosen.only]
    for point in () if chosen.redraw else measure(chosen.only or tuple(WITH), chosen.quick):
        points.append(point)
        if chosen.json:
            chosen.json.write_text(json.dumps([asdict(one) for one in points], indent=1) + "\n")
    Console().print(table(points))
    if chosen.picture:
        from benchmarks.growth_plot import draw  # noqa: PLC0415  # matplotlib is only needed here

        draw(points, chosen.picture)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=tuple(WITH))
    parser.add_argument("--quick", action="store_true", help="every second size only")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path, help="write every point here; with --only, beside what is there")
    parser.add_argument("--redraw", action="store_true", help="draw what is in --json; measure nothing")
    return parser.parse_args()


def measure(works: Iterable[str], quick: bool) -> Iterator[Point]:
    """All points of these works, each in a process of its own."""
    for work in works:
        for against in WITH[work]:
            for size in SIZES[against][:: 2 if quick else 1]:
                found = _point(work, against, size)
                print(f"{work}, {size} {against}: {found.seconds:.4f} s", file=sys.stderr, flush=True)
                yield found


def _point(work: str, against: str, size: int) -> Point:
    sizes = json.dumps({**USUAL, against: size})
    command = [sys.executable, "-m", "benchmarks.growth_work", work, sizes]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, mib = json.loads(said)
    return Point(work, against, size, seconds, mib)


def curves(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by work and what it is measured against, each in the order of sizes."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.size):
        found.setdefault((point.work, point.against), []).append(point)
    return found


def steepest(curve: Sequence[Point], of_memory: bool = False) -> float:
    """The largest exponent between two sizes that follow each other; of the matrix, in pixels.

    What is below 20 ms or 4 MiB is left out: it is mostly start-up.
    """
    floor, power = (4.0, "mib") if of_memory else (0.02, "seconds")
    told = [(point.size, getattr(point, power)) for point in curve if getattr(point, power) >= floor]
    exponents = [math.log(b / a) / math.log(y / x) for (x, a), (y, b) in pairwise(told)]
    pixels = 2 if curve[0].against == "matrix" else 1
    return max(exponents, default=0.0) / pixels


def table(points: Sequence[Point]) -> Table:
    """One line for each curve: its first and last point, and its exponents."""
    made = Table("work", "against", "from", "to", "seconds", "exponent", "MiB", "exponent")
    for (work, against), curve in curves(points).items():
        first, last = curve[0], curve[-1]
        seconds, mib = f"{first.seconds:.3g} … {last.seconds:.3g}", f"{first.mib:.3g} … {last.mib:.3g}"
        exponents = f"{steepest(curve):.2f}", f"{steepest(curve, of_memory=True):.2f}"
        made.add_row(work, against, str(first.size), str(last.size), seconds, exponents[0], mib, exponents[1])
    return made


if __name__ == "__main__":
    main()
