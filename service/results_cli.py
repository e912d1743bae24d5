"""`sagittal results`: the objects that were made and where they are; taking them back."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from dicom_nodes.errors import Refused, Unreachable
from service.config import Site, read_site
from service.jobs import ResultObject
from service.jobs_cli import json_option, site_option
from service.ledger import Ledger, open_ledger
from service.reconcile import Gone, find_gone, live_jobs
from service.withdrawal import Reason, Withdrawn, withdraw

_REASON = click.option(
    "--reason", type=click.Choice([reason.value for reason in Reason]), default="quality", show_default=True
)


def _open(site_file: Path) -> tuple[Site, Ledger]:
    site = read_site(site_file)
    ledger = open_ledger(site.ledger_url, actor="operator")
    click.get_current_context().call_on_close(ledger.close)
    return site, ledger


@click.group()
def results() -> None:
    """The objects that were made: list, withdraw JOB, reconcile with the archive."""


@results.command("list")
@site_option
@json_option
@click.option("--series", "series_uid", help="Only those made of this series.")
@click.option("--limit", default=200, show_default=True, help="Of how many jobs, the newest first.")
def list_(site_file: Path, as_json: bool, series_uid: str | None, limit: int) -> None:
    """Every object with its kind, where it goes and how far it is."""
    _, ledger = _open(site_file)
    jobs = ledger.list_jobs(series_uid=series_uid, limit=limit)
    made = [each for job in jobs for each in ledger.objects(job.id)]
    if as_json:
        click.echo(json.dumps([_record(ledger, each) for each in made], indent=2))
        return
    click.secho(_LINE.format("JOB", "KIND", "DESTINATION", "STATE", "OBJECT"), bold=True)
    for each in made:
        for destination, state in _places(ledger, each):
            click.echo(_LINE.format(each.job_id, each.kind, destination, state, each.sop_instance_uid))


_LINE = "{:<12}  {:<9}  {:<16}  {:<10}  {}"


def _places(ledger: Ledger, made: ResultObject) -> list[tuple[str, str]]:
    sent = [each for each in ledger.deliveries(made.job_id) if each.sop_instance_uid == made.sop_instance_uid]
    return [(each.destination, each.state.value) for each in sent] or [("-", "not sent")]


def _record(ledger: Ledger, made: ResultObject) -> dict[str, object]:
    return {**asdict(made), "deliveries": [{"destination": to, "state": is_} for to, is_ in _places(ledger, made)]}


@results.command("withdraw")
@site_option
@_REASON
@click.option("--because", required=True, help="Your words; they go into the rejection note, as far as ASCII.")
@click.argument("job_id")
def withdraw_(site_file: Path, reason: str, because: str, job_id: str) -> None:
    """Take back the result of JOB_ID: a rejection note (IHE IOCM) goes wherever it is stored."""
    site, ledger = _open(site_file)
    click.echo(_told(job_id, withdraw(site, ledger, job_id, Reason(reason), because)))


def _told(job_id: str, done: Withdrawn) -> str:
    head = f"job {job_id} was withdrawn before" if done.again else f"job {job_id} is withdrawn"
    if not done.destinations:
        return f"{head}: no destination has stored anything of it, so no rejection note is sent"
    return f"{head}: a rejection note goes to {', '.join(done.destinations)}"


@results.command()
@site_option
@_REASON
@click.option("--dry-run", is_flag=True, help="Only say what would be withdrawn.")
@click.option("--although-all", is_flag=True, help="Go on even where the archive knows none of the series.")
def reconcile(site_file: Path, reason: str, dry_run: bool, although_all: bool) -> None:
    """Withdraw the results of series that are no longer in PACS, as the node of [query] answers."""
    site, ledger = _open(site_file)
    if site.query is None:
        raise click.ClickException(f"{site_file} has no [query]: no archive can be asked what it still holds")
    try:
        found = find_gone(site, ledger)
    except (Unreachable, Refused) as error:
        raise click.ClickException(f"nothing is changed: {error}") from error
    click.echo(f"{found.asked} series with results asked about, {len(found.series_uids)} no longer in PACS")
    if found.suspicious and not dry_run and not although_all:
        said = f"{site.query.aet} knows none of them. Is it the right archive? If so, add --although-all"
        raise click.ClickException(f"nothing is changed: {said}")
    for line in _take_back(site, ledger, found, Reason(reason), dry_run):
        click.echo(line)


def _take_back(site: Site, ledger: Ledger, found: Gone, reason: Reason, dry_run: bool) -> list[str]:
    lines = []
    for series_uid in found.series_uids:
        for job in live_jobs(ledger, series_uid):
            if dry_run:
                lines.append(f"job {job.id} of series {series_uid} would be withdrawn")
            else:
                done = withdraw(site, ledger, job.id, reason, "the source is no longer in PACS")
                lines.append(_told(job.id, done))
    return lines
