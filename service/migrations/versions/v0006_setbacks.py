"""How long a job rests after a failure, what failures cost and whose fault they are; who may work on the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

OLDEST_READER = "0004"
"""Its code works on these tables: what is new has defaults."""


def upgrade() -> None:
    """Add three columns to `jobs`, and the table `readers`."""
    op.add_column("jobs", sa.Column("not_before", sa.Float(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("setbacks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("reason_kind", sa.String(length=16), nullable=False, server_default=""))
    op.create_table(
        "readers",
        sa.Column("oldest_revision", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("oldest_revision"),
    )
    op.execute(f"INSERT INTO readers (oldest_revision) VALUES ('{OLDEST_READER}')")
