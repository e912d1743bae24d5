"""The states of a series, a job and a delivery, and which may follow which; nothing else may move them."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from hashlib import sha256
from pathlib import Path

from dicom_nodes.errors import SagittalError


class IllegalTransitionError(SagittalError):
    """A move that the tables below do not know: a fault of the program, never of the input."""


class SeriesState(StrEnum):
    """Where a received series stands."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    WAITING = "waiting"
    """For the other series of its study, without which it cannot be routed."""
    ROUTED = "routed"
    UNROUTED = "unrouted"
    HELD = "held"
    """In doubt: a person decides."""
    FAILED = "failed"


class JobState(StrEnum):
    """Where one run of one sub-model on one volume stands."""

    QUEUED = "queued"
    INFERRING = "inferring"
    INFERRED = "inferred"
    HELD = "held"
    """A check found something: a person decides whether the result is sent."""
    ENCODED = "encoded"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    """Every destination has stored every object."""
    COMMITTED = "committed"
    """Every destination has confirmed that it keeps every object (storage commitment, PS3.4 J)."""
    FAILED = "failed"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    """A person or the archive took it back: rejection notes go where its objects are stored (IHE IOCM)."""


class Urgency(IntEnum):
    """How soon a job is wanted: the greater goes first."""

    BACKFILL = -1
    """Of studies that were fetched from an archive: whenever nothing else waits."""
    ROUTINE = 0
    HIGH = 1
    STAT = 2


class FailureKind(StrEnum):
    """What a failure is the fault of, and so who can mend it."""

    SERIES = "series"
    """Its images: nobody tries again, the series has to be sent otherwise."""
    MODEL = "model"
    """A sub-model's files: tried again when a person has mended them."""
    RESULT = "result"
    """Nobody: the sub-model found nothing, or what it found cannot be sent."""
    MACHINE = "machine"
    """Memory, disk, GPU, or a worker that died or hung: tried again by itself, later."""
    DESTINATION = "destination"
    """Who was to take the result: the job's own attempts are not touched."""
    PROGRAM = "program"
    """Ours: an error that nobody foresaw, tried again by itself."""


class DeliveryState(StrEnum):
    """Where one object stands on its way to one destination."""

    WAITING = "waiting"
    STORED = "stored"
    """C-STORE succeeded, and the destination is asked to confirm that it keeps the object."""
    DELIVERED = "delivered"
    """C-STORE succeeded, and nobody confirms more than that."""
    COMMITTED = "committed"
    DROPPED = "dropped"
    """Not sent after all: the destination took another form of it, or the result was withdrawn."""
    FAILED = "failed"


S, J, D = SeriesState, JobState, DeliveryState

LEGAL: dict[str, dict[str, frozenset[StrEnum]]] = {
    "series": {
        S.RECEIVING: frozenset({S.COMPLETE, S.FAILED}),
        S.COMPLETE: frozenset({S.WAITING, S.ROUTED, S.UNROUTED, S.HELD, S.FAILED, S.RECEIVING}),
        S.WAITING: frozenset({S.COMPLETE, S.FAILED, S.RECEIVING}),
        # A late instance reopens a series; an operator sends it through routing again, or names its sub-model.
        S.ROUTED: frozenset({S.RECEIVING, S.COMPLETE}),
        S.UNROUTED: frozenset({S.RECEIVING, S.COMPLETE, S.ROUTED}),
        S.HELD: frozenset({S.RECEIVING, S.COMPLETE, S.ROUTED}),
        S.FAILED: frozenset({S.RECEIVING, S.COMPLETE}),
    },
    "job": {
        J.QUEUED: frozenset({J.INFERRING, J.FAILED, J.SUPERSEDED}),
        J.INFERRING: frozenset({J.INFERRED, J.QUEUED, J.FAILED, J.SUPERSEDED}),
        J.INFERRED: frozenset({J.ENCODED, J.HELD, J.FAILED, J.SUPERSEDED}),
        # Released by a person, it is encoded and sent; else it is failed or run again.
        J.HELD: frozenset({J.INFERRED, J.FAILED, J.QUEUED, J.SUPERSEDED}),
        J.ENCODED: frozenset({J.DELIVERING, J.FAILED, J.SUPERSEDED, J.WITHDRAWN}),
        J.DELIVERING: frozenset({J.DELIVERED, J.FAILED, J.SUPERSEDED, J.WITHDRAWN}),
        # What was stored may be confirmed, or be lost there and sent again, or stay without an answer.
        # A person may have it run again, as by a newer model.
        J.DELIVERED: frozenset({J.COMMITTED, J.DELIVERING, J.FAILED, J.SUPERSEDED, J.WITHDRAWN, J.QUEUED}),
        J.COMMITTED: frozenset({J.SUPERSEDED, J.WITHDRAWN, J.QUEUED}),
        J.FAILED: frozenset({J.QUEUED, J.DELIVERING, J.SUPERSEDED, J.WITHDRAWN}),
        J.SUPERSEDED: frozenset({J.WITHDRAWN}),
        J.WITHDRAWN: frozenset(),
    },
    "delivery": {
        D.WAITING: frozenset({D.WAITING, D.STORED, D.DELIVERED, D.DROPPED, D.FAILED}),
        D.STORED: frozenset({D.WAITING, D.DELIVERED, D.COMMITTED, D.FAILED}),
        D.DELIVERED: frozenset(),
        D.COMMITTED: frozenset(),
        # Stored after all, by an attempt that had been given up. What failed is also tried again by a person, or
        # confirmed later.
        D.DROPPED: frozenset({D.STORED, D.DELIVERED}),
        D.FAILED: frozenset({D.WAITING, D.STORED, D.DELIVERED, D.COMMITTED}),
    },
}

