"""The folder of a run in; what senders were told, what the archive holds and what the ledger says, read, out."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def evidence(senders: Path, archive: Path, ledger: Path) -> Evidence:
    """Read everything that the auditor compares."""
    with closing(_opened(ledger)) as c:
        series = [SeriesSeen(*row) for row in c.execute("SELECT series_uid, state, reason FROM series")]
        made: dict[str, list[str]] = {}
        for job_id, uid in c.execute("SELECT job_id, sop_instance_uid FROM objects"):
            made.setdefault(job_id, []).append(uid)
        query = "SELECT id, series_uid, revision, state, reason, created_at FROM jobs"
        jobs = [_job(row, made) for row in c.execute(query)]
    return Evidence(told(senders).acknowledged, list(_stored(archive)), series, jobs)


def _job(row: tuple[str, str, int, str, str, float], made: dict[str, list[str]]) -> JobSeen:
    return JobSeen(*row, made=tuple(made.get(row[0], ())))


def _stored(archive: Path) -> Iterator[Stored]:
    for line in read_journal(archive / "held.jsonl"):
        seg = read_seg(archive / line["path"])
        series_uid, referenced = next(iter(seg.series.items()), ("", frozenset()))
        drawn = frozenset(uid for frame in seg.frames for uid, _ in frame.images)
        yield Stored(line["uid"], line["digest"], series_uid, frozenset(referenced), drawn)


def unsettled(ledger: Path) -> list[str]:
    """What is still on its way, by the ledger."""
    with closing(_opened(ledger)) as c:
        found = [
            f"series {uid} {state}: {reason}"
            for uid, state, reason in c.execute("SELECT series_uid, state, reason FROM series")
            if state in UNSETTLED_SERIES
        ]
        found += [
            f"job {name} {state}, {attempts} attempts: {reason}"
            for name, state, attempts, reason in c.execute("SELECT id, state, attempts, reason FROM jobs")
            if state in UNSETTLED_JOBS
        ]
    return found


def _opened(ledger: Path) -> Any:
    """The ledger, for reading only."""
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)
    connection.execute("PRAGMA query_only = 1")
    return connection
