"""`sagittal storage`: how full the disks are, who holds what, what goes when; as tables or JSON for programs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from service.config import read_site
from service.deletion import Retainer
from service.disk import DiskState, disk_watch, problem, shown_bytes
from service.jobs_cli import json_option, site_option
from service.leaps import Leaps, clock_file
from service.ledger import open_ledger
from service.storage import Held, HeldSeries, Holdings, holdings
from service.times import ago
from service.web.records import volume_record

ROWS = 10
_STATES = {DiskState.ENOUGH: "enough", DiskState.LOW: "LOW", DiskState.STOP: "STOPPED"}


@click.command()
@site_option
@json_option
@click.option("--delete-now", is_flag=True, help="Delete at once what may go by this clock, as the receiver does.")
def storage(site_file: Path, as_json: bool, delete_now: bool) -> None:
    """How full the disks are, who holds what, and what retention deletes when."""
    site = read_site(site_file)
    ledger, disk = open_ledger(site.ledger_url, actor="operator"), disk_watch(site)
    deleted = None
    if delete_now:
        Leaps(clock_file(site)).believe()
        retainer = Retainer(site, ledger, disk)
        for _ in retainer.round():
            pass
        deleted = retainer.deleted
    found, now = holdings(site, ledger, disk.volumes()), ledger.now()
    ledger.close()
    if as_json:
        click.echo(json.dumps({"deleted_now": deleted, **_record(found, now)}, indent=2))
        return
    if deleted is not None:
        click.echo(f"the files of {deleted} series were deleted\n")
    for line in _lines(found, now):
        click.echo(line)


def _record(found: Holdings, now: float) -> dict[str, Any]:
    goes = [each for each in found.series if each.due is not None and each.due.at <= now]
    return {
        "volumes": [volume_record(each) for each in found.volumes],
        "folders": {name: asdict(held) for name, held in found.folders.items()},
        "series_by_state": {name: asdict(held) for name, held in found.by_state.items()},
        "series_by_calling_aet": {name: asdict(held) for name, held in found.by_aet.items()},
        "jobs_by_state": {name: asdict(held) for name, held in found.jobs_by_state.items()},
        "may_go_now": {"series": len(goes), "bytes": sum(each.bytes for each in goes)},
        "series": [asdict(each) for each in found.series],
    }


def _lines(found: Holdings, now: float) -> Iterable[str]:
    for volume in found.volumes:
        yield f"{' and '.join(volume.holds):<34} {_STATES[volume.state]:<8} {volume.said}"
        if said := problem(volume):
            yield f"    {said}"
    yield from _table("folder", found.folders)
    yield from _table("received series by state", found.by_state)
    yield from _table("received series by calling AE title", found.by_aet)
    yield from _table("jobs by state", found.jobs_by_state)
    yield from _series("oldest", found.series[:ROWS], now)
    yield from _series("largest", sorted(found.series, key=lambda each: -each.bytes)[:ROWS], now)
    yield from _goes(found.series, now)


def _table(title: str, rows: Mapping[str, Held]) -> Iterable[str]:
    yield f"\n{title.upper():<36} {'NUMBER':>8} {'FILES':>9} {'SIZE':>10}"
    for name, held in rows.items():
        yield f"{name:<36} {held.things:>8} {held.files:>9} {shown_bytes(held.bytes):>10}"


def _series(title: str, rows: Iterable[HeldSeries], now: float) -> Iterable[str]:
    yield f"\n{title.upper():<8} {'HEARD':>7}  {'FROM':<16}  {'STATE':<22} {'SIZE':>10}  GOES"
    for each in rows:
        heard = "" if each.last_heard_at is None else ago(max(0.0, now - each.last_heard_at))
        size = shown_bytes(each.bytes)
        yield f"{'':<8} {heard:>7}  {each.calling_aet:<16}  {each.state:<22} {size:>10}  {_when(each, now)}"
        yield f"{'':<18}{each.series_uid}"


def _when(each: HeldSeries, now: float) -> str:
    if each.due is None:
        return "not by itself"
    return "now" if each.due.at <= now else f"in {ago(each.due.at - now)}"


def _goes(series: Iterable[HeldSeries], now: float) -> Iterable[str]:
    due = [each for each in series if each.due is not None]
    yield ""
    for said, within in (("now", 0.0), ("within a day", 86400.0), ("within a week", 7 * 86400.0)):
        some = [each for each in due if each.due is not None and each.due.at <= now + within]
        yield f"may go {said}: {len(some)} series, {shown_bytes(sum(each.bytes for each in some))}"
