"""What the ledger knows of studies that are fetched from an archive, and of what failed in a span of time."""

from sqlalchemy import ColumnElement, Table, bindparam, func, select
from sqlalchemy import insert as insert_into

from service import schema
from service.jobs import Job, JobState, SeriesRecord, SeriesState
from service.records import Records, every


class BackfillLedger(Records):
    """The part of the ledger that is about fetching, and about trying many again."""

    def note_backfill(self, series_uid: str, instances: int) -> None:
        """Remember that an archive, which lists so many instances, is about to be asked for a series."""
        s, b = schema.series, schema.backfill
        with self._write() as c:
            if c.execute(b.update().where(b.c.series_uid == series_uid).values(instances=instances)).rowcount:
                return
            known = c.execute(select(s.c.series_uid).where(s.c.series_uid == series_uid)).first() is not None
            row = {"series_uid": series_uid, "instances": instances, "was_known": known, "at": self.now()}
            c.execute(insert_into(b).values(**row))

    def forget_backfill(self, series_uid: str) -> None:
        """Take that back: nothing of the series came."""
        t = schema.backfill
        with self._write() as c:
            c.execute(t.delete().where(t.c.series_uid == series_uid))

    def is_backfill(self, series_uid: str) -> bool:
        """Whether a series is here only because an archive was asked for it."""
        t = schema.backfill
        query = select(t.c.series_uid).where(t.c.series_uid == series_uid, t.c.was_known.is_(False))
        with self._engine.connect() as c:
            return c.execute(query).first() is not None

    def listed_instances(self, series_uid: str) -> int:
        """How many instances of a series the archive lists that was asked for it; 0 where none was asked."""
        t = schema.backfill
        with self._engine.connect() as c:
            return int(c.execute(select(t.c.instances).where(t.c.series_uid == series_uid)).scalar() or 0)

    def backlog(self) -> int:
        """How much work nobody has begun: jobs that wait for a worker, and series that wait to be routed."""
        j, s = schema.jobs, schema.series
        jobs = select(func.count()).select_from(j).where(j.c.state == JobState.QUEUED)
        series = select(func.count()).select_from(s).where(s.c.state == SeriesState.COMPLETE)
        with self._engine.connect() as c:
            return int(c.execute(jobs).scalar_one()) + int(c.execute(series).scalar_one())

    def failed_jobs(self, since: float, until: float, containing: str = "") -> list[Job]:
        """The jobs that failed from `since` to before `until`, the first first.

        `containing` is a part of their reason, in any letter case.
        """
        t = schema.jobs
        wanted = _failed_between(t, since, until, containing)
        with self._engine.connect() as c:
            return every(c, Job, select(t).where(*wanted).order_by(t.c.updated_at, t.c.id))

    def failed_series(self, since: float, until: float, containing: str = "") -> list[SeriesRecord]:
        """The series that failed in that time, as `failed_jobs`."""
        t = schema.series
        wanted = _failed_between(t, since, until, containing)
        with self._engine.connect() as c:
            return every(c, SeriesRecord, select(t).where(*wanted).order_by(t.c.updated_at, t.c.series_uid))


def _failed_between(t: Table, since: float, until: float, containing: str) -> tuple[ColumnElement[bool], ...]:
    """What a row that failed in this time looks like; what failed changes only by its next transition.

    The state is written into the statement, which is how a database knows the index of failed rows for the one.
    """
    failed = t.c.state == bindparam("failed", "failed", literal_execute=True)
    reason = t.c.reason.icontains(containing, autoescape=True)
    return failed, t.c.updated_at >= since, t.c.updated_at < until, reason
