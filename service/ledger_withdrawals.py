"""What the ledger knows of withdrawal: whose objects are rejected, by which notes, and what others rejected."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy import insert as insert_into

from dicom_nodes.rejection import RejectionNote
from service import schema
from service.jobs import Delivery, DeliveryState, Job, JobState, ResultObject
from service.ledger_commitments import CommitmentLedger
from service.records import every, one, only

NOTE = "note"
"""The kind of a rejection note among the objects of a job."""
_STORED = frozenset({DeliveryState.STORED, DeliveryState.DELIVERED, DeliveryState.COMMITTED})
_AT_ONCE = 500  # a database takes only so many values in one statement


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A job whose objects are to be rejected wherever they are stored."""

    job_id: str
    title: str
    """Of the notes: a code value of `dicom_nodes.rejection.Title`."""
    cause: str
    because: str
    """The words that the notes carry."""
    sends: bool
    """False where the archive rejected the objects itself."""
    settled: bool
    """Nothing of the job is on its way any more, and a note is made for all that was stored."""
    at: float


@dataclass(frozen=True, slots=True)
class SourceRejection:
    """One instance that a rejection note of another system lists."""

    note_uid: str
    sop_instance_uid: str
    series_uid: str
    title: str
    at: float


class WithdrawalLedger(CommitmentLedger):
    """The part of the ledger that is about withdrawal."""

    def withdraw(
        self, job_id: str, to: JobState, cause: str, title: str, because: str, *, sends: bool = True
    ) -> Job | None:
        """Take back what a job made: the job moves, and what still waits to be sent is dropped, all or nothing.

        None, and nothing done, where that happened before; but where only a note of another system had taken it
        back, ours follow now. What may be on its way at this moment is left to `settle_withdrawal`. Raises
        IllegalTransitionError where the job cannot be taken back.
        """
        t, w = schema.jobs, schema.withdrawals
        with self._write() as c:
            job = only(c, Job, select(t).where(t.c.id == job_id).with_for_update())
            if (before := self._withdrawal(c, job_id)) is not None:
                if before.sends or not sends:
                    return None
                said = {"title": str(title), "cause": cause, "because": because, "sends": True, "settled": False}
                c.execute(w.update().where(w.c.job_id == job_id).values(at=self.now(), **said))
                return job
            ended = {"owner": "", "lease_until": 0.0, "stage": "", "hinted_at": 0.0, "reason": cause}
            if job.state is to:
                c.execute(t.update().where(t.c.id == job_id).values(updated_at=self.now(), **ended))
            else:
                self._set(c, "job", t, job_id, job.state, to, cause, ended)
            row = {"job_id": job_id, "title": str(title), "cause": cause, "because": because, "at": self.now()}
            c.execute(insert_into(w).values(sends=sends, settled=False, **row))
            self._drop(c, job_id, cause)
            return only(c, Job, select(t).where(t.c.id == job_id))

    def _drop(self, c: Connection, job_id: str, cause: str) -> None:
        """Drop what waits and cannot be in anybody's hands: never tried, or its time to be tried has come."""
        t, values = schema.deliveries, {"comment": cause}
        for each in self._results(c, job_id):
            free = each.attempts == 0 or each.next_attempt_at <= self.now()
            if each.state is DeliveryState.WAITING and free:
                self._set(c, "delivery", t, each.id, each.state, DeliveryState.DROPPED, cause, values)

    def _results(self, c: Connection, job_id: str) -> list[Delivery]:
        """The deliveries of a job that are not of rejection notes."""
        d, o = schema.deliveries, schema.objects
        query = select(d).join(o, o.c.sop_instance_uid == d.c.sop_instance_uid)
        return every(c, Delivery, query.where(d.c.job_id == job_id, o.c.kind != NOTE).order_by(d.c.id))

    def _notes(self, c: Connection, job_id: str) -> list[Delivery]:
        """The deliveries of a job's rejection notes."""
        d, o = schema.deliveries, schema.objects
        query = select(d).join(o, o.c.sop_instance_uid == d.c.sop_instance_uid)
        return every(c, Delivery, query.where(d.c.job_id == job_id, o.c.kind == NOTE).order_by(d.c.id))

    def withdrawal(self, job_id: str) -> Withdrawal | None:
        """How a job was withdrawn; None where it was not."""
        with self._engine.connect() as c:
            return self._withdrawal(c, job_id)

    def _withdrawal(self, c: Connection, job_id: str) -> Withdrawal | None:
        t = schema.withdrawals
        return one(c, Withdrawal, select(t).where(t.c.job_id == job_id))

    def open_withdrawals(self) -> list[Withdrawal]:
        """Those of which something may still have to be done, the oldest first."""
        t = schema.withdrawals
        with self._engine.connect() as c:
            return every(c, Withdrawal, select(t).where(t.c.settled.is_(False)).order_by(t.c.at, t.c.job_id))

    def to_be_noted(self, job_id: str) -> dict[frozenset[str], list[str]]:
        """What destinations have stored of a withdrawn job and no note there lists: sets of objects, and where."""
        with self._engine.connect() as c:
            return self._to_be_noted(c, job_id)

    def _to_be_noted(self, c: Connection, job_id: str) -> dict[frozenset[str], list[str]]:
        withdrawal = self._withdrawal(c, job_id)
        if withdrawal is None or not withdrawal.sends:
            return {}
        open_: dict[str, set[str]] = {}
        for each in self._ever_stored(c, self._results(c, job_id)):
            open_.setdefault(each.destination, set()).add(each.sop_instance_uid)
        n = schema.noted
        for note in self._notes(c, job_id):
            query = select(n.c.sop_instance_uid).where(n.c.note_uid == note.sop_instance_uid)
            open_.get(note.destination, set()).difference_update(c.execute(query).scalars())
        sets: dict[frozenset[str], list[str]] = {}
        for destination, uids in sorted(open_.items()):
            if uids:
                sets.setdefault(frozenset(uids), []).append(destination)
        return sets

    def _ever_stored(self, c: Connection, deliveries: Collection[Delivery]) -> list[Delivery]:
        """Those that a destination stored at any time, whatever became of them after."""
        t = schema.transitions
        once = select(t.c.subject_id).where(t.c.subject == "delivery", t.c.to_state.in_(_STORED))
        ids = set(c.execute(once.where(t.c.subject_id.in_([str(each.id) for each in deliveries]))).scalars())
        return [each for each in deliveries if str(each.id) in ids]

    def add_note(self, note: ResultObject, rejected: Iterable[str], destinations: Collection[str]) -> None:
        """Record a rejection note, what it lists and where it goes; twice is once."""
        n, uid = schema.noted, note.sop_instance_uid
        with self._write() as c:
            self._address(c, note.job_id, [note], {name: [uid] for name in destinations}, self.now())
            listed = set(c.execute(select(n.c.sop_instance_uid).where(n.c.note_uid == uid)).scalars())
            for each in sorted(set(rejected) - listed):
                c.execute(insert_into(n).values(note_uid=uid, sop_instance_uid=each))
            self._tell(c, note.job_id)

    def settle_withdrawal(self, job_id: str) -> None:
        """Drop what is free now; the withdrawal is settled once nothing is on its way or without a note."""
        t = schema.withdrawals
        with self._write() as c:
            withdrawal = self._withdrawal(c, job_id)
            if withdrawal is None:
                return
            self._drop(c, job_id, withdrawal.cause)
            waits = any(each.state is DeliveryState.WAITING for each in self._results(c, job_id))
            if not waits and not self._to_be_noted(c, job_id):
                c.execute(t.update().where(t.c.job_id == job_id).values(settled=True))
                self._tell(c, job_id)

    def _settle_job(self, c: Connection, job_id: str) -> None:
        """After every delivery that ends: one of a withdrawn job may have been stored, or be its note."""
        super()._settle_job(c, job_id)
        t = schema.withdrawals
        if c.execute(t.update().where(t.c.job_id == job_id).values(settled=False)).rowcount:
            self._tell(c, job_id)

    def _tell(self, c: Connection, job_id: str) -> None:
        """Say in the job's reason where its rejection notes are."""
        t, withdrawal = schema.jobs, self._withdrawal(c, job_id)
        if withdrawal is not None:
            said = "the rejection note is not ours"
            if withdrawal.sends:
                more = "; another is being made" if self._to_be_noted(c, job_id) else ""
                said = _said(self._notes(c, job_id)) + more
            c.execute(t.update().where(t.c.id == job_id).values(reason=f"{withdrawal.cause}; {said}"))

    def is_note(self, delivery: Delivery) -> bool:
        """Whether a delivery is of a rejection note."""
        o = schema.objects
        with self._engine.connect() as c:
            query = select(o.c.kind).where(o.c.sop_instance_uid == delivery.sop_instance_uid)
            return c.execute(query).scalar_one_or_none() == NOTE

    def retry_notes(self, job_id: str, cause: str) -> int:
        """Set a job's failed rejection notes to wait again; how many there were."""
        with self._write() as c:
            failed = [each for each in self._notes(c, job_id) if each.state is DeliveryState.FAILED]
            for each in failed:
                again = {"next_attempt_at": self.now(), "first_attempt_at": 0.0, "attempts": 0, "comment": cause}
                table = schema.deliveries
                self._set(c, "delivery", table, each.id, each.state, DeliveryState.WAITING, cause, again)
            self._tell(c, job_id)
        return len(failed)

    # ── notes of others ─────────────────────────────────────────────────────────────────────────────────────

    def source_rejected(self, note: RejectionNote) -> None:
        """Record what a note of another system lists; the same note again changes nothing."""
        t, at = schema.rejections, self.now()
        with self._write() as c:
            known = select(t.c.sop_instance_uid).where(t.c.note_uid == note.sop_instance_uid)
            listed = set(c.execute(known).scalars())
            for series_uid, references in note.references.items():
                for uid in dict.fromkeys(each.sop_instance_uid for each in references):
                    if uid not in listed:
                        row = {"note_uid": note.sop_instance_uid, "sop_instance_uid": uid, "title": str(note.title)}
                        c.execute(insert_into(t).values(series_uid=series_uid, at=at, **row))
                        listed.add(uid)

    def rejections(self, series_uid: str) -> list[SourceRejection]:
        """Every rejection of an instance of a series, the oldest first."""
        t = schema.rejections
        query = select(t).where(t.c.series_uid == series_uid).order_by(t.c.at, t.c.note_uid, t.c.sop_instance_uid)
        with self._engine.connect() as c:
            return every(c, SourceRejection, query)

    def makers(self, sop_instance_uids: Collection[str]) -> Mapping[str, list[str]]:
        """Which of these objects jobs made, by job; rejection notes are not among them."""
        o, uids = schema.objects, sorted(sop_instance_uids)
        found: dict[str, list[str]] = {}
        with self._engine.connect() as c:
            for first in range(0, len(uids), _AT_ONCE):
                some = o.c.sop_instance_uid.in_(uids[first : first + _AT_ONCE])
                query = select(o.c.job_id, o.c.sop_instance_uid).where(some, o.c.kind != NOTE)
                for job_id, uid in c.execute(query):
                    found.setdefault(job_id, []).append(uid)
        return found


def _said(notes: Collection[Delivery]) -> str:
    """Where the rejection notes of a job stand, for a person."""
    if not notes:
        return "no rejection note is sent, as no destination has stored anything of it"
    words = {DeliveryState.WAITING: "on its way to", DeliveryState.FAILED: "NOT STORED by"}
    return "rejection note " + ", ".join(
        f"{words.get(each.state, 'stored by')} {each.destination}"
        + (f" ({each.comment})" if each.state in words and each.comment else "")
        for each in notes
    )
