"""Logits come in band by band and are kept, in memory or in a file without a name; one class at a time out.

Arrays are (class, a, b, c) in half precision, on the grid and in the order of axes of the plans.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

BYTES = 2
"""Of one logit."""
Shape = tuple[int, int, int]
Places = npt.NDArray[np.intp]


class Logits(Protocol):
    """What the network found: written in bands along one axis, read class by class."""

    @property
    def classes(self) -> int:
        """How many there are, the background with them."""
        ...

    @property
    def shape(self) -> Shape:
        """(a, b, c)."""
        ...

    def one(self, number: int) -> torch.Tensor:
        """(1, a, b, c) of one class."""
        ...

    def band(self, number: int, axis: int, first: int, end: int) -> torch.Tensor:
        """What was put for one class, from `first` to before `end` along `axis`: (a, b, c)."""
        ...

    def at(self, axis: int, a: Places, b: Places, c: Places) -> torch.Tensor:
        """What was put for all classes at some places, those along `axis` being near one another: (class, ...)."""
        ...

    def put(self, number: int, axis: int, first: int, values: torch.Tensor) -> None:
        """Keep a band (a, b, c) of one class, from `first` on along `axis`."""
        ...


class InMemory:
    """All logits as one tensor."""

    def __init__(self, whole: torch.Tensor) -> None:
        self.whole = whole

    @property
    def classes(self) -> int:
        """As `Logits.classes`."""
        return int(self.whole.shape[0])

    @property
    def shape(self) -> Shape:
        """As `Logits.shape`."""
        _, a, b, c = self.whole.shape
        return int(a), int(b), int(c)

    def one(self, number: int) -> torch.Tensor:
        """As `Logits.one`; a view."""
        return self.whole[number : number + 1]

    def band(self, number: int, axis: int, first: int, end: int) -> torch.Tensor:
        """As `Logits.band`; a view."""
        return self.whole[number].narrow(axis, first, end - first)

    def at(self, axis: int, a: Places, b: Places, c: Places) -> torch.Tensor:
        """As `Logits.at`."""
        return torch.from_numpy(self.whole.numpy()[:, a, b, c])

    def put(self, number: int, axis: int, first: int, values: torch.Tensor) -> None:
        """As `Logits.put`."""
        self.band(number, axis, first, first + values.shape[axis]).copy_(values)


class OnDisk:
    """Each class a stretch of one file that has no name: nothing of it is left, however the process ends."""

    def __init__(self, classes: int, shape: Shape, axis: int, folder: Path | None) -> None:
        """`axis` is the one that bands lie along: in the file it is the first of each class."""
        self.classes, self.shape, self._axis = classes, shape, axis
        self._lying = (shape[axis], *(n for other, n in enumerate(shape) if other != axis))
        self._row = BYTES * self._lying[1] * self._lying[2]
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed at the end of the block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def one(self, number: int) -> torch.Tensor:
        """As `Logits.one`."""
        return self.band(number, self._axis, 0, self._lying[0])[None]

    def band(self, number: int, axis: int, first: int, end: int) -> torch.Tensor:
        """As `Logits.band`, of the axis that was given; raises OSError where the disk fails."""
        self._go_to(number, axis, first)
        lying = np.fromfile(self._file, np.float16, (end - first) * self._row // BYTES)
        return torch.from_numpy(lying.reshape(end - first, *self._lying[1:])).movedim(0, axis).contiguous()

    def at(self, axis: int, a: Places, b: Places, c: Places) -> torch.Tensor:
        """As `Logits.at`, of the axis that was given; raises OSError where the disk fails."""
        places = [a, b, c]
        first, end = int(places[axis].min()), int(places[axis].max()) + 1
        places[axis] = places[axis] - first
        bands = (self.band(number, axis, first, end).numpy() for number in range(self.classes))
        return torch.from_numpy(np.stack([band[tuple(places)] for band in bands]))

    def put(self, number: int, axis: int, first: int, values: torch.Tensor) -> None:
        """As `Logits.put`, of the axis that was given; raises OSError where the disk is full."""
        left = values.movedim(axis, 0).contiguous().numpy().data.cast("B")
        self._go_to(number, axis, first)
        while left:
            left = left[self._file.write(left) :]

    def _go_to(self, number: int, axis: int, first: int) -> None:
        if axis != self._axis:
            raise ValueError(f"bands of this file lie along axis {self._axis}, not {axis}")
        self._file.seek((number * self._lying[0] + first) * self._row)


@contextmanager
def kept(classes: int, shape: Shape, axis: int, on_disk: bool, folder: Path | None) -> Iterator[InMemory | OnDisk]:
    """Room for logits, in memory or on disk, for as long as the block runs."""
    if not on_disk:
        yield InMemory(torch.empty((classes, *shape), dtype=torch.half))
        return
    with OnDisk(classes, shape, axis, folder) as file:
        yield file
