"""A complete series in; its jobs in the ledger, or the reason why it has none."""

import logging
import time
from collections.abc import Sequence

from dicom_nodes.errors import Rule, SeriesUnreadable
from dicom_nodes.fingerprint import series_fingerprint
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Volume
from dicom_nodes.volumes import find_volumes
from service.config import Site
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, SeriesRecord, SeriesState, job_id
from service.ledger import Ledger
from service.observe import event
from service.route import Route, RouteDecision, decide
from service.submodel import SubModel

log = logging.getLogger(__name__)

NOT_FOR_US = frozenset({Rule.MODALITY, Rule.SOP_CLASS, Rule.DERIVED, Rule.COLOUR})
"""Rules whose breach is no fault of the series: it is simply no acquired MR volume."""


def dispatch(site: Site, ledger: Ledger, submodels: Sequence[SubModel], series: SeriesRecord) -> None:
    """Route a series that stands in `complete`; whatever happens, it stands elsewhere afterwards."""
    started = time.monotonic()
    paths = sorted((site.incoming / series.series_uid).glob("*.dcm"))
    fingerprint = series_fingerprint(paths)
    if fingerprint == series.fingerprint and ledger.list_jobs(series_uid=series.series_uid, limit=1):
        cause = "the same instances as before came again: the result stands"
        ledger.route_series(series.series_uid, cause, series.explanation, [])
        return
    revision = series.revision + (fingerprint != series.fingerprint)
    ledger.supersede_jobs(series.series_uid, revision)
    content = find_volumes(read_headers(paths))
    decisions = [(volume, decide(volume, submodels, running=site.models.run)) for volume in content.volumes]
    found = [(volume, route) for volume, decision in decisions for route in decision.routes]
    explanation = _explain(decisions, content.left_out)
    values = {"revision": revision, "fingerprint": fingerprint}
    seconds = round(time.monotonic() - started, 2)
    if found:
        jobs = [_job(site, ledger.now(), series, revision, volume, route) for volume, route in found]
        cause = ", ".join(sorted({f"{job.protocol} ({job.submodel})" for job in jobs}))
        ledger.route_series(series.series_uid, cause, explanation, jobs, **values)
        event(log, logging.INFO, "routed", series_uid=series.series_uid, to=cause, jobs=len(jobs), seconds=seconds)
        return
    state, reason = _no_job(decisions, content.left_out)
    ledger.move_series(series.series_uid, state, reason, explanation=explanation, **values)
    event(log, logging.WARNING, state.value, series_uid=series.series_uid, reason=reason, seconds=seconds)


def _no_job(
    decisions: Sequence[tuple[Volume, RouteDecision]], left_out: Sequence[SeriesUnreadable]
) -> tuple[SeriesState, str]:
    """Where a series without a job ends, and why, in one line."""
    if decisions:
        return SeriesState.UNROUTED, "; ".join(dict.fromkeys(decision.summary for _, decision in decisions))
    reasons = [error for error in left_out if error.rule not in NOT_FOR_US]
    if reasons:
        return SeriesState.FAILED, "; ".join(dict.fromkeys(str(error) for error in reasons))
    return SeriesState.UNROUTED, "; ".join(dict.fromkeys(str(error) for error in left_out)) or "no instances"


def _explain(decisions: Sequence[tuple[Volume, RouteDecision]], left_out: Sequence[SeriesUnreadable]) -> str:
    lines: list[str] = []
    for volume, decision in decisions:
        z, y, x = volume.shape
        name = f" ({volume.name})" if volume.name else ""
        lines.append(f"volume {volume.index}{name}: {x} x {y} x {z}, {volume.plane.value}")
        lines.extend(f"  {reason}" for reason in decision.reasons)
    lines.extend(f"left out: {error}" for error in left_out)
    return "\n".join(lines)


def _job(site: Site, at: float, series: SeriesRecord, revision: int, volume: Volume, route: Route) -> Job:
    name = job_id(series.series_uid, revision, volume.index, route.submodel, route.protocol)
    JobFolder(site.jobs, name).save_volume(volume)
    return Job(
        id=name,
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        revision=revision,
        volume_index=volume.index,
        volume_name=volume.name,
        submodel=route.submodel,
        protocol=route.protocol,
        laterality=route.laterality.value if route.laterality else "",
        state=JobState.QUEUED,
        stage="",
        percent=0,
        attempts=0,
        owner="",
        lease_until=0.0,
        hinted_at=0.0,
        reason="",
        model_version="",
        created_at=at,
        updated_at=at,
    )
