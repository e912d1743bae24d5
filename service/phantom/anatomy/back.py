"""A column in, the long muscles of back and nape out, with the fat between them."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.phantom.anatomy.column import Column
from service.phantom.body import Part
from service.phantom.contrast import Tissue
from service.phantom.solids import Ellipsoid, Sweep


@dataclass(frozen=True, slots=True)
class Strand:
    """One muscle of a pair: at each level, from below upwards, where it runs and how thick it is, in mm."""

    levels: tuple[str, ...]
    out: tuple[float, ...]
    """Away from the midline."""
    behind: tuple[float, ...]
    """Behind the middle of the vertebral body."""
    half_width: tuple[float, ...]
    half_depth: tuple[float, ...]


STRANDS = (
    # multifidus, erector spinae, semispinalis, splenius
    Strand(
        levels=("S3", "L5", "L3", "T12", "T8", "T3"),
        out=(14, 20, 19, 17, 15, 14),
        behind=(40, 47, 45, 42, 40, 40),
        half_width=(11, 18, 17, 14, 12, 12),
        half_depth=(12, 21, 20, 18, 16, 14),
    ),
    Strand(
        levels=("S1", "L4", "L2", "T12", "T8", "T3"),
        out=(34, 48, 52, 48, 40, 36),
        behind=(36, 46, 46, 42, 40, 42),
        half_width=(9, 22, 24, 22, 18, 14),
        half_depth=(10, 22, 23, 20, 16, 12),
    ),
    Strand(
        levels=("T3", "C7", "C5", "C3", "C2"),
        out=(12, 14, 14, 15, 15),
        behind=(40, 40, 36, 34, 32),
        half_width=(9, 12, 12, 12, 12),
        half_depth=(10, 11, 11, 10, 9),
    ),
    Strand(
        levels=("T3", "C7", "C5", "C3", "C2"),
        out=(26, 24, 22, 20, 19),
        behind=(48, 50, 48, 46, 44),
        half_width=(14, 16, 17, 17, 16),
        half_depth=(7, 7, 8, 8, 8),
    ),
)


def parts(column: Column) -> Iterator[Part]:
    """The muscles, then the fat in the midline and behind the dural sac."""
    yield from _muscles(column)
    yield from _fat(column)


def _muscles(column: Column) -> Iterator[Part]:
    """The long muscles on both sides of the spinous processes, each in its fat."""
    for s in (-1, 1):
        for strand in STRANDS:
            heights = tuple(column[k].centre[2] for k in strand.levels)
            left = tuple(column.x(h) + s * o for h, o in zip(heights, strand.out, strict=True))
            rear = tuple(column.y(h) + b * column.size for h, b in zip(heights, strand.behind, strict=True))
            z, x, y = _beyond(heights), _beyond(left), _beyond(rear)
            wide, deep = (2.0, *strand.half_width, 2.0), (2.0, *strand.half_depth, 2.0)
            yield Part(Sweep(z, x, y, wide, deep, 2.3), Tissue.MUSCLE, rim=Tissue.FAT, rim_mm=1.4)


def _beyond(knots: tuple[float, ...]) -> tuple[float, ...]:
    """A muscle's knots with one more at each end, where it tapers out."""
    return (knots[0] - 0.3 * (knots[1] - knots[0]), *knots, knots[-1] + 0.6 * (knots[-1] - knots[-2]))


def _fat(column: Column) -> Iterator[Part]:
    for region, levels in (("C", ("C7", "C5", "C3")), ("L", ("S1", "L3", "L1", "T10", "T6", "T2"))):
        reach = 42 if region == "C" else 52
        path = [column[k].at(0, reach, 0) for k in levels]
        path.sort(key=lambda p: p[2])
        z, x, y = (tuple(p[i] for p in path) for i in (2, 0, 1))
        yield Part(Sweep(z, x, y, (2.2,) * len(z), (16,) * len(z)), Tissue.FAT)
    for level in ("S1", "L4", "L2", "T12", "T9"):
        v = column[level]
        yield Part(Ellipsoid(v.at(0, v.depth / 2 + 15, -v.height / 2), (5, 6, 9), v.axes), Tissue.FAT)
