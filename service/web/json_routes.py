"""The JSON twins of the pages, for monitoring and for programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from service.disk import DiskWatch
from service.jobs import JobState, SeriesState
from service.ledger import Ledger
from service.web import records
from service.web.models import SiteModels, inventory_record

Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many, the latest first.")]


def json_routes(
    ledger: Ledger, models: SiteModels, rules_fault: Callable[[], str], jobs_folder: Path, disk: DiskWatch
) -> APIRouter:
    """Every route that answers with JSON; `jobs_folder` holds the files of the jobs."""
    routes = APIRouter()

    @routes.get("/api/series")
    def list_series(state: Annotated[list[SeriesState] | None, Query()] = None, limit: Limit = 200) -> Any:
        """The latest series, each with its jobs."""
        return [records.series_record(ledger, each) for each in ledger.list_series(*(state or ()), limit=limit)]

    @routes.get("/api/series/{series_uid}")
    def one_series(series_uid: str) -> Any:
        """One series: its transitions, its route's explanation, its jobs with deliveries and transitions."""
        series = ledger.series(series_uid)
        if series is None:
            raise HTTPException(404, f"no series {series_uid}: nothing of it has been received")
        return records.whole_series_record(ledger, jobs_folder, series)

    @routes.get("/api/jobs")
    def list_jobs(state: Annotated[list[JobState] | None, Query()] = None, limit: Limit = 200) -> Any:
        """The newest jobs."""
        return ledger.list_jobs(*(state or ()), limit=limit)

    @routes.get("/api/jobs/{job_id}")
    def one_job(job_id: str) -> Any:
        """One job: state, stage and per cent, with its measurements, deliveries and transitions."""
        job = ledger.job(job_id)
        if job is None:
            raise HTTPException(404, f"no job {job_id}; /api/jobs lists the newest")
        return records.job_record(ledger, jobs_folder, job)

    @routes.get("/api/refusals")
    def refusals(limit: Limit = 200) -> Any:
        """The objects that were not accepted."""
        return ledger.refusals(limit=limit)

    @routes.get("/api/models")
    def list_models() -> Any:
        """The sub-models that run here, with what is installed of each: version, licence, or why it cannot run."""
        return inventory_record(models.look())

    @routes.get("/health")
    def health() -> Any:
        """200 and counts while the ledger answers, 503 where it does not; what is wrong with rules and disks."""
        return {
            **records.health_record(ledger),
            "rules_fault": rules_fault(),
            "disks": [records.volume_record(each) for each in disk.volumes()],
        }

    return routes
