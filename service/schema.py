"""The ledger's tables; `migrations/` brings a database to this shape."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

UID = String(64)
_FAILED = text("state = 'failed'")

series = Table(
    "series",
    metadata,
    Column("series_uid", UID, primary_key=True),
    Column("study_uid", UID, nullable=False),
    Column("calling_aet", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    Column("association", String(16), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("first_heard_at", Float, nullable=False),
    Column("last_heard_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("ix_series_state_heard", "state", "last_heard_at"),
    Index("ix_series_study_uid", "study_uid"),
    Index("ix_series_last_heard_at", "last_heard_at"),
    Index("ix_series_failed", "state", "updated_at", sqlite_where=_FAILED, postgresql_where=_FAILED),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("series_uid", UID, ForeignKey("series.series_uid"), nullable=False),
    Column("study_uid", UID, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("volume_index", Integer, nullable=False),
    Column("volume_name", Text, nullable=False),
    Column("submodel", String(64), nullable=False),
    Column("protocol", String(32), nullable=False),
    Column("urgency", Integer, nullable=False, server_default="0"),
    Column("laterality", String(1), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(32), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", String(128), nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("hinted_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("not_before", Float, nullable=False, server_default="0"),
    Column("setbacks", Integer, nullable=False, server_default="0"),
    Column("reason_kind", String(16), nullable=False, server_default=""),
    Index("ix_jobs_state_created", "state", "created_at"),
    Index("ix_jobs_lease_until", "lease_until"),
    Index("ix_jobs_series_uid", "series_uid"),
    Index("ix_jobs_created_at", "created_at"),
    Index("ix_jobs_failed", "state", "updated_at", sqlite_where=_FAILED, postgresql_where=_FAILED),
)

volumes = Table(
    "volumes",
    metadata,
    Column("series_uid", UID, ForeignKey("series.series_uid"), primary_key=True),
    Column("volume_index", Integer, primary_key=True),
    Column("study_uid", UID, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("ix_volumes_study_uid", "study_uid"),
)
"""What routing saw of each volume of a series' present revision (service/evidence.py), kept to be asked again."""

findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(12), ForeignKey("jobs.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("holds", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_findings_job_id", "job_id"),
)

objects = Table(
    "objects",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("job_id", String(12), ForeignKey("jobs.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_uid", UID, nullable=False),
    Column("path", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Index("ix_objects_job_id", "job_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(12), ForeignKey("jobs.id"), nullable=False),
    Column("sop_instance_uid", UID, ForeignKey("objects.sop_instance_uid"), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Float, nullable=False),
    Column("first_attempt_at", Float, nullable=False),
    Column("status", Integer, nullable=True),
    Column("comment", Text, nullable=False),
    Column("stored_at", Float, nullable=False, server_default="0"),
    Column("resent", Integer, nullable=False, server_default="0"),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("sop_instance_uid", "destination"),
    Index("ix_deliveries_job_id", "job_id"),
    Index("ix_deliveries_state_next", "state", "next_attempt_at"),
)

commitments = Table(
    "commitments",
    metadata,
    Column("transaction_uid", UID, primary_key=True),
    Column("delivery_id", Integer, ForeignKey("deliveries.id"), primary_key=True),
    Column("asked_at", Float, nullable=False),
    Column("answered_at", Float, nullable=True),
    Column("outcome", Text, nullable=False),
    Index("ix_commitments_delivery_id", "delivery_id"),
)
"""Requests for storage commitment: one row for each delivery in each transaction."""

rests = Table(
    "rests",
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("rests_until", Float, nullable=False),
    Column("why", Text, nullable=False),
)
"""Destinations that could not be reached, and until when nothing is sent there."""

withdrawals = Table(
    "withdrawals",
    metadata,
    Column("job_id", String(12), ForeignKey("jobs.id"), primary_key=True),
    Column("title", String(16), nullable=False),
    Column("cause", Text, nullable=False),
    Column("because", Text, nullable=False),
    Column("sends", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_withdrawals_settled", "settled"),
)
"""Jobs whose objects are to be rejected wherever they are stored."""

noted = Table(
    "noted",
    metadata,
    Column("note_uid", UID, ForeignKey("objects.sop_instance_uid"), primary_key=True),
    Column("sop_instance_uid", UID, ForeignKey("objects.sop_instance_uid"), primary_key=True),
)
"""Which objects each of our rejection notes lists."""

rejections = Table(
    "rejections",
    metadata,
    Column("note_uid", UID, primary_key=True),
    Column("sop_instance_uid", UID, primary_key=True),
    Column("series_uid", UID, nullable=False),
    Column("title", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_rejections_series_uid", "series_uid"),
)
"""Instances that rejection notes of others list."""

deletions = Table(
    "deletions",
    metadata,
    Column("subject", String(16), primary_key=True),
    Column("subject_id", UID, primary_key=True),
    Column("at", Float, nullable=False),
    Column("cause", Text, nullable=False),
    Column("files", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("instances", Text, nullable=False),
    Column("finished", Boolean, nullable=False),
    Index("ix_deletions_finished", "finished"),
)
"""The series and jobs whose files were deleted (service/retention.py)."""

backfill = Table(
    "backfill",
    metadata,
    Column("series_uid", UID, primary_key=True),
    Column("instances", Integer, nullable=False),
    Column("was_known", Boolean, nullable=False),
    Column("at", Float, nullable=False),
)
"""Series that an archive was asked for, how many instances it lists, and whether some were here before."""

tallies = Table(
    "tallies",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("subject", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("number", Integer, nullable=False),
)
"""By how much the number of series and jobs in a state changed; triggers write them (migration 0008)."""

transitions = Table(
    "transitions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("subject", String(16), nullable=False),
    Column("subject_id", UID, nullable=False),
    Column("from_state", String(16), nullable=False),
    Column("to_state", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("cause", Text, nullable=False),
    Column("actor", String(128), nullable=False),
    Index("ix_transitions_subject", "subject", "subject_id"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("calling_aet", String(16), nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)

readers = Table(
    "readers",
    metadata,
    Column("oldest_revision", String(16), primary_key=True),
)
"""One row: the oldest revision of these tables whose code may work on them (docs/decisions/0008)."""
