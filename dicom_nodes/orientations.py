"""All frames of a series in; parted by orientation out, and what turns instead of stacking, with its reason.

Frames of several orientations can never be one volume. Each orientation of a localizer has few slices; slices that
turn in their plane share one normal; those of a radial acquisition have normals that turn about one axis.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_nodes.errors import Rule
from dicom_nodes.geometry import Fault, Limits, affine_of, normal_of, places, plane_of
from dicom_nodes.headers import Frame
from dicom_nodes.splitting import Part

_SAME_NORMAL = 1e-3
"""Two normals whose cosines differ by less than this are the same (0.06 degrees)."""
_SPOKES = 4
"""So many orientations, and more, may be those of a radial acquisition; a localizer has three."""
_SLICES_OF_A_SPOKE = 2
_OUT_OF_FAN = 0.02
"""How far the normals of a radial acquisition may lie out of their common plane, as a cosine (1.1 degrees)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Frames of one orientation."""

    cosines: npt.NDArray[np.float64]
    frames: list[Frame]

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        return normal_of(self.cosines.tolist())


def part_by_orientation(
    frames: Iterable[Frame], limits: Limits
) -> tuple[tuple[Part, ...], tuple[tuple[Part, Fault], ...]]:
    """Part frames by orientation: those that may be volumes, and those that turn, with the rule that they break."""
    groups = _groups(frames, limits)
    if len(groups) <= 1:
        return tuple(Part(tuple(group.frames), (), limits.min_slices) for group in groups), ()
    if _is_radial(groups, limits):
        return (), (_radial(groups),)
    turning = _turning(groups, limits)
    turned = {id(group) for bundle in turning for group in bundle}
    still = [group for group in groups if id(group) not in turned]
    return tuple(_named(still, limits)), tuple(_in_plane(bundle) for bundle in turning)


def _groups(frames: Iterable[Frame], limits: Limits) -> list[_Group]:
    """Gather frames of the same orientation, in the order in which the scanner began them."""
    groups: list[_Group] = []
    by_value: dict[tuple[float, ...] | None, _Group] = {}
    for frame in sorted(frames, key=lambda frame: (frame.instance_number, frame.ref.sop_instance_uid)):
        group = by_value.get(frame.orientation)
        if group is None:
            cosines = np.array(frame.orientation, dtype=np.float64)
            near = (each for each in groups if np.abs(each.cosines - cosines).max() < limits.same_direction)
            group = next(near, None)
            if group is None:
                group = _Group(cosines, [])
                groups.append(group)
            by_value[frame.orientation] = group
        group.frames.append(frame)
    return groups


def _named(groups: Sequence[_Group], limits: Limits) -> Iterable[Part]:
    """Name each orientation by its plane, and by a number where several have the same."""
    planes = [plane_of(affine_of(group.frames))[0].value for group in groups]
    alone = len(groups) == 1
    for number, (plane, group) in enumerate(zip(planes, groups, strict=True), start=1):
        counted = plane if planes.count(plane) == 1 else f"{plane} {planes[:number].count(plane)}"
        yield Part(tuple(group.frames), () if alone else (counted,), limits.min_slices_per_orientation)


def _is_radial(groups: Sequence[_Group], limits: Limits) -> bool:
    """Say whether a few slices lie in each of many planes that turn about one axis."""
    if len(groups) < _SPOKES:
        return False
    if any(len(places(group.frames, limits.same_place_mm)) > _SLICES_OF_A_SPOKE for group in groups):
        return False
    normals = np.array([group.normal for group in groups])
    _, strengths, axes = np.linalg.svd(normals, full_matrices=True)
    fan = np.abs(normals @ axes[2]).max() < _OUT_OF_FAN
    return bool(fan and strengths[1] > 1e-2)


def _turning(groups: Sequence[_Group], limits: Limits) -> list[list[_Group]]:
    """Find the orientations that share a normal with another while one of them has too few slices for a volume."""
    bundles: list[list[_Group]] = []
    for group in groups:
        for bundle in bundles:
            if np.abs(np.abs(bundle[0].normal @ group.normal) - 1) < _SAME_NORMAL**2 / 2:
                bundle.append(group)
                break
        else:
            bundles.append([group])
    return [
        bundle
        for bundle in bundles
        if len(bundle) > 1
        and any(
            len(places(group.frames, limits.same_place_mm)) < limits.min_slices_per_orientation for group in bundle
        )
    ]


def _in_plane(bundle: Sequence[_Group]) -> tuple[Part, Fault]:
    frames = tuple(frame for group in bundle for frame in group.frames)
    rows = [group.cosines[:3] for group in bundle]
    most = max(float(np.degrees(np.arccos(np.clip(row @ rows[0], -1, 1)))) for row in rows)
    detail = (
        f"{len(frames)} {plane_of(affine_of(bundle[0].frames))[0].value} images whose rows turn in their plane,"
        f" {len(bundle)} orientations about one normal, up to {most:.1f} degrees apart"
    )
    return Part(frames, (), 0), Fault(Rule.ROTATED, detail)


def _radial(groups: Sequence[_Group]) -> tuple[Part, Fault]:
    frames = tuple(frame for group in groups for frame in group.frames)
    detail = f"a radial acquisition, {len(frames)} images in {len(groups)} planes that turn about one axis"
    return Part(frames, (), 0), Fault(Rule.ROTATED, detail)
