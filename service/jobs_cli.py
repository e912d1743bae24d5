"""`sagittal jobs`: what came in, where it stands and why; as a table for people or JSON for programs."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from service.config import read_site
from service.findings import MEANINGS, FindingName
from service.jobs import Delivery, Job, JobState, SeriesRecord, SeriesState, Transition, Urgency
from service.ledger import Ledger, open_ledger
from service.times import ago, clock_time

site_option = click.option(
    "--site", "site_file", type=click.Path(dir_okay=False, path_type=Path), default="site.toml", show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


def _ledger(site_file: Path) -> Ledger:
    ledger = open_ledger(read_site(site_file).ledger_url, actor="operator")
    click.get_current_context().call_on_close(ledger.close)
    return ledger


@click.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """Series and jobs: list (the default), show ID, retry ID, rerun JOB; release JOB or reject JOB that is held."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@jobs.command("list")
@site_option
@json_option
@click.option("--limit", default=50, show_default=True)
def list_(site_file: Path, as_json: bool, limit: int) -> None:
    """The latest series, each with its jobs or the reason why it has none."""
    ledger = _ledger(site_file)
    rows = [(series, ledger.list_jobs(series_uid=series.series_uid)) for series in ledger.list_series(limit=limit)]
    if as_json:
        values = [{**asdict(series), "jobs": [asdict(job) for job in jobs]} for series, jobs in rows]
        click.echo(json.dumps(values, indent=2))
        return
    click.secho(_LINE.format("HEARD", "FROM", "SERIES", "INST", "JOB", "PROTOCOL", "STATE", "").rstrip(), bold=True)
    for series, its_jobs in rows:
        for line in _lines(ledger, series, its_jobs):
            click.echo(line)


_LINE = "{:>7}  {:<16}  {:<13}  {:>4}  {:<12}  {:<10}  {:<10}  {}"


def _lines(ledger: Ledger, series: SeriesRecord, jobs: list[Job]) -> list[str]:
    """One line for each job, or for the series where it has none, each with its reason on a line of its own."""
    first = (ago(ledger.now() - series.last_heard_at), series.calling_aet, f"…{series.series_uid[-12:]}")
    count = str(series.instance_count)
    if not jobs or series.state is not SeriesState.ROUTED:
        return [_LINE.format(*first, count, "", "", series.state.value, "").rstrip(), *_reason(series.reason)]
    lines = []
    for job in jobs:
        protocol = f"{job.protocol} {job.laterality}".strip()
        line = _LINE.format(*first, count, job.id, protocol, job.state.value, _progress(job))
        found = [] if job.reason else [f"{each.name}: {each.evidence}" for each in ledger.findings(job.id)]
        lines += [line.rstrip(), *_reason(job.reason or "; ".join(found))]
    return lines


def _reason(reason: str) -> list[str]:
    return textwrap.wrap(reason, 108, initial_indent=" " * 9, subsequent_indent=" " * 9)


def _progress(job: Job) -> str:
    return f"{job.stage} {job.percent} %" if job.stage else ""


@jobs.command()
@site_option
@json_option
@click.argument("id_")
def show(site_file: Path, as_json: bool, id_: str) -> None:
    """Everything the ledger knows of the job or series ID: its way, its reasons, where its results went."""
    ledger = _ledger(site_file)
    job = ledger.job(id_)
    series = ledger.series(job.series_uid if job else id_)
    if series is None:
        raise click.ClickException(f"no job or series {id_}; see `sagittal jobs list`")
    jobs_ = [job] if job else ledger.list_jobs(series_uid=series.series_uid)
    if as_json:
        click.echo(json.dumps(_record(ledger, series, jobs_), indent=2))
        return
    _print_series(ledger, series)
    for each in jobs_:
        _print_job(ledger, each)


def _record(ledger: Ledger, series: SeriesRecord, jobs_: list[Job]) -> dict[str, Any]:
    def of_job(job: Job) -> dict[str, Any]:
        return {
            **asdict(job),
            "findings": [asdict(finding) for finding in ledger.findings(job.id)],
            "objects": [asdict(made) for made in ledger.objects(job.id)],
            "deliveries": [asdict(delivery) for delivery in ledger.deliveries(job.id)],
            "transitions": [asdict(step) for step in ledger.history("job", job.id)],
        }

    steps = [asdict(step) for step in ledger.history("series", series.series_uid)]
    return {**asdict(series), "transitions": steps, "jobs": [of_job(job) for job in jobs_]}


