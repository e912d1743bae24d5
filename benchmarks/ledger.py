"""`python -m benchmarks.ledger [SERIES]`: the ledger at 1,000 series and at 1,000,000, and how the times compare.

Both ledgers are filled with settled work (series, jobs, objects, deliveries, transitions) and with the same little
of work that is open. Then everything is timed that the page, the receiver, the workers and the sweeper ask and
write all day: the fastest of several runs, in milliseconds. What a growing site must not pay for is what has long
been done, so the ratio in the last column should be about 1. `--url` names a PostgreSQL whose schema `public` may
be emptied; without it, SQLite in a folder of its own.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

from service.config import Site
from service.dispatch import wake_waiting
from service.jobs import DeliveryState, Job, JobState, ResultObject, SeriesState
from service.ledger import Ledger, open_ledger
from service.web.overview import Group, rows, tiles

SMALL, LARGE = 1_000, 1_000_000
OPEN = 20
"""So many series, jobs and deliveries are open in both."""
RUNS = 25
AT_ONCE = 50_000
"""Series in one transaction of the filling."""
_STATES = "CASE i % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'held' ELSE 'delivered' END"
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
_FILL = (
    """INSERT INTO series (series_uid, study_uid, calling_aet, state, revision, instance_count, association,
       fingerprint, reason, explanation, first_heard_at, last_heard_at, updated_at)
       {n} SELECT '1.2.3.' || i, '1.2.' || (i / 6), 'MR' || (i % 7),
       CASE i % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'held' WHEN 2 THEN 'unrouted' ELSE 'routed' END,
       1, 120, 'released', 'f', 'lumbar (mrannotator-spine)', 'because', i, i, i FROM n""",
    """INSERT INTO jobs (id, series_uid, study_uid, revision, volume_index, volume_name, submodel, protocol,
       urgency, laterality, state, stage, percent, attempts, owner, lease_until, hinted_at, reason, model_version,
       created_at, updated_at)
       {n} SELECT 'j' || i, '1.2.3.' || i, '1.2.' || (i / 6), 1, 1, '', 'mrannotator-spine', 'lumbar', 0, '',
       """ + _STATES + """, '', 100, 1, '', 0.0, 1.0, '', '1', i, i FROM n""",
    """INSERT INTO objects (sop_instance_uid, job_id, kind, sop_class_uid, series_uid, path, made_at)
       {n} SELECT '2.25.' || i, 'j' || i, 'seg', '1.2.840', '2.25', '/data/jobs/x/seg.dcm', i FROM n""",
    """INSERT INTO deliveries (job_id, sop_instance_uid, destination, state, attempts, next_attempt_at,
       first_attempt_at, comment, updated_at) {n} SELECT 'j' || i, '2.25.' || i, 'pacs',
       CASE i % 10 WHEN 0 THEN 'failed' ELSE 'delivered' END, 1, 0.0, i, 'status 0x0000', i FROM n""",
    *(
        f"""INSERT INTO transitions (subject, subject_id, from_state, to_state, at, cause, actor)
        {{n}} SELECT '{subject}', '{key}' || i, '{old}', '{new}', i, 'because', 'results' FROM n"""
        for subject, key, old, new in (
            ("series", "1.2.3.", "", "receiving"), ("series", "1.2.3.", "receiving", "complete"),
            ("series", "1.2.3.", "complete", "routed"), ("job", "j", "", "queued"),
            ("job", "j", "queued", "inferring"),
            ("job", "j", "inferring", "inferred"), ("job", "j", "inferred", "encoded"),
            ("job", "j", "encoded", "delivering"), ("job", "j", "delivering", "delivered"),
        )
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One thing that is timed."""

    kind: str
    name: str
    run: Callable[[], object]


def filled(url: str, series: int, site: Site) -> Ledger:
    """A ledger with so many settled series, and with a little open work."""
    ledger = open_ledger(url, actor="bench")
    engine = create_engine(url)
    for first in range(1, series + 1, AT_ONCE):
        with engine.begin() as connection:
            for statement in _FILL:
                numbers = {"first": first, "last": min(first + AT_ONCE - 1, series)}
                connection.execute(text(statement.format(n=_NUMBERS)), numbers)
    engine.dispose()
    ledger.fold()
    for number in range(OPEN):
        ledger.heard(f"1.3.{number}", "1.3", "MR1", 10)
        queued(ledger, f"1.4.{number}")
        ledger.claim_job(queued(ledger, f"1.5.{number}").id, JobState.QUEUED, JobState.INFERRING, "w", 3600)
        delivering(ledger, f"1.6.{number}")
    if ledger.url.startswith("postgresql"):
        with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("ANALYZE"))
    return ledger


