"""The ledger in; what the JSON routes answer out: the ledger's own records, times in seconds since 1970 (UTC)."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.disk import Volume, problem
from service.jobfolder import JobFolder
from service.jobs import Job, SeriesRecord, SeriesState, Transition
from service.ledger import Ledger
from service.ledger_deletions import Deletion
from service.web.results import measurements_record, result_of

Record = dict[str, Any]


def series_record(ledger: Ledger, series: SeriesRecord) -> Record:
    """A series and its jobs, without their histories."""
    jobs = ledger.list_jobs(series_uid=series.series_uid)
    return {**asdict(series), "jobs": [asdict(job) for job in jobs]}


def whole_series_record(ledger: Ledger, jobs_folder: Path, series: SeriesRecord) -> Record:
    """A series with every transition, and its jobs with theirs."""
    jobs = ledger.list_jobs(series_uid=series.series_uid)
    return {
        **asdict(series),
        "files_deleted": deletion_record(ledger.deletion("series", series.series_uid)),
        "transitions": _steps(ledger.history("series", series.series_uid)),
        "jobs": [job_record(ledger, jobs_folder, job) for job in jobs],
    }


def deletion_record(gone: Deletion | None) -> Record | None:
    """When and why files were deleted; None where they were not."""
    return None if gone is None else {"at": gone.at, "cause": gone.cause, "files": gone.files, "bytes": gone.bytes}


def job_record(ledger: Ledger, jobs_folder: Path, job: Job) -> Record:
    """A job with all that is known of it: findings, measurements, objects, deliveries, transitions; but no path."""
    objects = [{k: v for k, v in asdict(made).items() if k != "path"} for made in ledger.objects(job.id)]
    return {
        **asdict(job),
        "findings": [asdict(finding) for finding in ledger.findings(job.id)],
        "measurements": measurements_record(result_of(JobFolder(jobs_folder, job.id))),
        "files_deleted": deletion_record(ledger.deletion("job", job.id)),
        "objects": objects,
        "deliveries": [asdict(delivery) for delivery in ledger.deliveries(job.id)],
        "transitions": _steps(ledger.history("job", job.id)),
    }


def health_record(ledger: Ledger) -> Record:
    """That the ledger answers, and how many stand in each state."""
    of_series = ledger.count_series()
    return {
        "status": "ok",
        "series": {state.value: of_series.get(state, 0) for state in SeriesState},
        "jobs": {state.value: number for state, number in ledger.count_jobs().items()},
    }


def volume_record(volume: Volume) -> Record:
    """A volume that the site uses: which of its folders lie there, how full it is and what that means."""
    return {
        "holds": volume.holds,
        "state": volume.state.word,
        "total_bytes": volume.free.total_bytes,
        "free_bytes": volume.free.free_bytes,
        "free_percent": round(volume.free.percent, 2),
        "problem": problem(volume),
    }


def _steps(history: Iterable[Transition]) -> list[Record]:
    return [asdict(step) for step in history]
