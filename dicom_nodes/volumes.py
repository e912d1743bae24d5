"""Headers of one series in; the volumes that lie in it out, and the rule that broke for all that is left out.

Objects are screened one by one (`screen`), their frames parted by orientation (`orientations`), each of these
split until it stacks (`splitting`, `geometry`). What is bad is left out and does not disturb the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dicom_nodes.errors import Rule, SeriesUnreadable
from dicom_nodes.facts import volume_facts
from dicom_nodes.geometry import Fault, Limits, Stack, plane_of
from dicom_nodes.headers import Frame, Header, Headers, by_series
from dicom_nodes.orientations import part_by_orientation
from dicom_nodes.screen import REMEDIES, screen
from dicom_nodes.splitting import Part, resolve
from dicom_nodes.types import Volume

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class SeriesContent:
    """What is in a series: its volumes, and what could not become one."""

    volumes: tuple[Volume, ...]
    left_out: tuple[SeriesUnreadable, ...]

    def explain(self) -> tuple[str, ...]:
        """One line for each volume and each part that was left out."""
        return (*map(describe, self.volumes), *(str(error) for error in self.left_out))


def find_volumes(headers: Headers, limits: Limits = DEFAULT_LIMITS) -> SeriesContent:
    """Find the volumes of a series; never raises for what the headers say.

    Headers of several series are taken series by series, in the order of their UIDs. Volumes are ordered by the
    traits that part them. The order in which files were given makes no difference.
    """
    volumes: list[Volume] = []
    left_out = [
        SeriesUnreadable(Rule.FILE, "unknown", f"{file.path.name}: {file.reason}", REMEDIES[Rule.FILE])
        for file in sorted(headers.unreadable, key=lambda file: file.path)
    ]
    for series_uid, series in sorted(by_series(headers).items()):
        ordered = sorted(series.read, key=lambda header: (header.sop_instance_uid, header.path))
        content = _of_one_series(series_uid, ordered, limits)
        volumes += content.volumes
        left_out += content.left_out
    return SeriesContent(tuple(volumes), tuple(left_out))


def describe(volume: Volume) -> str:
    """One line that a person reads: which volume, its plane, matrix and spacing."""
    z, y, x = volume.shape
    dz, dy, dx = volume.spacing_mm
    named = f" ({volume.name})" if volume.name else ""
    oblique = f", {volume.oblique_degrees:.0f}° oblique" if volume.oblique_degrees >= 0.5 else ""
    return (
        f"series {volume.series_uid}: volume {volume.index}{named}: {volume.plane.value}{oblique},"
        f" {z} slices of {y}×{x}, {dz:.2f}×{dy:.2f}×{dx:.2f} mm"
    )


def _of_one_series(series_uid: str, headers: Sequence[Header], limits: Limits) -> SeriesContent:
    good, refused = screen(series_uid, headers)
    owner = {header.sop_instance_uid: header for header in good}
    orientations, turned = part_by_orientation((frame for header in good for frame in header.frames), limits)
    found: list[tuple[Part, Stack]] = []
    faults: list[tuple[Part, Fault]] = [*turned]
    for orientation in orientations:
        for part, result in resolve(orientation, limits):
            fault = result if isinstance(result, Fault) else _pixel_fault(result.frames, owner)
            if fault:
                faults.append((part, fault))
            elif isinstance(result, Stack):
                found.append((part, result))
    return SeriesContent(
        tuple(
            _volume(number, part, result, owner[result.frames[0].ref.sop_instance_uid])
            for number, (part, result) in enumerate(found, start=1)
        ),
        (*refused, *_errors(series_uid, faults, limits)),
    )


def _errors(series_uid: str, faults: Iterable[tuple[Part, Fault]], limits: Limits) -> Iterable[SeriesUnreadable]:
    """Say what is wrong with each part; the orientations of a localizer are told in one."""
    scouts: list[str] = []
    for part, fault in faults:
        name = ", ".join(part.labels)
        if fault.rule is Rule.ORIENTATION:
            scouts.append(f"{name} with {fault.detail}")
        else:
            detail = f"{name}: {fault.detail}" if name else fault.detail
            yield SeriesUnreadable(fault.rule, series_uid, detail, REMEDIES[fault.rule])
    if scouts:
        needed = (
            f"in a series of several orientations each needs {limits.min_slices_per_orientation} slices,"
            " a localizer has fewer"
        )
        detail = f"{', '.join(scouts)}; {needed}"
        yield SeriesUnreadable(Rule.ORIENTATION, series_uid, detail, REMEDIES[Rule.ORIENTATION])


def _pixel_fault(frames: Sequence[Frame], owner: Mapping[str, Header]) -> Fault | None:
    """Name the first image of a volume whose pixel data are not whole."""
    for frame in frames:
        fault = owner[frame.ref.sop_instance_uid].pixel_fault
        if fault:
            return Fault(fault[0], f"instance {frame.ref.sop_instance_uid}: {fault[1]}")
    return None


def _volume(index: int, part: Part, found: Stack, header: Header) -> Volume:
    plane, oblique_degrees = plane_of(found.affine)
    return Volume(
        series_uid=header.series_uid,
        study_uid=header.study_uid,
        frame_of_reference_uid=header.frame_of_reference_uid,
        index=index,
        name=", ".join(part.labels),
        frames=tuple(frame.ref for frame in found.frames),
        affine=found.affine,
        shape=(len(found.frames), *found.frames[0].matrix),
        plane=plane,
        oblique_degrees=oblique_degrees,
        facts=volume_facts([frame.facts for frame in found.frames]),
    )
