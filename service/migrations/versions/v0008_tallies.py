"""How many series and jobs stand in each state, kept by the database itself; and indexes for what is asked often.

A trigger writes each change of state as a row of +1 and one of -1, whatever program makes it. Rows are only added,
so that no two transactions wait for each other; `TallyLedger.fold` brings many of them together in few.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

COUNTED = {"series": "series", "jobs": "job"}
"""Table to subject."""
_FAILED = sa.text("state = 'failed'")


def upgrade() -> None:
    """Add the table `tallies` with what stands where now, its triggers, and six indexes in place of two."""
    op.create_table(
        "tallies",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(_FUNCTION)
    for table, subject in COUNTED.items():
        counted = f"SELECT '{subject}', state, count(*) FROM {table} GROUP BY state"
        op.execute(f"INSERT INTO tallies (subject, state, number) {counted}")
        for statement in (_postgresql if postgresql else _sqlite)(table, subject):
            op.execute(statement)
    op.drop_index("ix_series_state", "series")
    op.drop_index("ix_jobs_state", "jobs")
    op.create_index("ix_series_state_heard", "series", ["state", "last_heard_at"])
    op.create_index("ix_jobs_state_created", "jobs", ["state", "created_at"])
    op.create_index("ix_jobs_lease_until", "jobs", ["lease_until"])
    op.create_index("ix_withdrawals_settled", "withdrawals", ["settled"])
    for table in COUNTED:
        op.create_index(
            f"ix_{table}_failed", table, ["state", "updated_at"], sqlite_where=_FAILED, postgresql_where=_FAILED
        )


def _sqlite(table: str, subject: str) -> list[str]:
    more, less = (f"INSERT INTO tallies (subject, state, number) VALUES ('{subject}', " + end
                  for end in ("NEW.state, 1);", "OLD.state, -1);"))  # fmt: skip
    return [
        f"CREATE TRIGGER tally_{table}_added AFTER INSERT ON {table} BEGIN {more} END",
        f"CREATE TRIGGER tally_{table}_removed AFTER DELETE ON {table} BEGIN {less} END",
        f"CREATE TRIGGER tally_{table}_moved AFTER UPDATE OF state ON {table} WHEN OLD.state <> NEW.state "
        f"BEGIN {less} {more} END",
    ]


def _postgresql(table: str, subject: str) -> list[str]:
    call = f"FOR EACH ROW EXECUTE FUNCTION sagittal_tally('{subject}')"
    return [f"CREATE TRIGGER tally_{table} AFTER INSERT OR DELETE OR UPDATE OF state ON {table} {call}"]


_FUNCTION = """
CREATE OR REPLACE FUNCTION sagittal_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = NEW.state THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO tallies (subject, state, number) VALUES (TG_ARGV[0], OLD.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO tallies (subject, state, number) VALUES (TG_ARGV[0], NEW.state, 1);
    END IF;
    RETURN NULL;
END $$
"""
