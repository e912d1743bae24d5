"""`python -m benchmarks.ledger [SERIES] [--postgresql]`: the ledger at 1,000 series and at 1,000,000, compared.

Both ledgers hold settled work, and the same little of work that is open (ledger_filling.py). Then everything is
timed that the page, the receiver, the workers and the sweeper ask and write all day, once in the small ledger and
once in the large one, in turn, so that whatever else the machine does falls on both. What a growing site must not
pay for is what has long been done: the ratio of the medians, in the last column, should be about 1.

Without an option the ledger is an SQLite file. `--postgresql` starts a PostgreSQL of its own (Debian's package; it
does not wait for its disk, which would hide what queries cost), `--url` names one, with a superuser of it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.ledger_filling import delivered, filled, queued, series_uid, study_uid
from service.config import Site
from service.dispatch import wake_waiting
from service.jobs import JobState
from service.ledger import Ledger
from service.web.overview import REFUSALS, Group, rows, tiles
from tests.conftest import free_port
from tests.postgresql import missing, postgresql

SMALL, LARGE = 1_000, 1_000_000
RUNS = 25
_AMID = 250
"""A series that both ledgers have, long settled."""
_DAY = 86400.0


@dataclass(frozen=True)
class Case:
    """One thing that is timed."""

    kind: str
    """"list", "submit" or "sweep"."""
    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Row:
    """How long one thing took in each of the two ledgers, milliseconds, run by run."""

    kind: str
    name: str
    small_ms: tuple[float, ...]
    large_ms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """By how much the large ledger is slower, by the medians."""
        return median(self.large_ms) / median(self.small_ms)


@dataclass(frozen=True)
class Growth:
    """What the ledger costs with many series, beside what it costs with `SMALL`."""

    database: str
    series: int
    bytes: int
    """Of the large ledger on disk, its indexes included."""
    rows: tuple[Row, ...]


def cases(ledger: Ledger, site: Site, series: int) -> Iterator[Case]:
    """Everything that is timed in a ledger of so many settled series."""
    new, day_ago = (f"1.7.{number}" for number in count()), ledger.now() - _DAY
    late = [series_uid(each) for each in range(series - 200, series)]
    (settled,) = ledger.list_jobs(series_uid=series_uid(_AMID))
    yield Case("list", "the tiles of the page: how many stand where", lambda: tiles(ledger))
    yield Case("list", "the page: the latest 60 series", lambda: rows(ledger, None))
    for group in Group:
        yield Case("list", f"the page: what is {group.value}", lambda group=group: rows(ledger, group))  # type: ignore[misc]
    yield Case("list", "the page: what was refused", lambda: ledger.refusals(REFUSALS))
    yield Case("list", "the latest 200 jobs", ledger.list_jobs)
    yield Case("list", "one series: its jobs", lambda: ledger.list_jobs(series_uid=series_uid(_AMID)))
    yield Case("list", "one series: its history", lambda: ledger.history("series", series_uid(_AMID)))
    yield Case("list", "the jobs that failed within a day", lambda: ledger.failed_jobs(day_ago, ledger.now()))
    yield Case("list", "the series that failed within a day", lambda: ledger.failed_series(day_ago, ledger.now()))
    yield Case("list", "the series of a day", lambda: ledger.heard_since(day_ago))
    yield Case("submit", "heard, complete, routed with one job", lambda: queued(ledger, next(new)))
    yield Case("submit", "from the first instance to a result kept", lambda: delivered(ledger, next(new)))
    yield Case("submit", "the series of a study", lambda: ledger.series_of_study(study_uid(_AMID)))
    yield Case("submit", "the volumes of a study", lambda: ledger.volumes_of_study(study_uid(_AMID)))
    yield Case("submit", "whether an archive was asked for it", lambda: ledger.is_backfill(series_uid(_AMID)))
    yield Case("submit", "what others rejected of it", lambda: ledger.rejections(series_uid(_AMID)))
    yield Case("submit", "the result whose place a new one takes", lambda: ledger.predecessor(settled, "seg"))
    yield Case("sweep", "jobs that workers hold", ledger.held_jobs)
    yield Case("sweep", "jobs that are ready", lambda: ledger.ready_jobs(JobState.QUEUED, ledger.now()))
    yield Case("sweep", "series to be routed", ledger.series_to_route)
    yield Case("sweep", "series that wait for their study", lambda: wake_waiting(site, ledger))
    yield Case("sweep", "deliveries that are due", ledger.deliveries_due)
    yield Case("sweep", "deliveries that nobody wants any more", ledger.end_taken_back)
    yield Case("sweep", "deliveries that waited too long", lambda: ledger.overdue_with("pacs", _DAY))
    yield Case("sweep", "withdrawals that are open", ledger.open_withdrawals)
    yield Case("sweep", "deletions that are not finished", ledger.unfinished_deletions)
    yield Case("sweep", "whether the files of 200 series may go", lambda: ledger.stands(late))
    yield Case("sweep", "numbers to be folded", ledger.fold)
    yield Case("sweep", "how much work waits", ledger.backlog)


def measure(series: int = LARGE, url: str | None = None) -> Growth:
    """Fill both ledgers and time every case in both, in turn.

    `url` is of a PostgreSQL and a superuser of it, who makes databases and drops them again; None: SQLite, in a
    folder that is removed.
    """
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    site = Site.model_validate(values)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = [stack.enter_context(_new_ledger(name, folder, url)) for name in ("small", "large")]
        small, large = (
            stack.enter_context(closing(filled(where, number)))
            for where, number in zip(urls, (SMALL, series), strict=True)
        )
        size = _bytes(urls[1])
        both = zip(cases(small, site, SMALL), cases(large, site, series), strict=True)
        return Growth(make_url(urls[1]).get_backend_name(), series, size, tuple(_row(*pair) for pair in both))


def _row(small: Case, large: Case) -> Row:
    small.run(), large.run()
    times = [(_ms(small.run), _ms(large.run)) for _ in range(RUNS)]
    return Row(small.kind, small.name, *(tuple(each) for each in zip(*times, strict=True)))


def _ms(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started)


@contextmanager
def _new_ledger(name: str, folder: Path, url: str | None) -> Iterator[str]:
    """The URL of a ledger in which there is nothing."""
    if url is None:
        yield f"sqlite:///{folder}/{name}.sqlite"
        return
    database = f"sagittal_benchmark_{name}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with closing(engine.connect()) as server:
        server.execute(text(f"DROP DATABASE IF EXISTS {database}"))
        server.execute(text(f"CREATE DATABASE {database}"))
        yield make_url(url).set(database=database).render_as_string(hide_password=False)
        server.execute(text(f"DROP DATABASE {database} WITH (FORCE)"))
    engine.dispose()


def _bytes(url: str) -> int:
    """How much a ledger takes on disk."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            size = Path(make_url(url).database or "").stat().st_size
        else:
            size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    engine.dispose()
    return int(size)


@contextmanager
def own_postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL that runs for as long as this is entered."""
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder), free_port()) as server:
        yield server.url()


def show(found: Growth) -> str:
    """The table, in Markdown."""
    lines = [
        f"| {found.database} | | {SMALL:,} series | {found.series:,} series | ratio |",
        "|---|---|---|---|---|",
        *(
            f"| {row.kind} | {row.name} | {median(row.small_ms):.2f} ms | {median(row.large_ms):.2f} ms "
            f"| {row.ratio:.1f} |"
            for row in found.rows
        ),
        f"| | on disk, with {found.series:,} series | | {found.bytes / 1e9:.1f} GB | |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Fill, time and compare."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("series", type=int, nargs="?", default=LARGE)
    where = arguments.add_mutually_exclusive_group()
    where.add_argument("--postgresql", action="store_true", help="a PostgreSQL that is started for this")
    where.add_argument("--url", help="a PostgreSQL, with a superuser of it")
    given = arguments.parse_args()
    if given.postgresql and (lacks := missing()):
        arguments.error(f"not installed: {lacks}")
    with own_postgresql() if given.postgresql else nullcontext(given.url) as url:
        print(show(measure(given.series, url)))


if __name__ == "__main__":
    main()
