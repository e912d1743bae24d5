"""`sagittal route`, `replay` and `jobs assign`: why a series goes where it goes, and changing it."""

import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.headers import Headers, by_series, read_headers
from dicom_nodes.volumes import SeriesContent, find_volumes
from service.config import Site, read_site
from service.dispatch import assign_series, study_of, volumes_of
from service.evidence import read_evidence
from service.jobs import SeriesRecord, SeriesState
from service.ledger import Ledger, open_ledger
from service.routing.series import SeriesDecision, SeriesVolumes, decide_series
from service.routing.settings import Routing
from service.routing.site import SiteRouting, read_site_rules
from service.submodel import load_submodels, site_submodels
from service.times import clock_time

_file = click.Path(dir_okay=False, path_type=Path)
_COLOURS = {SeriesState.ROUTED: "green", SeriesState.HELD: "yellow", SeriesState.FAILED: "red"}


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--site", "site_file", type=_file, help="Route as this site does; default: the shipped rules, all models."
)
@click.option("--rules", "rules_file", type=_file, help="These rules instead of the site's.")
@click.option("--from", "calling_aet", default="", help="As if this AE title had sent it.")
@click.option("--headers-only", is_flag=True, help="The files were sent without their pixel data: do not mind.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def route(
    folder: Path,
    site_file: Path | None,
    rules_file: Path | None,
    calling_aet: str,
    headers_only: bool,
    as_json: bool,
) -> None:
    """Show where each series in FOLDER would go and why; nothing runs and nothing is written."""
    routing = _routing(site_file, rules_file)
    decisions = route_folder(folder, routing, calling_aet, headers_only)
    if as_json:
        click.echo(json.dumps({"series": [each.record() for each in decisions]}, indent=2, ensure_ascii=False))
        return
    for decision in decisions:
        _show(decision)
    counted = Counter(each.state.value for each in decisions)
    click.echo(", ".join(f"{number} {state}" for state, number in sorted(counted.items())) or "no series here")


def route_folder(
    folder: Path, routing: Routing, calling_aet: str = "", headers_only: bool = False
) -> list[SeriesDecision]:
    """Decide on every series in a folder and those below it, those of one study with each other in view.

    `headers_only`: what is wrong with the pixel data does not count.
    """
    paths = sorted(path for path in (folder.rglob("*") if folder.is_dir() else [folder]) if path.is_file())
    headers = read_headers(paths)
    if headers_only:
        headers = replace(headers, read=tuple(replace(each, pixel_fault=None) for each in headers.read))
    contents = {uid: find_volumes(each) for uid, each in by_series(headers).items()}
    studies = {uid: each.read[0].study_uid for uid, each in by_series(headers).items()}
    volumes = {uid: SeriesVolumes(uid, content.volumes, calling_aet) for uid, content in contents.items()}
    decided = [
        decide_series(
            volumes[uid],
            routing,
            left_out=content.left_out,
            study=[volumes[other] for other in volumes if other != uid and studies[other] == studies[uid]],
        )
        for uid, content in contents.items()
    ]
    return [*decided, *_unreadable(headers, routing)]


def _unreadable(headers: Headers, routing: Routing) -> list[SeriesDecision]:
    """What is no DICOM object, as a series of unknown name."""
    content: SeriesContent = find_volumes(Headers((), headers.unreadable))
    if not content.left_out:
        return []
    return [decide_series(SeriesVolumes("unknown", ()), routing, left_out=content.left_out)]


def _show(decision: SeriesDecision) -> None:
    click.secho(f"series {decision.series_uid}", bold=True)
    for line in decision.explanation.splitlines():
        for part in textwrap.wrap(line, 118, initial_indent="  ", subsequent_indent=f"  {_indent(line)}  "):
            click.echo(part)
    click.echo("  ", nl=False)
    click.secho(decision.state.value, fg=_COLOURS.get(decision.state), bold=True, nl=False)
    click.echo(f": {decision.summary}\n")


def _indent(line: str) -> str:
    return " " * (len(line) - len(line.lstrip()))


def _routing(site_file: Path | None, rules_file: Path | None) -> Routing:
    if site_file is None:
        routing = Routing(load_submodels())
    else:
        site = read_site(site_file)
        routing = SiteRouting(site, site_submodels(site.models.submodels, site.home)).now()
    if rules_file is None:
        return routing
    return replace(routing, rules=read_site_rules(rules_file, routing.known))


