"""A complete series in; its jobs in the ledger, or the reason why it has none."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.fingerprint import series_fingerprint
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Laterality, Volume
from dicom_nodes.volumes import find_volumes
from service.config import Site
from service.evidence import read_evidence, write_evidence
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, SeriesRecord, SeriesState, Urgency, job_id
from service.ledger import Ledger
from service.observe import event
from service.protocol import Protocol, SideRule
from service.rejections import note_series, refusal
from service.routing.route import Route
from service.routing.rules import Rule, target_fault
from service.routing.series import SeriesDecision, SeriesVolumes, decide_series
from service.routing.settings import Routing
from service.submodel import SubModel
from service.times import clock_time

log = logging.getLogger(__name__)


def dispatch(site: Site, ledger: Ledger, routing: Routing, series: SeriesRecord) -> None:
    """Route a series that stands in `complete`; whatever happens, it stands elsewhere afterwards."""
    started = time.monotonic()
    paths = sorted((site.incoming / series.series_uid).glob("*.dcm"))
    if said := note_series(site, ledger, series.series_uid):
        ledger.move_series(series.series_uid, SeriesState.UNROUTED, said)
        return
    if refused := refusal(ledger, series.series_uid, paths):
        ledger.move_series(series.series_uid, SeriesState.FAILED, refused)
        event(log, logging.WARNING, "rejected", series_uid=series.series_uid, why=refused)
        return
    lacking = _lacks_deleted(ledger, series.series_uid, paths) or _lacks_listed(ledger, series.series_uid, paths)
    if lacking:
        ledger.move_series(series.series_uid, SeriesState.FAILED, lacking)
        event(log, logging.WARNING, "failed", series_uid=series.series_uid, reason=lacking)
        return
    fingerprint = series_fingerprint(paths)
    if fingerprint == series.fingerprint and ledger.list_jobs(series_uid=series.series_uid, limit=1):
        _stands(site, ledger, series, paths)
        return
    ledger.files_are_back("series", series.series_uid, "all of its instances came again, and more or others")
    revision = series.revision + (fingerprint != series.fingerprint)
    ledger.supersede_jobs(series.series_uid, revision)
    content = find_volumes(read_headers(paths))
    evidence = {volume.index: write_evidence(volume) for volume in content.volumes}
    ledger.keep_volumes(series.series_uid, series.study_uid, evidence)
    settled = study_settled(site, ledger, series)
    decision = decide_series(
        volumes_of(series, content.volumes),
        routing,
        left_out=content.left_out,
        study=study_of(ledger, series) if settled else (),
        settled=settled,
    )
    values: dict[str, int | str] = {"revision": revision, "fingerprint": fingerprint}
    seconds = round(time.monotonic() - started, 2)
    _settle(site, ledger, series, decision, values, seconds)


def _lacks_deleted(ledger: Ledger, series_uid: str, paths: Sequence[Path]) -> str:
    """What a series lacks of the files that were deleted of it, for a person; empty where it lacks nothing."""
    gone = ledger.deletion("series", series_uid)
    missing = 0 if gone is None else gone.missing(path.stem for path in paths)
    if gone is None or not missing:
        return ""
    at = clock_time(gone.at)
    return (
        f"{missing} of the instances whose files were deleted at {at} did not come again, and of half a series no "
        f"result is made; what was made before stands. Send the whole series"
    )


def _lacks_listed(ledger: Ledger, series_uid: str, paths: Sequence[Path]) -> str:
    """What a series that an archive was asked for lacks of what that lists; empty where it lacks nothing."""
    listed = ledger.listed_instances(series_uid)
    if len(paths) >= listed:
        return ""
    return f"the archive lists {listed} instances, {len(paths)} came; `sagittal pull` its study again"


def _stands(site: Site, ledger: Ledger, series: SeriesRecord, paths: Sequence[Path]) -> None:
    """Keep the jobs of a series whose content came again; where its files were deleted, they can be begun again."""
    if ledger.deletion("series", series.series_uid):
        volumes = {volume.index: volume for volume in find_volumes(read_headers(paths)).volumes}
        for job in ledger.list_jobs(series_uid=series.series_uid):
            if job.revision == series.revision and job.volume_index in volumes:
                JobFolder(site.jobs, job.id).save_volume(volumes[job.volume_index])
        ledger.files_are_back("series", series.series_uid, "all of its instances came again")
    cause = "the same instances as before came again: the result stands"
    ledger.route_series(series.series_uid, cause, series.explanation, [])


def _settle(
    site: Site,
    ledger: Ledger,
    series: SeriesRecord,
    decision: SeriesDecision,
    values: dict[str, int | str],
    seconds: float,
) -> None:
    """Write down where the series goes, with its jobs."""
    told = {"series_uid": series.series_uid, "seconds": seconds}
    if decision.state is SeriesState.ROUTED:
        jobs = jobs_of(site, ledger.now(), series, int(values["revision"]), decision)
        if ledger.is_backfill(series.series_uid):  # whatever it was marked as when it was new
            jobs = [replace(job, urgency=int(Urgency.BACKFILL)) for job in jobs]
        ledger.route_series(series.series_uid, decision.summary, decision.explanation, jobs, **values)
        event(log, logging.INFO, "routed", to=decision.summary, jobs=len(jobs), **told)
        return
    if decision.state is SeriesState.WAITING:  # its content counts as new until it is routed
        values = {"revision": series.revision, "fingerprint": series.fingerprint}
    ledger.move_series(
        series.series_uid, decision.state, decision.summary, explanation=decision.explanation, **values
    )
    level = logging.INFO if decision.state is SeriesState.WAITING else logging.WARNING
    event(log, level, decision.state.value, reason=decision.summary, **told)


def wake_waiting(site: Site, ledger: Ledger) -> None:
    """Send the series whose study is complete through routing."""
    for series in ledger.list_series(SeriesState.WAITING, limit=1000):
        if study_settled(site, ledger, series):
            ledger.move_series(series.series_uid, SeriesState.COMPLETE, "nothing more of its study came")


def study_settled(site: Site, ledger: Ledger, series: SeriesRecord) -> bool:
    """Whether no more series of the study are awaited: none is on its way, and none came for a while."""
    others = [each for each in ledger.series_of_study(series.study_uid) if each.series_uid != series.series_uid]
    last = max(each.last_heard_at for each in (*others, series))
    quiet = ledger.now() - last >= site.routing.study_quiet_seconds
    return quiet and not any(each.state is SeriesState.RECEIVING for each in others)


def study_of(ledger: Ledger, series: SeriesRecord) -> tuple[SeriesVolumes, ...]:
    """What is known of the other series of its study."""
    kept = ledger.volumes_of_study(series.study_uid)
    return tuple(
        volumes_of(each, tuple(map(read_evidence, kept[each.series_uid])))
        for each in ledger.series_of_study(series.study_uid)
        if each.series_uid != series.series_uid and each.series_uid in kept
    )


def volumes_of(series: SeriesRecord, volumes: tuple[Volume, ...]) -> SeriesVolumes:
    """The volumes of a series as routing is asked about them."""
    at = datetime.fromtimestamp(series.last_heard_at).astimezone()
    return SeriesVolumes(series.series_uid, volumes, series.calling_aet, at)


def jobs_of(site: Site, at: float, series: SeriesRecord, revision: int, decision: SeriesDecision) -> list[Job]:
    """The jobs that a decision gives, each with its volume fixed in its folder."""
    return [
        _job(site, at, series, revision, each.volume, route, each.decision.urgency)
        for each in decision.decided
        for route in each.decision.routes
    ]


def _job(
    site: Site, at: float, series: SeriesRecord, revision: int, volume: Volume, route: Route, urgency: int
) -> Job:
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
        urgency=int(urgency),
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


def assign_series(
    site: Site,
    ledger: Ledger,
    known: Sequence[SubModel],
    series_uid: str,
    target: str,
    volumes: frozenset[int] = frozenset(),
    side: str | None = None,
) -> list[Job]:
    """Route a held or unrouted series by the word of a person; `volumes` empty: all of it.

    Raises:
        ConfigurationError: the series, the sub-model, its protocol or the volume is not there to be chosen.
    """
    series = ledger.series(series_uid)
    if series is None or series.state not in (SeriesState.HELD, SeriesState.UNROUTED):
        stands = "not known here" if series is None else series.state.value
        raise ConfigurationError(f"series {series_uid} is {stands}; one that is held or unrouted can be assigned")
    submodel, protocol = chosen_protocol(target, known)
    content = find_volumes(read_headers(sorted((site.incoming / series_uid).glob("*.dcm"))))
    there = {volume.index: volume for volume in content.volumes}
    if not there or not volumes <= there.keys():
        names = ", ".join(map(str, there)) or "none"
        raise ConfigurationError(f"series {series_uid} has no such volume; there are {names}")
    laterality = None if side is None or protocol.side is SideRule.NONE else Laterality(side)
    rule = Rule(name="a person", run=(target,))
    at, revision = ledger.now(), max(series.revision, 1)
    jobs = [
        _job(site, at, series, revision, there[index], Route(submodel.name, protocol.name, laterality, rule), 0)
        for index in sorted(volumes or there)
    ]
    cause = f"{protocol.name} ({submodel.name}), assigned by a person"
    ledger.route_series(series_uid, cause, series.explanation, jobs, revision=revision)
    return jobs


def chosen_protocol(target: str, known: Sequence[SubModel]) -> tuple[SubModel, Protocol]:
    """The sub-model and protocol that a target names; raises ConfigurationError."""
    if fault := target_fault(target, known):
        raise ConfigurationError(fault)
    name, _, wanted = (part.strip() for part in target.partition(":"))
    submodel = next(each for each in known if each.name == name)
    if not wanted and len(submodel.protocol) > 1:
        served = ", ".join(each.name for each in submodel.protocol)
        raise ConfigurationError(f"{name} serves several protocols; write it as {name}: and one of {served}")
    return submodel, submodel.serves(wanted or submodel.protocol[0].name)
