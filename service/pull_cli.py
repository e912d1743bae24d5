"""`sagittal pull`: studies of an archive brought in, with a line for each step; begun again, it goes on."""

import fcntl
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Node
from service.config import Site, read_site
from service.ledger import open_ledger

if TYPE_CHECKING:
    from service.fetch import Fetch
    from service.pull import StudyOutcome

Pairs = tuple[tuple[str, str], ...]
_STUDY_UID = "StudyInstanceUID"
_ON_THE_WAY = "pulling"
"""Below the site's folder: files that were fetched by WADO-RS and not handed to the receiver yet."""


def _pairs(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Pairs:
    """Matching keys as they are written on the command line."""
    from pydicom.datadict import tag_for_keyword  # noqa: PLC0415

    pairs = [value.partition("=") for value in values]
    for keyword, equals, wanted in pairs:
        if not (equals and wanted and tag_for_keyword(keyword)):
            raise click.BadParameter(
                f"{keyword!r}: write it as KEYWORD=VALUE, for example StudyDate=20260101-20260131"
            )
    return tuple((keyword, wanted) for keyword, _, wanted in pairs)


def _uids(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from dicom_nodes.part10 import is_uid  # noqa: PLC0415

    for value in values:
        if not is_uid(value):
            raise click.BadParameter(f"{value!r} is no UID")
    return values


def _node(_context: click.Context, _option: click.Parameter, value: str | None) -> Node | None:
    if value is None:
        return None
    aet, at, address = value.partition("@")
    host, colon, port = address.rpartition(":")
    if not (aet and at and host and colon and port.isdigit()):
        raise click.BadParameter(f"{value!r}: write it as AET@HOST:PORT, for example PACS@192.0.2.10:104")
    return Node(aet, host, int(port))


@click.command()
@click.option(
    "--site", "site_file", type=click.Path(dir_okay=False, path_type=Path), default="site.toml", show_default=True
)
@click.option("--study", "studies", multiple=True, callback=_uids, metavar="UID", help="May be repeated.")
@click.option(
    "--query",
    multiple=True,
    callback=_pairs,
    metavar="KEYWORD=VALUE",
    help="Of studies; those that match all keys.",
)
@click.option(
    "--series-filter",
    multiple=True,
    callback=_pairs,
    metavar="KEYWORD=VALUE",
    default=("Modality=MR",),
    show_default=True,
    help="Of series; those that match all keys.",
)
@click.option(
    "--from", "archive", callback=_node, metavar="AET@HOST:PORT", help="By C-MOVE; default: [query] of site.toml."
)
@click.option("--at-most", type=click.IntRange(1, 16), default=1, show_default=True, help="Studies at a time.")
@click.option(
    "--pause-above", type=click.IntRange(0), default=20, show_default=True, help="Jobs and series that wait here."
)
@click.option("--dry-run", is_flag=True, help="Say what lacks here, and fetch nothing.")
def pull(
    site_file: Path,
    studies: tuple[str, ...],
    query: Pairs,
    series_filter: Pairs,
    archive: Node | None,
    at_most: int,
    pause_above: int,
    dry_run: bool,
) -> None:
    """Bring studies in from an archive: what lacks here is sent by C-MOVE to our AE title, or fetched by WADO-RS.

    The receiver has to run. Jobs of series that come in this way go behind all others. Begun again after
    whatever ended it, the same command fetches what is still missing; exit status 1 says that something is.
    """
    from service.pull import Pace, Pull  # noqa: PLC0415

    queries = [{_STUDY_UID: uid} for uid in studies] + ([dict(query)] if query else [])
    if not queries:
        raise click.UsageError("name studies by --study UID or --query KEYWORD=VALUE")
    site = read_site(site_file)
    source, fetch = _source(site, archive)
    ledger = open_ledger(site.ledger_url, actor="pull")
    click.get_current_context().call_on_close(ledger.close)
    keys, pace = dict(series_filter), Pace(at_most, pause_above)
    run = Pull(source, site.receive.aet, ledger, fetch, click.echo, keys, pace)
    if dry_run:
        raise SystemExit(0 if _said(run.preview(run.find(queries))) else 1)
    with _alone(site):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: run.stop.set())
        found = run.find(queries)
        outcomes = run.run(found)
    whole = _said(outcomes) and len(outcomes) == len(found) and set(studies) <= set(found)
    raise SystemExit(0 if whole else 1)


def _source(site: Site, archive: Node | None) -> "tuple[Node, Fetch]":
    """The archive, and the way in which series come from it."""
    from service.fetch import ByMove, ByWado  # noqa: PLC0415

    receive = site.receive
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(receive.host, receive.host)
    receiver = Node(receive.aet, here, receive.port)
    if archive is not None:
        return archive, ByMove(archive, receiver)
    if site.query is None:
        raise ConfigurationError("no archive to pull from: give --from AET@HOST:PORT, or a [query] in site.toml")
    if site.query.url is None:
        return site.query.node, ByMove(site.query.node, receiver)
    authorization, ca = (site.home / name if name else None for name in (site.query.authorization, site.query.ca))
    folder = site.folder / _ON_THE_WAY
    return site.query.node, ByWado(site.query.node, receiver, site.query.url, folder, authorization, ca)


@contextmanager
def _alone(site: Site) -> Iterator[None]:
    """One pull of a site at a time: an archive has others to serve. However the process ends, so does its lock."""
    site.folder.mkdir(parents=True, exist_ok=True)
    with (site.folder / "pull.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise click.ClickException("another `sagittal pull` of this site is running") from error
        shutil.rmtree(site.folder / _ON_THE_WAY, ignore_errors=True)  # what one left that was killed
        yield


def _said(outcomes: "list[StudyOutcome]") -> bool:
    """Tell how all of it came out; whether everything is here."""
    whole = sum(1 for outcome in outcomes if not outcome.short)
    series, instances = sum(each.series for each in outcomes), sum(each.instances for each in outcomes)
    click.echo(f"{whole} of {len(outcomes)} studies are whole here, of {series} series and {instances} instances")
    return whole == len(outcomes)
