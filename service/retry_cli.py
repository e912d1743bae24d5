"""`sagittal jobs retry`: what failed or is held in, going again out; one by id, or all that failed in a time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from service.config import read_site
from service.jobs import IllegalTransitionError, Job, JobState, SeriesRecord, SeriesState
from service.ledger import Ledger, open_ledger

_CAUSE = "asked for by an operator"
_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")
_TIME = click.DateTime(formats=_FORMATS)


@click.command()
@click.option(
    "--site", "site_file", type=click.Path(dir_okay=False, path_type=Path), default="site.toml", show_default=True
)
@click.argument("id_", required=False)
@click.option("--failed", is_flag=True, help="All that failed in the time that --since and --until give.")
@click.option("--since", type=_TIME, metavar="TIME", help="In UTC, as 2026-11-01 or 2026-11-01T07:30.")
@click.option("--until", type=_TIME, metavar="TIME", help="Before this time, likewise; default: now.")
@click.option("--reason", default="", metavar="TEXT", help="Only what has this in its reason, in any letter case.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def retry(
    site_file: Path,
    id_: str | None,
    failed: bool,
    since: datetime | None,
    until: datetime | None,
    reason: str,
    dry_run: bool,
) -> None:
    """Run a failed or held job again, or route an unrouted, held or failed series again; or all that --failed.

    Asking twice does nothing twice: what goes again is not failed any more.
    """
    many = bool(since or until or reason or dry_run)
    if failed is (id_ is not None) or (failed and since is None) or (many and not failed):
        raise click.UsageError("give an ID; or --failed with --since, and perhaps --until, --reason and --dry-run")
    ledger = open_ledger(read_site(site_file).ledger_url, actor="operator")
    click.get_current_context().call_on_close(ledger.close)
    if id_ is not None:
        click.echo(retry_now(ledger, id_))
    elif since is not None:
        before = ledger.now() if until is None else _seconds(until)
        _retry_failed(ledger, _seconds(since), before, reason, dry_run)


def retry_now(ledger: Ledger, id_: str) -> str:
    """Set a job or series that stands still going again; gives what was done.

    Raises ClickException where nothing can be.
    """
    job = ledger.job(id_)
    if job is not None:
        if notes := ledger.retry_notes(id_, _CAUSE):
            return f"job {id_}: {notes} rejection note(s) will be sent again"
        if job.state not in (JobState.FAILED, JobState.HELD):
            raise click.ClickException(
                f"job {id_} is {job.state.value}; only a failed or held one can be tried again"
            )
        if sent_again := ledger.retry_deliveries(id_, _CAUSE):
            return f"job {id_}: {sent_again} delivery(ies) will be tried again"
        ledger.move_job(
            id_, JobState.QUEUED, _CAUSE, attempts=0, reason="", not_before=0.0, setbacks=0, reason_kind=""
        )
        return f"job {id_} is queued again"
    series = ledger.series(id_)
    if series is None:
        raise click.ClickException(f"no job or series {id_}; see `sagittal jobs list`")
    if series.state not in (SeriesState.FAILED, SeriesState.UNROUTED, SeriesState.HELD):
        said = "only a failed, held or unrouted one can be routed again"
        raise click.ClickException(f"series {id_} is {series.state.value}; {said}")
    ledger.move_series(id_, SeriesState.COMPLETE, _CAUSE)
    return f"series {id_} will be routed again"


def why_left(ledger: Ledger, failed: Job | SeriesRecord) -> str:
    """Why something that failed is not tried again together with others; empty if it is.

    What a person ended stays ended, and what never came whole is not taken for whole.
    """
    subject, name = ("job", failed.id) if isinstance(failed, Job) else ("series", failed.series_uid)
    moves = [step for step in ledger.history(subject, name) if step.from_state != step.to_state]
    before = moves[-1].from_state
    if before == JobState.HELD:
        return "a person rejected its result"
    if before == SeriesState.RECEIVING:
        return "it never came whole; have it sent again, or `sagittal pull` its study"
    return ""


def _retry_failed(ledger: Ledger, since: float, until: float, reason: str, dry_run: bool) -> None:
    tried = left = 0
    for failed in _failed(ledger, since, until, reason):
        what = f"job {failed.id}" if isinstance(failed, Job) else f"series {failed.series_uid}"
        if why := why_left(ledger, failed):
            click.echo(f"{what} is left as it is: {why}")
            left += 1
            continue
        click.echo(f"{what} would be tried again: {failed.reason}" if dry_run else _retried(ledger, failed))
        tried += 1
    click.echo(f"{tried} {'would be ' if dry_run else ''}tried again, {left} left as they are")


def _failed(ledger: Ledger, since: float, until: float, reason: str) -> Iterator[Job | SeriesRecord]:
    yield from ledger.failed_series(since, until, reason)
    yield from ledger.failed_jobs(since, until, reason)


def _retried(ledger: Ledger, failed: Job | SeriesRecord) -> str:
    name = failed.id if isinstance(failed, Job) else failed.series_uid
    try:
        return retry_now(ledger, name)
    except (click.ClickException, IllegalTransitionError) as error:  # it moved meanwhile
        return f"{name} is left as it is: {error}"


def _seconds(time: datetime) -> float:
    return time.replace(tzinfo=UTC).timestamp()
