"""What the ledger knows of series: what came, where each stands and why, what was refused."""

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import ColumnElement, select
from sqlalchemy import insert as insert_into

from service import schema
from service.fairness import series_in_turn
from service.jobs import SeriesRecord, SeriesState
from service.records import Records, every, one, only

OPEN = "open"
"""An association that has not ended."""
REFUSALS_KEPT = 100_000
"""What is refused belongs to no series that would bound it: a sender of broken objects would fill the disk."""


class SeriesLedger(Records):
    """The part of the ledger that is about series."""

    def heard(
        self, series_uid: str, study_uid: str, calling_aet: str, instance_count: int, association: str = OPEN
    ) -> None:
        """Record that a series now has so many instances; a settled series is reopened by a late one.

        `association` is how the one that brought the last of them stands.
        """
        at, t = self.now(), schema.series
        with self._write() as c:
            old = one(c, SeriesRecord, select(t).where(t.c.series_uid == series_uid).with_for_update())
            if old is None:
                record = SeriesRecord(
                    series_uid=series_uid,
                    study_uid=study_uid,
                    calling_aet=calling_aet,
                    state=SeriesState.RECEIVING,
                    revision=0,
                    instance_count=instance_count,
                    association=association,
                    fingerprint="",
                    reason="",
                    explanation="",
                    first_heard_at=at,
                    last_heard_at=at,
                    updated_at=at,
                )
                c.execute(insert_into(t).values(**asdict(record)))
                self._log(c, "series", series_uid, "", SeriesState.RECEIVING, f"first instance from {calling_aet}")
                return
            values = {"instance_count": instance_count, "association": association}
            values |= {"last_heard_at": at, "updated_at": at}
            if old.state is not SeriesState.RECEIVING:
                cause = f"late instance from {calling_aet}"
                self._set(c, "series", t, series_uid, old.state, SeriesState.RECEIVING, cause, {"reason": cause})
            c.execute(t.update().where(t.c.series_uid == series_uid).values(**values))

    def move_series(self, series_uid: str, to: SeriesState, cause: str, **values: object) -> SeriesRecord:
        """Move a series to a state that may follow its present one, with the cause as its reason."""
        t = schema.series
        with self._write() as c:
            old = one(c, SeriesRecord, select(t).where(t.c.series_uid == series_uid).with_for_update())
            if old is None:
                raise KeyError(series_uid)
            self._set(c, "series", t, series_uid, old.state, to, cause, {"reason": cause, **values})
            return only(c, SeriesRecord, select(t).where(t.c.series_uid == series_uid))

    def series(self, series_uid: str) -> SeriesRecord | None:
        """One series, or None if the ledger never heard of it."""
        with self._engine.connect() as c:
            return one(c, SeriesRecord, select(schema.series).where(schema.series.c.series_uid == series_uid))

    def list_series(self, *states: SeriesState, limit: int = 200) -> list[SeriesRecord]:
        """The series in these states (all states if none is named), the latest heard first."""
        t = schema.series
        query = select(t).order_by(t.c.last_heard_at.desc()).limit(limit)
        asked = [query.where(t.c.state == state) for state in dict.fromkeys(states)] or [query]
        with self._engine.connect() as c:  # one query for each state: an index has each in this order already
            found = [each for one_ in asked for each in every(c, SeriesRecord, one_)]
        return sorted(found, key=lambda each: each.last_heard_at, reverse=True)[:limit]

    def series_to_route(self, limit: int = 200) -> list[SeriesRecord]:
        """The complete series, the one of every sender in turn that was heard of first."""
        t = series_in_turn(SeriesState.COMPLETE)
        query = select(t).order_by(t.c.turn, t.c.last_heard_at, t.c.series_uid).limit(limit)
        with self._engine.connect() as c:
            return every(c, SeriesRecord, query)

    def refused(self, calling_aet: str, sop_instance_uid: str, status: int, reason: str) -> None:
        """Record an object that was not accepted, and forget the oldest of very many."""
        row = {"at": self.now(), "calling_aet": calling_aet, "sop_instance_uid": sop_instance_uid[:128]}
        t = schema.refusals
        with self._write() as c:
            added = c.execute(insert_into(t).values(status=status, reason=reason, **row).returning(t.c.id))
            c.execute(t.delete().where(t.c.id <= added.scalar_one() - REFUSALS_KEPT))

    def refusals(self, limit: int = 200) -> list[dict[str, object]]:
        """The objects that were not accepted, the latest first."""
        with self._engine.connect() as c:
            query = select(schema.refusals).order_by(schema.refusals.c.id.desc()).limit(limit)
            return [dict(row) for row in c.execute(query).mappings()]

    # ── studies ─────────────────────────────────────────────────────────────────────────────────────────────

    def keep_volumes(self, series_uid: str, study_uid: str, evidence: Mapping[int, str]) -> None:
        """Keep what routing saw of each volume of a series, by its index, in place of what it saw before."""
        t = schema.volumes
        with self._write() as c:
            c.execute(t.delete().where(t.c.series_uid == series_uid))
            for index, text in evidence.items():
                row = {"series_uid": series_uid, "volume_index": index, "study_uid": study_uid, "evidence": text}
                c.execute(insert_into(t).values(**row))

    def volumes_of_study(self, study_uid: str) -> dict[str, list[str]]:
        """What routing saw of every volume of a study, by series, in the order of their index."""
        return self._volumes(schema.volumes.c.study_uid == study_uid)

    def volumes_of_series(self, series_uid: str) -> list[str]:
        """What routing saw of every volume of a series, in the order of their index."""
        return self._volumes(schema.volumes.c.series_uid == series_uid).get(series_uid, [])

    def _volumes(self, wanted: ColumnElement[bool]) -> dict[str, list[str]]:
        t, found = schema.volumes, dict[str, list[str]]()
        with self._engine.connect() as c:
            rows = c.execute(select(t).where(wanted).order_by(t.c.series_uid, t.c.volume_index)).mappings()
            for row in rows:
                found.setdefault(row["series_uid"], []).append(row["evidence"])
        return found

    def series_of_study(self, study_uid: str) -> list[SeriesRecord]:
        """The series of a study, the first heard first."""
        t = schema.series
        with self._engine.connect() as c:
            query = select(t).where(t.c.study_uid == study_uid).order_by(t.c.first_heard_at, t.c.series_uid)
            return every(c, SeriesRecord, query)

    def heard_since(self, at: float) -> list[SeriesRecord]:
        """The series of which something came since a time, the first heard first."""
        t = schema.series
        with self._engine.connect() as c:
            query = select(t).where(t.c.last_heard_at >= at).order_by(t.c.first_heard_at, t.c.series_uid)
            return every(c, SeriesRecord, query)
