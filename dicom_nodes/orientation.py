"""An array and its affine in; the array turned to the axes a model expects out, with the exact way back.

Only whole axes are permuted and flipped: no voxel value is computed, no voxel moves in the patient, and what is
oblique stays so in the affine. Axes are three letters, the directions in which the array's x, y and z indices
(column, row, slice) grow: `LAS` means columns toward the left, rows toward the front, slices toward the head.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from dicom_nodes.types import Affine

Element = TypeVar("Element", bound=np.generic)
Label = TypeVar("Label", bound=np.generic)

_LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Letter to (patient axis, sign) in LPS+ (PS3.3 C.7.6.2.1.1)."""
_LETTER_OF = {place: letter for letter, place in _LETTERS.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Reoriented(Generic[Element]):
    """An array on the axes that were asked for, and how it came there."""

    array: npt.NDArray[Element]
    """(z, y, x), C-contiguous."""
    affine: Affine
    """Of the turned array: each voxel is where it was in the patient."""
    transposition: tuple[int, int, int]
    """Array axis k of the result is array axis `transposition[k]` of the source."""
    flipped: tuple[int, ...]
    """Array axes of the result that run against those of the source."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x) of the turned array."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def undo(self, array: npt.NDArray[Label]) -> npt.NDArray[Label]:
        """Turn an array (z, y, x) on these axes, as a label map, back to the axes of the source, exactly.

        Raises ValueError where its shape is not that of the turned array.
        """
        if array.shape != self.array.shape:
            raise ValueError(f"an array of {array.shape} does not lie on the turned grid {self.array.shape}")
        back = tuple(int(axis) for axis in np.argsort(self.transposition))
        return np.ascontiguousarray(np.flip(array, self.flipped).transpose(back))


def reorient(array: npt.NDArray[Element], affine: Affine, axes: str) -> Reoriented[Element]:
    """Turn an array (z, y, x) with its affine (4, 4; (x, y, z) to LPS mm) to `axes`, as `LAS`.

    An oblique array is turned to the nearest such axes. Raises ValueError for impossible axes or a singular affine.
    """
    wanted = _places(axes)
    present = _places(axis_letters(affine))
    source = [next(i for i, (axis, _) in enumerate(present) if axis == wanted_axis) for wanted_axis, _ in wanted]
    against = [present[i][1] != sign for i, (_, sign) in zip(source, wanted, strict=True)]
    to_source = np.zeros((4, 4))
    to_source[3, 3] = 1.0
    for x, (i, reverse) in enumerate(zip(source, against, strict=True)):
        to_source[i, x] = -1.0 if reverse else 1.0
        to_source[i, 3] = array.shape[2 - i] - 1 if reverse else 0.0
    z, y, x = 2 - source[2], 2 - source[1], 2 - source[0]
    flipped = tuple(k for k in range(3) if against[2 - k])
    turned = np.ascontiguousarray(np.flip(array.transpose(z, y, x), flipped))
    return Reoriented(turned, affine @ to_source, (z, y, x), flipped)


def axis_letters(affine: Affine) -> str:
    """Name the patient directions nearest to growing x, y and z, one letter each, each patient axis once.

    Of the 24 ways to lay an array of this handedness along the patient axes, the one with the largest sum of
    cosines is taken, so a doubly oblique array is never named a mirror image of itself. At an exact tie, as at
    45 degrees, the first in the order of `itertools.permutations` wins, whatever the rounding.
    Raises ValueError where the affine is singular.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or not lengths.all() or abs(np.linalg.det(columns / lengths)) < 1e-3:
        raise ValueError("the affine does not span a volume")
    directions = columns / lengths
    candidates = _layings(right_handed=bool(np.linalg.det(directions) > 0))
    cosines = [
        round(sum(sign * directions[axis, i] for i, (axis, sign) in enumerate(laying)), 6) for laying in candidates
    ]
    return "".join(_LETTER_OF[place] for place in candidates[int(np.argmax(cosines))])


@cache
def _layings(right_handed: bool) -> tuple[tuple[tuple[int, int], ...], ...]:
    """List the 24 ways of this handedness to lay x, y and z along patient axes: (axis, sign) for each."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[list(order), range(3)] = signs
            if (np.linalg.det(matrix) > 0) == right_handed:
                found.append(tuple(zip(order, signs, strict=True)))
    return tuple(found)


def _places(axes: str) -> list[tuple[int, int]]:
    """Translate three letters to (patient axis, sign) each; ValueError where they do not name three axes."""
    places = [_LETTERS[letter] for letter in axes if letter in _LETTERS]
    if len(axes) != 3 or len({axis for axis, _ in places}) != 3:
        raise ValueError(f"axes {axes!r} are not three letters, one each of L/R, A/P and S/I")
    return places