TERMINAL = frozenset({J.HELD, J.DELIVERED, J.COMMITTED, J.FAILED, J.SUPERSEDED, J.WITHDRAWN})
"""A job in one of these waits for nothing of its own.

It moves when a person or a newer revision of its series says so, or when a destination says what became of what it
stored.
"""


def require_legal(subject: str, subject_id: str, old: StrEnum, new: StrEnum) -> None:
    """Raise IllegalTransitionError unless a subject ("series", "job", "delivery") may go from `old` to `new`."""
    if new not in LEGAL[subject][old]:
        raise IllegalTransitionError(f"{subject} {subject_id}: {old.value} may not become {new.value}")


def job_id(series_uid: str, revision: int, volume_index: int, submodel: str, protocol: str) -> str:
    """The name of a job: the same work always has the same one, so that asking twice makes one job."""
    key = f"{series_uid}\n{revision}\n{volume_index}\n{submodel}\n{protocol}"
    return sha256(key.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """What the ledger knows of one series."""

    series_uid: str
    study_uid: str
    calling_aet: str
    state: SeriesState
    revision: int
    """Counts the different contents that were complete; 0 until the first."""
    instance_count: int
    association: str
    """How the last association that brought instances stands: "open", or the value of its Ending."""
    fingerprint: str
    """Digest of the content that `revision` counts; empty until the first."""
    reason: str
    """Why it stands where it stands, for a person."""
    explanation: str
    """The route's witnesses and reasons, line by line."""
    first_heard_at: float
    last_heard_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one sub-model on one volume of one revision of a series."""

    id: str
    series_uid: str
    study_uid: str
    revision: int
    volume_index: int
    volume_name: str
    submodel: str
    protocol: str
    urgency: int
    """An `Urgency`."""
    laterality: str
    """"R", "L", or empty where the side is not stated."""
    state: JobState
    stage: str
    """What the worker is doing now, as "network"; empty when nobody works on it."""
    percent: int
    attempts: int
    owner: str
    """Who holds the lease; empty when nobody does."""
    lease_until: float
    hinted_at: float
    """When the queue was last told of it."""
    reason: str
    model_version: str
    created_at: float
    updated_at: float
    not_before: float = 0.0
    """After an attempt that failed it rests until then; 0 where it need not."""
    setbacks: int = 0
    """Steps on it in a row that cost a worker its life or its memory."""
    reason_kind: str = ""
    """What `reason` is the fault of, a `FailureKind`; empty where nothing failed."""

    def log_context(self) -> dict[str, str | int]:
        """The fields that go into every log line about this job."""
        return {"job": self.id, "series_uid": self.series_uid, "submodel": self.submodel, "attempt": self.attempts}


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """What a check found in the result of a job."""

    job_id: str
    name: str
    """Which check, as "vertebrae out of order"."""
    evidence: str
    """What was seen, for a person, with numbers."""
    holds: bool
    """Whether the site holds a result for it."""
    at: float


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One produced object on disk."""

    sop_instance_uid: str
    job_id: str
    kind: str
    sop_class_uid: str
    series_uid: str
    path: str
    made_at: float

    @property
    def name(self) -> str:
        """What tells it from the others that its job made of one result, as "seg" or "seg-vertebrae"."""
        return Path(self.path).stem.partition("~")[0]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object on its way to one destination."""

    id: int
    job_id: str
    sop_instance_uid: str
    destination: str
    state: DeliveryState
    attempts: int
    next_attempt_at: float
    first_attempt_at: float
    status: int | None
    """The last C-STORE status; None while there was no answer."""
    comment: str
    stored_at: float
    """When the C-STORE succeeded of which a commitment is awaited; 0 where none is."""
    resent: int
    """How often it was sent again because the destination no longer had it."""
    updated_at: float


@dataclass(frozen=True, slots=True)
class Commitment:
    """One delivery in one request for storage commitment, and what came of it."""

    transaction_uid: str
    delivery_id: int
    asked_at: float
    answered_at: float | None
    """When the destination reported; None while it has not."""
    outcome: str
    """What is known of it, for a person; empty while nothing is."""


@dataclass(frozen=True, slots=True)
class Rest:
    """How a destination answers: after several failures in a row its deliveries wait together."""

    destination: str
    failures: int
    """Attempts in a row that found it unreachable."""
    rests_until: float
    why: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of one subject: what changed, when, why and by whom."""

    subject: str
    subject_id: str
    from_state: str
    to_state: str
    at: float
    cause: str
    actor: str