# ── replay ─────────────────────────────────────────────────────────────────────────────────────────────────────

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _span(_ctx: click.Context, _option: click.Parameter, value: str) -> float:
    found = _SPAN.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r}: write a number and m, h, d or w, for example 7d")
    return float(found[1]) * _SECONDS[found[2]]


@click.command()
@click.option("--site", "site_file", type=_file, default="site.toml", show_default=True)
@click.option(
    "--since", "seconds", default="7d", show_default=True, callback=_span, help="How far back, as 12h or 7d."
)
@click.option("--rules", "rules_file", type=_file, required=True, help="The new rules.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def replay(site_file: Path, seconds: float, rules_file: Path, as_json: bool) -> None:
    """Show which past series would go elsewhere by new rules; nothing runs and nothing is written."""
    site = read_site(site_file)
    old = SiteRouting(site, site_submodels(site.models.submodels, site.home)).now()
    new = replace(old, rules=read_site_rules(rules_file, old.known))
    ledger = open_ledger(site.ledger_url, actor="replay")
    click.get_current_context().call_on_close(ledger.close)
    asked = ledger.heard_since(ledger.now() - seconds)
    changes = [change for series in asked if (change := _change(ledger, series, old, new)) is not None]
    if as_json:
        click.echo(json.dumps({"asked": len(asked), "changes": [_record(*change) for change in changes]}, indent=2))
        return
    for series, before, after in changes:
        click.secho(f"{clock_time(series.last_heard_at)}  series {series.series_uid}", bold=True)
        click.echo(f"  now:  {_outcome(before)}")
        click.echo(f"  then: {_outcome(after)}")
    click.echo(f"{len(changes)} of {len(asked)} series would go elsewhere")


Change = tuple[SeriesRecord, SeriesDecision, SeriesDecision]


def _change(ledger: Ledger, series: SeriesRecord, old: Routing, new: Routing) -> Change | None:
    """Where a series would go by the rules of now and by the new ones; None where that is the same."""
    volumes = tuple(map(read_evidence, ledger.volumes_of_series(series.series_uid)))
    if not volumes:
        return None
    known, study = volumes_of(series, volumes), study_of(ledger, series)
    before, after = (decide_series(known, routing, study=study) for routing in (old, new))
    same = (before.state, before.routes, before.urgency) == (after.state, after.routes, after.urgency)
    return None if same else (series, before, after)


def _outcome(decision: SeriesDecision) -> str:
    urgent = f", {decision.urgency.name}" if decision.urgency else ""
    return f"{decision.state.value}: {decision.summary}{urgent}"


def _record(series: SeriesRecord, before: SeriesDecision, after: SeriesDecision) -> dict[str, object]:
    def side(decision: SeriesDecision) -> dict[str, object]:
        return {
            "state": decision.state.value,
            "summary": decision.summary,
            "routes": [list(route) for route in decision.routes],
            "urgency": decision.urgency.name.lower(),
        }

    return {"series_uid": series.series_uid, "now": side(before), "then": side(after)}


# ── assign ─────────────────────────────────────────────────────────────────────────────────────────────────────


@click.command()
@click.option("--site", "site_file", type=_file, default="site.toml", show_default=True)
@click.argument("series_uid")
@click.option("--to", "target", required=True, help='Sub-model and protocol, as "mrannotator-spine: lumbar".')
@click.option("--volume", type=int, multiple=True, help="Only this volume of the series; may be repeated.")
@click.option("--side", type=click.Choice(["R", "L"]), help="The side of the body, where you know it.")
def assign(site_file: Path, series_uid: str, target: str, volume: Sequence[int], side: str | None) -> None:
    """Route a held or unrouted series by hand."""
    site: Site = read_site(site_file)
    ledger = open_ledger(site.ledger_url, actor="operator")
    click.get_current_context().call_on_close(ledger.close)
    known = site_submodels(site.models.submodels, site.home)
    try:
        jobs = assign_series(site, ledger, known, series_uid, target, frozenset(volume), side)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"series {series_uid}: {len(jobs)} job(s) queued: {', '.join(job.id for job in jobs)}")
