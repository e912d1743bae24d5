"""The pages for people: rendered here, refreshed by fetching the fragment that changes; no script is needed."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.config import Site
from service.disk import DiskWatch, problem
from service.findings import MEANINGS, FindingName
from service.jobfolder import JobFolder
from service.jobs import Delivery, DeliveryState, Job, JobState, ResultObject, SeriesState, Urgency
from service.ledger import Ledger
from service.times import ago, clock_time
from service.web import overview
from service.web.models import VERSION_DIGITS, SiteModels
from service.web.overview import Group
from service.web.results import result_of

Render = Callable[..., HTMLResponse]

TONES: Mapping[str, str] = {
    SeriesState.RECEIVING: "moving",
    SeriesState.COMPLETE: "moving",
    SeriesState.ROUTED: "plain",
    SeriesState.WAITING: "moving",
    SeriesState.UNROUTED: "aside",
    JobState.QUEUED: "plain",
    JobState.INFERRING: "moving",
    JobState.INFERRED: "moving",
    JobState.ENCODED: "moving",
    JobState.DELIVERING: "moving",
    JobState.SUPERSEDED: "plain",
    JobState.WITHDRAWN: "aside",
    DeliveryState.WAITING: "moving",
    DeliveryState.DROPPED: "plain",
    "held": "aside",
    DeliveryState.STORED: "moving",
    "delivered": "good",
    "committed": "good",
    "failed": "bad",
    **{Group.ARRIVING: "moving", Group.WORKING: "moving"},
    **{"ready": "good", "cannot run": "bad", "phantom": "aside"},
    **{"accepted": "good", "not accepted": "bad", "to be accepted at install": "plain"},
}
"""Colour of a state's badge; the word in it says the same."""

SIDES = {"R": "right", "L": "left", "": ""}


def renderer(ledger: Ledger, site: Site) -> Render:
    """Gives `render(template, status=200, **values)`; whatever a value holds, it is shown as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(clock=clock_time, short=short_uid, tone=lambda state: TONES.get(state, "plain"))
    environment.filters.update(side=lambda letter: SIDES.get(letter, letter), status=_status, sent=sent)
    environment.filters.update(
        spare=without_own_uid, digits=lambda version: version[:VERSION_DIGITS], folds=folds, named=_named
    )
    environment.filters.update(meaning=lambda name: MEANINGS[FindingName(name)], urgency=_urgency)
    environment.globals.update(site=site, version=version("sagittal"))

    def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        now = ledger.now()
        text = environment.get_template(template).render(
            now=now, ago=lambda at: ago(max(0.0, now - at)), ahead=lambda at: ago(max(0.0, at - now)), **values
        )
        return HTMLResponse(text, status)

    return render


def page_routes(
    ledger: Ledger,
    models: SiteModels,
    rules_fault: Callable[[], str],
    render: Render,
    jobs_folder: Path,
    disk: DiskWatch,
) -> APIRouter:
    """Every route that answers with HTML, and the pictures in it; `jobs_folder` holds the files of the jobs."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    def overview_values(show: Group | None) -> dict[str, Any]:
        return {
            "show": show,
            "rules_fault": rules_fault(),
            "disk_problems": [said for each in disk.volumes() if (said := problem(each))],
            "tiles": overview.tiles(ledger),
            "rows": overview.rows(ledger, show),
            "refusals": ledger.refusals(limit=overview.REFUSALS),
        }

    def series_values(series_uid: str) -> dict[str, Any]:
        series = ledger.series(series_uid)
        if series is None:
            raise HTTPException(404, f"No series {series_uid}: nothing of it has been received.")
        jobs = sorted(ledger.list_jobs(series_uid=series_uid), key=_newest_revision_first)
        return {
            "series": series,
            "deleted": ledger.deletion("series", series_uid),
            "lines": [overview.line(ledger, job) for job in jobs],
            "steps": ledger.history("series", series_uid),
            "job_steps": {job.id: ledger.history("job", job.id) for job in jobs},
            "objects": {job.id: ledger.objects(job.id) for job in jobs},
            "results": {job.id: result_of(JobFolder(jobs_folder, job.id)) for job in jobs},
            "cards": {name: models.card(name) for name in {job.submodel for job in jobs}},
        }

    @routes.get("/")
    def index(show: Group | None = None) -> HTMLResponse:
        return render("index.html", **overview_values(show))

    @routes.get("/fragments/overview")
    def overview_fragment(show: Group | None = None) -> HTMLResponse:
        return render("_overview.html", **overview_values(show))

    @routes.get("/series/{series_uid}")
    def series_page(series_uid: str) -> HTMLResponse:
        return render("series.html", **series_values(series_uid))

    @routes.get("/fragments/series/{series_uid}")
    def series_fragment(series_uid: str) -> HTMLResponse:
        return render("_series.html", **series_values(series_uid))

    @routes.get("/jobs/{job_id}/sheet.png")
    def sheet(job_id: str) -> Response:
        job = ledger.job(job_id)
        png = None if job is None else JobFolder(jobs_folder, job.id).load_sheet()
        if png is None:
            raise HTTPException(404, f"There is no picture of job {job_id}.")
        return Response(png, media_type="image/png")

    @routes.get("/models")
    def models_page() -> HTMLResponse:
        return render("models.html", inventory=models.look())

    @routes.get("/fragments/models")
    def models_fragment() -> HTMLResponse:
        return render("_models.html", inventory=models.look())

    return routes


def _newest_revision_first(job: Job) -> tuple[int, int, str, str]:
    return -job.revision, job.volume_index, job.protocol, job.id


def short_uid(uid: str) -> str:
    """A UID's beginning and end, which tell the maker and the thing; the whole is shown on hover."""
    return uid if len(uid) <= 26 else f"{uid[:11]}…{uid[-12:]}"


def folds(numbers: Sequence[int]) -> str:
    """Folds as a person writes them: `0 to 4`, or `0, 2`."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def without_own_uid(reason: str, series_uid: str) -> str:
    """A reason beside the series it is about, which it need not name again."""
    return reason.replace(f"series {series_uid}: ", "")


def _named(objects: Sequence[ResultObject], sop_instance_uid: str) -> str:
    """The name of one of the objects; a dash where it is none of them."""
    return next((each.name for each in objects if each.sop_instance_uid == sop_instance_uid), "–")


def _urgency(urgency: int) -> str:
    """What is said of a job that goes before others; empty for one that waits its turn."""
    return "" if urgency == Urgency.ROUTINE else Urgency(urgency).name


def _status(status: int | None) -> str:
    return "" if status is None else f"0x{status:04X}"


def sent(delivery: Delivery) -> str:
    """What became of a delivery, beside its destination and state; empty when there is nothing to add."""
    if delivery.state in (DeliveryState.DELIVERED, DeliveryState.COMMITTED):
        return ""
    answer, comment = _status(delivery.status), delivery.comment.removeprefix(f"{delivery.destination} ")
    return comment if answer in comment else f"{answer} {comment}".strip()
