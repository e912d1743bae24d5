"""The ledger in; what the JSON routes answer out: the ledger's own records, times in seconds since 1970 (UTC)."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.jobfolder import JobFolder
from service.jobs import Job, SeriesRecord, SeriesState, Transition
from service.ledger import Ledger
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
        "transitions": _steps(ledger.history("series", series.series_uid)),
        "jobs": [job_record(ledger, jobs_folder, job) for job in jobs],
    }


def job_record(ledger: Ledger, jobs_folder: Path, job: Job) -> Record:
    """A job with all that is known of it: findings, measurements, objects, deliveries, transitions; but no path."""
    objects = [{k: v for k, v in asdict(made).items() if k != "path"} for made in ledger.objects(job.id)]
    return {
        **asdict(job),
        "findings": [asdict(finding) for finding in ledger.findings(job.id)],
        "measurements": measurements_record(result_of(JobFolder(jobs_folder, job.id))),
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


def _steps(history: Iterable[Transition]) -> list[Record]:
    return [asdict(step) for step in history]
