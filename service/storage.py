"""The folders of a site and its ledger → who holds how much, by state, sender, age and size; what may go when."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.config import Site
from service.deletion import find_due, sizes_of
from service.disk import Volume, places
from service.jobs import Job, SeriesRecord
from service.ledger import Ledger
from service.removal import ASIDE
from service.retention import Due

UNKNOWN = "unknown to the ledger"


@dataclass(frozen=True, slots=True)
class Held:
    """How much some files take."""

    things: int
    """Series or jobs."""
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """A series on disk, its jobs' files with it."""

    series_uid: str
    state: str
    calling_aet: str
    last_heard_at: float | None
    """None where the ledger does not know it."""
    files: int
    bytes: int
    due: Due | None
    """When it may go; None where it is kept."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Who holds what."""

    volumes: tuple[Volume, ...]
    folders: Mapping[str, Held]
    """By the name of the folder: incoming, jobs, models, ledger, kept."""
    by_state: Mapping[str, Held]
    """Received series by where they stand."""
    by_aet: Mapping[str, Held]
    """Received series by who sent them."""
    jobs_by_state: Mapping[str, Held]
    series: tuple[HeldSeries, ...]
    """Each, the longest unheard first."""


def holdings(site: Site, ledger: Ledger, volumes: tuple[Volume, ...]) -> Holdings:
    """Look through all that lies on disk; minutes where there are millions of files."""
    incoming, jobs = _sized(site.incoming), _sized(site.jobs)
    owners = ledger.series_of_jobs(jobs)
    stands = {stand.series.series_uid: stand for stand in ledger.stands(incoming.keys() | owners)}
    known = {job.id: job for stand in stands.values() for job in stand.jobs}
    may_go = {each.series_uid: each for some in find_due(site, ledger) for each in some}
    series = {uid: stand.series for uid, stand in stands.items()}
    of_jobs: dict[str, list[Held]] = defaultdict(list)
    for name, held in jobs.items():
        of_jobs[known[name].series_uid if name in known else ""].append(held)
    whole = {
        uid: _sum([*([incoming[uid]] if uid in incoming else []), *of_jobs.get(uid, [])])
        for uid in incoming.keys() | series.keys()
    }
    rows = [_row(uid, series.get(uid), held, may_go.get(uid)) for uid, held in whole.items()]
    return Holdings(
        volumes=volumes,
        folders=_folders(site, incoming, jobs),
        by_state=_grouped(incoming, {uid: each.state.value for uid, each in series.items()}),
        by_aet=_grouped(incoming, {uid: each.calling_aet for uid, each in series.items()}),
        jobs_by_state=_grouped(jobs, _states(known)),
        series=tuple(sorted(rows, key=lambda row: (row.last_heard_at or 0.0, row.series_uid))),
    )


def _states(jobs: Mapping[str, Job]) -> dict[str, str]:
    return {name: job.state.value for name, job in jobs.items()}


def _row(uid: str, series: SeriesRecord | None, held: Held, due: Due | None) -> HeldSeries:
    if series is None:
        return HeldSeries(uid, UNKNOWN, "", None, held.files, held.bytes, None)
    state, heard = series.state.value, series.last_heard_at
    return HeldSeries(uid, state, series.calling_aet, heard, held.files, held.bytes, due)


def _sized(folder: Path) -> dict[str, Held]:
    """What each folder in a folder holds; what is being deleted is not counted."""
    if not folder.is_dir():
        return {}
    entries = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(ASIDE)]
    return {each.name: _held(each) for each in entries}


def _held(folder: Path) -> Held:
    sizes = sizes_of(folder)
    return Held(1, len(sizes), sum(sizes.values()))


def _sum(held: Iterable[Held]) -> Held:
    all_ = list(held)
    return Held(sum(h.things for h in all_), sum(h.files for h in all_), sum(h.bytes for h in all_))


def _grouped(held: Mapping[str, Held], words: Mapping[str, str]) -> dict[str, Held]:
    groups: dict[str, list[Held]] = defaultdict(list)
    for name, each in held.items():
        groups[words.get(name, UNKNOWN)].append(each)
    summed = Counter({word: _sum(each).bytes for word, each in groups.items()})
    return {word: _sum(groups[word]) for word, _ in summed.most_common()}


def _folders(site: Site, incoming: Mapping[str, Held], jobs: Mapping[str, Held]) -> dict[str, Held]:
    found = {"incoming": _sum(incoming.values()), "jobs": _sum(jobs.values())}
    lies = places(site)
    found["models"] = _held(lies["models"])
    if "ledger" in lies:
        parts = [path for path in lies["ledger"].parent.glob(f"{lies['ledger'].name}*") if path.is_file()]
        found["ledger"] = Held(1, len(parts), sum(path.stat().st_size for path in parts))
    found["kept"] = _held(site.kept)
    return found
