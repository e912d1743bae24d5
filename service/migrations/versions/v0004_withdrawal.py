"""Results that were withdrawn, what rejection notes list, and the source instances that others rejected."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables `withdrawals`, `noted` and `rejections`."""
    op.create_table(
        "withdrawals",
        sa.Column("job_id", sa.String(length=12), nullable=False),
        sa.Column("title", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("sends", sa.Boolean(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "noted",
        sa.Column("note_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["note_uid"], ["objects.sop_instance_uid"]),
        sa.ForeignKeyConstraint(["sop_instance_uid"], ["objects.sop_instance_uid"]),
        sa.PrimaryKeyConstraint("note_uid", "sop_instance_uid"),
    )
    op.create_table(
        "rejections",
        sa.Column("note_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("note_uid", "sop_instance_uid"),
    )
    op.create_index("ix_rejections_series_uid", "rejections", ["series_uid"])
