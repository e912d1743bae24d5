"""Points of growth in; a picture of their curves out: time above, memory below, a column for each input."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.growth import USUAL, Point, curves

COLUMNS = (("slices", "slices"), ("matrix", "matrix (n × n)"), ("classes", "classes"), ("queue", "jobs that wait"))
COLOURS = {
    "reading": "#1f6f8b",
    "encoding": "#c8553d",
    "resampling": "#588157",
    "claiming": "#6d597a",
    "choosing": "#b08900",
}
NAMES = {"reading": "files → volume", "encoding": "labels → proven SEG", "resampling": "logits → label map",
         "claiming": "claim of a job", "choosing": "whose turn it is"}  # fmt: skip
LEAST_MIB = 1.0
"""What takes less is drawn here: it is within what the allocator keeps anyway."""


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the picture; its format is that of the path's suffix."""
    figure, axes = plt.subplots(2, len(COLUMNS), figsize=(14, 6.6), sharey="row", layout="constrained")
    for column, (against, label) in enumerate(COLUMNS):
        mine = {work: curve for (work, of), curve in curves(points).items() if of == against}
        for row, unit in enumerate(("seconds", "MiB above start")):
            _draw_one(axes[row, column], mine, of_memory=row == 1)
            axes[row, column].set_xlabel(label)
            if column == 0:
                axes[row, column].set_ylabel(unit)
    usual = f"{USUAL['slices']} slices of {USUAL['matrix']} × {USUAL['matrix']}, {USUAL['classes']} classes"
    figure.suptitle(f"How cost grows; what is not varied is {usual}. Dashed: as the input does", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_one(axes: Axes, mine: dict[str, list[Point]], of_memory: bool) -> None:
    for work, curve in mine.items():
        sizes = [point.size for point in curve]
        values = [max(point.mib, LEAST_MIB) if of_memory else point.seconds for point in curve]
        axes.plot(sizes, values, marker="o", markersize=4, color=COLOURS[work], label=NAMES[work])
        power = 2 if curve[0].against == "matrix" else 1
        straight = [values[-1] * (size / sizes[-1]) ** power for size in sizes]
        axes.plot(sizes, straight, linestyle="--", linewidth=0.8, alpha=0.6, color=COLOURS[work])
    sizes = sorted({point.size for curve in mine.values() for point in curve})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, fontsize=8)
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(alpha=0.25)
    if not of_memory and mine:
        axes.legend(fontsize=8, loc="best")
