"""The volumes of one series, and of the rest of its study, in; where the series goes out, with every reason.

Pure: dispatch, `sagittal route` and `sagittal replay` all ask here, so that what is explained is what is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_nodes.errors import Rule as Broken
from dicom_nodes.errors import SeriesUnreadable
from dicom_nodes.types import Volume
from service.jobs import SeriesState, Urgency
from service.routing.bodypart import body_part_of
from service.routing.choice import Decided, choose, study_wide
from service.routing.route import SOME_DAY, decide
from service.routing.settings import Routing

NOT_FOR_US = frozenset({
    Broken.MODALITY, Broken.SOP_CLASS, Broken.DERIVED, Broken.COLOUR, Broken.ORIENTATION, Broken.MOVIE,
})  # fmt: skip
"""Rules whose breach is no fault of the series: it is simply no acquired MR volume, as a localizer is none."""


@dataclass(frozen=True, slots=True)
class SeriesVolumes:
    """The volumes of one series, and how they came."""

    series_uid: str
    volumes: tuple[Volume, ...]
    calling_aet: str = ""
    at: datetime = SOME_DAY
    """When the series was complete, in the site's time."""


@dataclass(frozen=True, slots=True)
class SeriesDecision:
    """Where a series goes."""

    series_uid: str
    state: SeriesState
    """ROUTED, WAITING (for the rest of the study), UNROUTED, HELD or FAILED."""
    summary: str
    decided: tuple[Decided, ...]
    left_out: tuple[SeriesUnreadable, ...]

    @property
    def urgency(self) -> Urgency:
        """The greatest of its volumes."""
        return max((each.decision.urgency for each in self.decided), default=Urgency.ROUTINE)

    @property
    def routes(self) -> tuple[tuple[int, str, str, str], ...]:
        """Volume index, sub-model, protocol and side of every job that it gives, in order."""
        return tuple(
            (each.volume.index, route.submodel, route.protocol, route.laterality.value if route.laterality else "")
            for each in self.decided
            for route in each.decision.routes
        )

    @property
    def explanation(self) -> str:
        """Everything, line by line, for a person."""
        lines = [line for each in self.decided for line in _told(each)]
        return "\n".join([*lines, *(f"left out: {error}" for error in self.left_out)])

    def record(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "series_uid": self.series_uid,
            "state": self.state.value,
            "summary": self.summary,
            "urgency": self.urgency.name.lower(),
            "volumes": [_volume_record(each) for each in self.decided],
            "left_out": [{"rule": e.rule.value, "detail": e.detail, "remedy": e.remedy} for e in self.left_out],
        }


def decide_series(
    series: SeriesVolumes,
    routing: Routing,
    *,
    left_out: Sequence[SeriesUnreadable] = (),
    study: Sequence[SeriesVolumes] = (),
    settled: bool = True,
) -> SeriesDecision:
    """Decide where a series goes.

    `study` are the other series of its study that have come, `settled` whether more of them are not awaited: until
    then a decision that they could change is put off. Their order does not change the outcome.
    """
    named = [_names(other, routing) for other in study] if settled else []
    mine = [_decided(series, volume, routing, named) for volume in series.volumes]
    if not settled and (why := _awaited(mine)):
        return SeriesDecision(series.series_uid, SeriesState.WAITING, why, tuple(mine), tuple(left_out))
    rest: list[Decided] = []
    if settled and study_wide(mine):
        rest = [
            _decided(other, volume, routing, [_names(s, routing) for s in (series, *study) if s is not other])
            for other in study
            for volume in other.volumes
        ]
    chosen = choose([*mine, *rest])[: len(mine)]
    state, summary = _outcome(chosen, left_out)
    return SeriesDecision(series.series_uid, state, summary, chosen, tuple(left_out))


def _decided(series: SeriesVolumes, volume: Volume, routing: Routing, named: Sequence[frozenset[str]]) -> Decided:
    return Decided(volume, decide(volume, routing, calling_aet=series.calling_aet, at=series.at, study=named))


def _names(series: SeriesVolumes, routing: Routing) -> frozenset[str]:
    """The body part that the headers of a series name by themselves."""
    parts = (body_part_of(volume, routing).agreed[:1] for volume in series.volumes)
    return frozenset(part for agreed in parts for part in agreed)


def _awaited(decided: Sequence[Decided]) -> str:
    lacks = [each.decision.lacks for each in decided if each.decision.lacks]
    if lacks:
        return f"waits for the other series of its study: {'; '.join(dict.fromkeys(lacks))}"
    return "waits for the other series of its study: the best of them is wanted" if study_wide(decided) else ""


def _outcome(decided: Sequence[Decided], left_out: Sequence[SeriesUnreadable]) -> tuple[SeriesState, str]:
    """Where a series ends, and why, in one line."""
    routed = [route for each in decided for route in each.decision.routes]
    if routed:
        return SeriesState.ROUTED, ", ".join(sorted({f"{each.protocol} ({each.submodel})" for each in routed}))
    if decided:
        doubtful = any(each.decision.doubtful for each in decided)
        summary = "; ".join(dict.fromkeys(each.decision.summary for each in decided))
        return (SeriesState.HELD if doubtful else SeriesState.UNROUTED), summary
    faults = [error for error in left_out if error.rule not in NOT_FOR_US]
    if faults:
        return SeriesState.FAILED, "; ".join(dict.fromkeys(str(error) for error in faults))
    return SeriesState.UNROUTED, "; ".join(dict.fromkeys(str(error) for error in left_out)) or "no instances"


def _told(each: Decided) -> Iterable[str]:
    yield _title(each.volume)
    yield from (f"  {reason}" for reason in (*each.decision.reasons, *each.passed_over))


def _title(volume: Volume) -> str:
    z, y, x = volume.shape
    name = f" ({volume.name})" if volume.name else ""
    across, rows, columns = volume.extent_mm
    return (
        f"volume {volume.index}{name}: {volume.plane.value}, {x} x {y} x {z}, covering {columns:.0f} x {rows:.0f} x"
        f" {across:.0f} mm, {volume.oblique_degrees:.0f}° oblique"
    )


def _volume_record(each: Decided) -> Mapping[str, Any]:
    volume, decision = each.volume, each.decision
    part = decision.body_part
    return {
        "index": volume.index,
        "name": volume.name,
        "plane": volume.plane.value,
        "oblique_degrees": round(volume.oblique_degrees, 1),
        "slices": volume.shape[0],
        "matrix": list(volume.shape[1:]),
        "spacing_mm": [round(each, 3) for each in volume.spacing_mm],
        "coverage_mm": [round(each, 1) for each in volume.extent_mm],
        "kind": sorted(decision.kind.names),
        "body_part": list(part.agreed),
        "confidence": round(part.confidence, 2),
        "doubt": part.doubt,
        "witnesses": [
            {"witness": each.witness, "said": each.said, "names": dict(each.names), "weight": each.weight}
            for each in part.heard
        ],
        "rules": [
            {"rule": each.rule, "matched": not each.failed, "failed": each.failed} for each in decision.tried
        ],
        "passed_over": list(each.passed_over),
        "summary": decision.summary,
        "routes": [
            {
                "submodel": route.submodel,
                "protocol": route.protocol,
                "laterality": route.laterality.value if route.laterality else "",
                "rule": route.rule.name,
            }
            for route in decision.routes
        ],
    }
