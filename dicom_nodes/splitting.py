"""Frames of one orientation in; the stacks that they make out, parted by echo, b-value, time and the like.

The table `SPLITTERS` is what a series is parted by and in which order: some always, because such images must never
lie in one volume, and the rest only as long as positions repeat.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dicom_nodes.errors import Rule
from dicom_nodes.geometry import Fault, Limits, Stack, places, stack
from dicom_nodes.headers import Frame
from dicom_nodes.traits import TRACE, Trait


@dataclass(frozen=True, slots=True)
class Splitter:
    """A trait by which the frames of a series are parted, and how a part is named."""

    trait: str
    label: Callable[[Trait], str]
    cures: frozenset[Rule] | None = None
    """The rules that must be broken before it is applied; None where it is always applied."""


@dataclass(frozen=True, slots=True)
class Part:
    """Frames that may be a volume, the labels that tell them from the other parts, and how many they must be."""

    frames: tuple[Frame, ...]
    labels: tuple[str, ...]
    min_slices: int


_TIMES = ("time", "time offset", "trigger")
_MOVIE_FRAMES = 8
"""So many images at each of a few positions, one after the other in time, are a movie."""


def _numbered(word: str, unit: str = "") -> Callable[[Trait], str]:
    return lambda value: f"{word} {value:g}{unit}" if isinstance(value, (int, float)) else f"{word} {value}"


_REPEATED = frozenset({Rule.DUPLICATE})
_UNSTACKED = frozenset({Rule.DUPLICATE, Rule.SPACING, Rule.MATRIX, Rule.SHEARED})

SPLITTERS = (
    Splitter("component", str),
    Splitter("dixon", str),
    Splitter("diffusion map", str),
    Splitter("echo", _numbered("echo")),
    Splitter("b", _numbered("b")),
    Splitter("derived", str),
    Splitter("stack", _numbered("stack"), _UNSTACKED),
    Splitter("gradient", lambda value: "trace" if value == TRACE else f"direction {value}", _REPEATED),
    Splitter("echo time", _numbered("TE", " ms"), _REPEATED),
    Splitter("inversion time", _numbered("TI", " ms"), _REPEATED),
    Splitter("flip angle", _numbered("flip", "°"), _REPEATED),
    Splitter("time", _numbered("time"), _REPEATED),
    Splitter("time offset", _numbered("at", " s"), _REPEATED),
    Splitter("trigger", _numbered("trigger", " ms"), _REPEATED),
    Splitter("acquisition", _numbered("acquisition"), _REPEATED),
    Splitter("image type", str, _REPEATED),
)
"""In this order; a further trait is one function in `traits.TRAITS` and one line here."""


def resolve(part: Part, limits: Limits) -> Iterable[tuple[Part, Stack | Fault]]:
    """Split frames of one orientation until each part is a stack, or nothing splits it further."""
    positions = len(places(part.frames, limits.same_place_mm))
    if positions < part.min_slices:
        yield part, _too_few(part, positions, limits)
    else:
        yield from _split(part, SPLITTERS, limits)


def _split(part: Part, splitters: Sequence[Splitter], limits: Limits) -> Iterable[tuple[Part, Stack | Fault]]:
    result = stack(part.frames, part.min_slices, limits)
    broken = result.rule if isinstance(result, Fault) else None
    for done, splitter in enumerate(splitters, start=1):
        if splitter.cures is None or broken in splitter.cures:
            pieces = _pieces(part, splitter, limits)
            if len(pieces) > 1:
                for piece in pieces:
                    yield from _split(piece, splitters[done:], limits)
                return
    sweeps = _sweeps(part, limits) if broken is Rule.DUPLICATE else []
    if sweeps:
        yield from ((sweep, stack(sweep.frames, sweep.min_slices, limits)) for sweep in sweeps)
    else:
        yield part, result


def _pieces(part: Part, splitter: Splitter, limits: Limits) -> list[Part]:
    """Part frames by one trait, in its order.

    Where it is to sort repetitions, one of the pieces must cover every position: a trait that differs from slice to
    slice, as an acquisition's time or number may, would take a volume apart.
    """
    piles: dict[Trait | None, list[Frame]] = {}
    for frame in part.frames:
        piles.setdefault(frame.traits.get(splitter.trait), []).append(frame)
    if splitter.cures == _REPEATED:
        covered = max(len(places(pile, limits.same_place_mm)) for pile in piles.values())
        if covered < len(places(part.frames, limits.same_place_mm)):
            return [part]
    return [
        replace(
            part,
            frames=tuple(piles[value]),
            labels=(*part.labels, f"no {splitter.trait}" if value is None else splitter.label(value)),
        )
        for value in sorted(piles, key=lambda value: (value is not None, isinstance(value, str), value))
    ]


def _sweeps(part: Part, limits: Limits) -> list[Part]:
    """Part frames by the order in which they were written, where that was volume by volume.

    Each run of N images, in the order of InstanceNumber, must cover each of the N positions once, to the last
    image; else nothing is parted and the list is empty.
    """
    gathered = places(part.frames, limits.same_place_mm)
    place_of = {frame.ref: number for number, place in enumerate(gathered) for frame in place}
    ordered = sorted(part.frames, key=lambda frame: frame.instance_number)
    runs = [ordered[start : start + len(gathered)] for start in range(0, len(ordered), len(gathered))]
    distinct = len({frame.instance_number for frame in ordered}) == len(ordered)
    if not distinct or any({place_of[frame.ref] for frame in run} != set(place_of.values()) for run in runs):
        return []
    return [
        replace(part, frames=tuple(run), labels=(*part.labels, f"part {number}"))
        for number, run in enumerate(runs, start=1)
    ]


def _too_few(part: Part, positions: int, limits: Limits) -> Fault:
    images = len(part.frames)
    counted = f"{images} image{'s' if images > 1 else ''} at {positions} position{'s' if positions > 1 else ''}"
    if _is_movie(part, positions, limits):
        each = "" if positions == 1 else f", a movie of {images // positions} images at each"
        return Fault(Rule.MOVIE, counted + each)
    if part.min_slices > limits.min_slices:
        return Fault(Rule.ORIENTATION, counted)
    return Fault(Rule.TOO_FEW, f"{counted}, and a volume needs {part.min_slices} slices")


def _is_movie(part: Part, positions: int, limits: Limits) -> bool:
    """Say whether images enough for a volume lie at one position, or at few that are each seen over time."""
    if positions == 1:
        return len(part.frames) >= limits.min_slices
    times = max(len({frame.traits.get(name) for frame in part.frames}) for name in _TIMES)
    return times >= _MOVIE_FRAMES and len(part.frames) >= _MOVIE_FRAMES * positions