def queued(ledger: Ledger, uid: str) -> Job:
    """A routed series with one queued job."""
    ledger.heard(uid, f"{uid}.1", "MR1", 120)
    ledger.move_series(uid, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    at = ledger.now()
    job = Job(
        id=f"q{uid}"[:12], series_uid=uid, study_uid=f"{uid}.1", revision=1, volume_index=1, volume_name="",
        submodel="mrannotator-spine", protocol="lumbar", urgency=0, laterality="", state=JobState.QUEUED, stage="",
        percent=0, attempts=0, owner="", lease_until=0.0, hinted_at=0.0, reason="", model_version="", created_at=at,
        updated_at=at,
    )  # fmt: skip
    ledger.route_series(uid, "1 job", "because", [job])
    return job


def delivering(ledger: Ledger, uid: str) -> int:
    """The id of a delivery that is due."""
    job = queued(ledger, uid)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 60)
    ledger.move_job(job.id, JobState.INFERRED, "done", owner="w")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w", 60)
    made = ResultObject(f"2.{uid}", job.id, "seg", "1.2.840", "2.25", "/data/seg.dcm", ledger.now())
    ledger.encoded(job.id, "w", [made], {"pacs": [made.sop_instance_uid]})
    return ledger.deliveries(job.id)[0].id


def cases(ledger: Ledger, site: Site) -> Iterator[Case]:
    """Everything that is timed, by what it belongs to."""
    number = count()

    def submit() -> None:
        queued(ledger, f"1.7.{next(number)}")

    def deliver() -> None:
        delivery = ledger.claim_delivery(delivering(ledger, f"1.8.{next(number)}"), 60)
        assert delivery is not None
        ledger.settle_delivery(delivery, DeliveryState.DELIVERED, "status 0x0000", 0)

    yield Case("list", "the tiles of the page: how many stand where", lambda: tiles(ledger))
    yield Case("list", "the page: the latest 60 series", lambda: rows(ledger, None))
    for group in Group:
        yield Case("list", f"the page: what is {group.value}", lambda group=group: rows(ledger, group))  # type: ignore[misc]
    yield Case("list", "the latest 200 jobs", ledger.list_jobs)
    yield Case("list", "one series: its jobs", lambda: ledger.list_jobs(series_uid="1.2.3.500"))
    yield Case("list", "one series: its history", lambda: ledger.history("series", "1.2.3.500"))
    yield Case("submit", "heard, complete, routed with one job", submit)
    yield Case("submit", "one job from its queue to delivered", deliver)
    yield Case("submit", "the series of a study", lambda: ledger.series_of_study("1.2.50"))
    yield Case("sweep", "jobs that workers hold", ledger.held_jobs)
    yield Case("sweep", "jobs that are ready", lambda: ledger.ready_jobs(JobState.QUEUED, ledger.now()))
    yield Case("sweep", "series to be routed", ledger.series_to_route)
    yield Case("sweep", "series that wait for their study", lambda: wake_waiting(site, ledger))
    yield Case("sweep", "deliveries that are due", ledger.deliveries_due)
    yield Case("sweep", "withdrawals that are open", ledger.open_withdrawals)
    yield Case("sweep", "numbers to be folded", ledger.fold)
    yield Case("sweep", "how much work waits", ledger.backlog)


def measured(url: str, series: int) -> dict[tuple[str, str], float]:
    """Milliseconds for each case, the fastest; fills the ledger first and says how large it is."""
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    site = Site.model_validate(values)
    started = time.monotonic()
    ledger = filled(url, series, site)
    print(f"{series:>9,} series filled in {time.monotonic() - started:.0f} s", flush=True)
    found = {}
    for case in cases(ledger, site):
        case.run()
        found[case.kind, case.name] = min(_seconds(case.run) for _ in range(RUNS)) * 1000
    ledger.close()
    return found


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Fill, time and compare."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("series", type=int, nargs="?", default=LARGE)
    arguments.add_argument("--url", help="a PostgreSQL whose schema `public` may be emptied")
    given = arguments.parse_args()
    found = []
    for series in (SMALL, given.series):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            url = given.url or f"sqlite:///{Path(folder)}/ledger.sqlite"
            if given.url:
                engine = create_engine(url)
                with engine.begin() as connection:
                    connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
                engine.dispose()
            found.append(measured(url, series))
    small, large = found
    print(f"\n| | | {SMALL:,} series | {given.series:,} series | ratio |\n|---|---|---|---|---|")
    for key, before in small.items():
        print(f"| {key[0]} | {key[1]} | {before:.2f} ms | {large[key]:.2f} ms | {large[key] / before:.1f} |")


if __name__ == "__main__":
    main()
