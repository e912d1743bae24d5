"""The folder of a run in; what senders were told, what the archive holds and what the ledger says, read, out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from dicom_nodes.decode import read_seg
from tests.faults.auditor import Acknowledged, Evidence, JobSeen, SeriesSeen, Stored
from tests.faults.journal import read_journal

UNSETTLED_SERIES = ("receiving", "complete", "waiting")
UNSETTLED_JOBS = ("queued", "inferring", "inferred", "encoded", "delivering")


@dataclass(frozen=True, slots=True)
class Told:
    """What the senders' journals say."""

    acknowledged: tuple[Acknowledged, ...]
    requests: int
    """C-STORE requests that were answered, or waited for their answer in vain."""
    gone: frozenset[str]
    """Series whose senders never came back."""
    unreleased: frozenset[str]
    """Series whose last association was never released, as their senders see it: nobody said that this was all."""
    gave_up: tuple[str, ...]
    """Instances that a sender gave up."""

    @property
    def instances(self) -> int:
        return len({each.sop_instance_uid for each in self.acknowledged})


def told(senders: Path) -> Told:
    """Read the journals of all senders."""
    lines = [line for path in sorted(senders.glob("*.jsonl")) for line in read_journal(path)]
    asked = [line for line in lines if "uid" in line]
    return Told(
        tuple(Acknowledged(line["series"], line["uid"], line["at"]) for line in asked if line["status"] == 0),
        len(asked),
        frozenset(line["gone"] for line in lines if "gone" in line),
        frozenset(_unreleased(lines)),
        tuple(uid for line in lines for uid in line.get("gave_up", ())),
    )


def _unreleased(lines: Iterable[dict[str, Any]]) -> set[str]:
    broken: set[str] = set()
    for line in lines:
        broken = (broken | set(line.get("broken", ()))) - set(line.get("released", ()))
    return broken


def evidence(senders: Path, archive: Path, ledger: str) -> Evidence:
    """Read everything that the auditor compares; the ledger by its SQLAlchemy URL."""
    with _opened(ledger) as c:
        series = [SeriesSeen(*row) for row in _rows(c, "SELECT series_uid, state, reason FROM series")]
        made: dict[str, list[str]] = {}
        for job_id, uid in _rows(c, "SELECT job_id, sop_instance_uid FROM objects"):
            made.setdefault(job_id, []).append(uid)
        query = "SELECT id, series_uid, revision, state, reason, created_at FROM jobs"
        jobs = [_job(row, made) for row in _rows(c, query)]
    return Evidence(told(senders).acknowledged, list(_stored(archive)), series, jobs)


def _job(row: tuple[str, str, int, str, str, float], made: Mapping[str, Sequence[str]]) -> JobSeen:
    return JobSeen(*row, made=tuple(made.get(row[0], ())))


def _stored(archive: Path) -> Iterator[Stored]:
    for line in read_journal(archive / "held.jsonl"):
        seg = read_seg(archive / line["path"])
        series_uid, referenced = next(iter(seg.series.items()), ("", frozenset()))
        drawn = frozenset(uid for frame in seg.frames for uid, _ in frame.images)
        yield Stored(line["uid"], line["digest"], series_uid, frozenset(referenced), drawn)


def unsettled(ledger: str) -> list[str]:
    """What is still on its way, by the ledger."""
    with _opened(ledger) as c:
        found = [
            f"series {uid} {state}: {reason}"
            for uid, state, reason in _rows(c, "SELECT series_uid, state, reason FROM series")
            if state in UNSETTLED_SERIES
        ]
        found += [
            f"job {name} {state}, {attempts} attempts: {reason}"
            for name, state, attempts, reason in _rows(c, "SELECT id, state, attempts, reason FROM jobs")
            if state in UNSETTLED_JOBS
        ]
    return found


def _rows(connection: Connection, query: str) -> Sequence[Any]:
    return connection.execute(text(query)).all()


@contextmanager
def _opened(ledger: str) -> Iterator[Connection]:
    """The ledger, for reading only and as of one moment."""
    url = make_url(ledger)
    if url.get_backend_name() == "sqlite":
        engine = create_engine(f"sqlite:///file:{url.database}?mode=ro&uri=true", connect_args={"timeout": 30})
    else:
        options = "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
        engine = create_engine(url, connect_args={"options": options})
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