def _print_series(ledger: Ledger, series: SeriesRecord) -> None:
    click.secho(f"series {series.series_uid}", bold=True)
    click.echo(f"  study {series.study_uid}, {series.instance_count} instances from {series.calling_aet}")
    click.echo(f"  {series.state.value}, revision {series.revision}: {series.reason}")
    for line in series.explanation.splitlines():
        click.echo(f"    {line}")
    _print_steps(ledger.history("series", series.series_uid))


def _print_job(ledger: Ledger, job: Job) -> None:
    click.secho(f"\njob {job.id}", bold=True)
    volume = f" {job.volume_name}" if job.volume_name else ""
    click.echo(f"  volume {job.volume_index}{volume}, {job.submodel}, protocol {job.protocol} {job.laterality}")
    urgent = f", {Urgency(job.urgency).name}" if job.urgency else ""
    click.echo(f"  {job.state.value}{urgent}, attempts {job.attempts} {_progress(job)} {job.reason}")
    for finding in ledger.findings(job.id):
        click.echo(f"  finding: {finding.name}: {finding.evidence}")
        click.echo(f"           {MEANINGS[FindingName(finding.name)]}")
    _print_steps(ledger.history("job", job.id))
    for made in ledger.objects(job.id):
        click.echo(f"  {made.kind} {made.sop_instance_uid}")
    for delivery in ledger.deliveries(job.id):
        click.echo(f"  to {delivery.destination}: {_sent(delivery)}")


def _sent(delivery: Delivery) -> str:
    return f"{delivery.state.value} after {delivery.attempts} attempt(s) {delivery.comment}"


def _print_steps(steps: list[Transition]) -> None:
    for step in steps:
        click.echo(f"  {clock_time(step.at)}  {step.to_state:<10} {step.cause}  [{step.actor}]")


@jobs.command()
@site_option
@click.argument("job_id")
def rerun(site_file: Path, job_id: str) -> None:
    """Run a delivered job again, as after a newer model was installed: a new object names the one before it.

    The same model makes the same objects, which are not sent twice.
    """
    ledger = _ledger(site_file)
    job = ledger.job(job_id)
    if job is None or job.state not in (JobState.DELIVERED, JobState.COMMITTED):
        stands = "not known here" if job is None else job.state.value
        raise click.ClickException(f"job {job_id} is {stands}; one that is delivered or committed can be run again")
    ledger.move_job(job_id, JobState.QUEUED, "asked for again by an operator", attempts=0, reason="")
    click.echo(f"job {job_id} is queued again")


@jobs.command()
@site_option
@click.argument("job_id")
@click.option("--because", default="", help="Your reason, for the record.")
def release(site_file: Path, job_id: str, because: str) -> None:
    """Send the result of a held job, although a check found that it contradicts its route."""
    ledger = _ledger(site_file)
    _require_held(ledger, job_id)
    ledger.move_job(job_id, JobState.INFERRED, _said("released by an operator", because), reason="")
    click.echo(f"job {job_id} is released: its result will be encoded and sent")


@jobs.command()
@site_option
@click.argument("job_id")
@click.option("--because", default="", help="Your reason, for the record.")
def reject(site_file: Path, job_id: str, because: str) -> None:
    """End a held job: its result is not sent."""
    ledger = _ledger(site_file)
    _require_held(ledger, job_id)
    cause = _said("rejected by an operator", because)
    ledger.move_job(job_id, JobState.FAILED, cause, reason=f"{cause}; nothing was sent")
    click.echo(f"job {job_id} is rejected: nothing is sent")


def _require_held(ledger: Ledger, job_id: str) -> None:
    job = ledger.job(job_id)
    if job is None:
        raise click.ClickException(f"no job {job_id}; see `sagittal jobs list`")
    if job.state is not JobState.HELD:
        raise click.ClickException(
            f"job {job_id} is {job.state.value}; only a held one can be released or rejected"
        )


def _said(what: str, because: str) -> str:
    return f"{what}: {because}" if because else what
