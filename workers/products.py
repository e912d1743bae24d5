"""A destination and what was found in; which objects it gets out: pure.

Its forms write down where the structures lie, each whole or in parts; its reports tell of all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicom_nodes.types import Finished, LabelMap
from service.destination import FORMS, WITH_SEGMENTS, Destination, Form
from service.expectation import named

OTHERS = "others"
"""The part with the structures that are in no group of the site."""
GROUPED: frozenset[Form] = frozenset({"seg", "labelmap", "rtstruct"})
"""Forms that go into one object for each group of structures."""


@dataclass(frozen=True, slots=True)
class Product:
    """One object to make."""

    kind: str
    """As in `dicom_nodes.encode.ENCODERS`."""
    part: str = ""
    values: frozenset[int] | None = None
    """The label values of its part; None for all."""
    refers: tuple["Product", ...] = ()
    """Whose segments it refers to: they go before it."""

    @property
    def name(self) -> str:
        """What tells it from the others that are made of one result; a file can be called so."""
        of = [each.kind for each in self.refers[:1] if each.kind != "seg"]
        words = [self.kind, self.part, *of]
        if len(self.refers) > 1:
            words.append(f"of {len(self.refers)}")
        return "-".join(" ".join(filter(None, words)).split())


def products_of(target: Destination, finished: Finished, form: Form | None = None) -> tuple[Product, ...]:
    """What a destination gets: its forms, each whole or in parts, and the reports behind what they refer to.

    `form` is the one that a destination with "auto" takes; None: the first that it is asked for.
    """
    forms = _forms(target, form)
    written = {each: tuple(_parts(target, each, finished.label_map)) for each in forms}
    with_segments = [each for each in forms if each in WITH_SEGMENTS]
    measured = [Product("sr", refers=written[with_segments[0]])] if "sr" in target.outputs and with_segments else []
    others = [Product(kind) for kind in ("text", "sheet") if kind in target.outputs]
    return (*(product for each in forms for product in written[each]), *measured, *others)


def _forms(target: Destination, form: Form | None) -> tuple[Form, ...]:
    if "auto" in target.outputs:
        return (form or FORMS[0],)
    return tuple(each for each in FORMS if each in target.outputs)


def _parts(target: Destination, form: Form, found: LabelMap) -> Iterator[Product]:
    frames = _frames_of(found)
    groups = _groups(target.groups, found, frames) if form in GROUPED else {"": tuple(frames)}
    for group, values in groups.items():
        capped = _capped(values, frames, target.max_frames if form == "seg" else None)
        for number, some in enumerate(capped, start=1):
            part = f"{group} {number}".strip() if len(capped) > 1 else group
            yield Product(form, part, frozenset(some) if part else None)


def _frames_of(found: LabelMap) -> dict[int, int]:
    """In how many slices each label value with voxels is found, by rising value."""
    slices = np.zeros(256, dtype=np.intp)
    for plane in found.array:
        slices[np.unique(plane)] += 1
    return {int(value): int(slices[value]) for value in np.flatnonzero(slices) if value != 0}


def _groups(
    groups: Mapping[str, Sequence[str]], found: LabelMap, frames: Mapping[int, int]
) -> dict[str, tuple[int, ...]]:
    """The label values of each group that has any; a label is in the first group that names it."""
    if not groups:
        return {"": tuple(frames)}
    value_of = {segment.name: segment.value for segment in found.segments if segment.value in frames}
    left, parted = dict(value_of), dict[str, tuple[int, ...]]()
    for group, patterns in groups.items():
        members = [left.pop(name) for name in named(patterns, list(left))]
        if members:
            parted[group] = tuple(sorted(members))
    rest = {OTHERS: tuple(sorted(left.values()))} if left else {}
    return parted | rest


def _capped(values: Sequence[int], frames: Mapping[int, int], most: int | None) -> list[list[int]]:
    """Parts of at most so many frames, in the order of values; what alone has more is alone."""
    parts: list[list[int]] = []
    room = 0
    for value in values:
        if not parts or (most is not None and frames[value] > room):
            parts.append([])
            room = most or 0
        parts[-1].append(value)
        room -= frames[value]
    return parts


def restricted(finished: Finished, product: Product) -> Finished:
    """What one object is made of: of a part only its own structures."""
    if product.values is None:
        return finished
    found = finished.label_map
    values = sorted(product.values)
    array = np.where(np.isin(found.array, values), found.array, np.uint8(0))
    segments = tuple(segment for segment in found.segments if segment.value in product.values)
    return replace(
        finished,
        label_map=replace(found, array=array, segments=segments),
        identity=replace(finished.identity, part=product.part),
        measurements=tuple(each for each in finished.measurements if each.value in product.values),
    )
