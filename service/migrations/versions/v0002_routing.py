"""What routing saw, what checks found, and how urgent a job is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables `volumes` and `findings`, and the urgency of jobs."""
    op.add_column("jobs", sa.Column("urgency", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_series_study_uid", "series", ["study_uid"])
    op.create_table(
        "volumes",
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("volume_index", sa.Integer(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["series_uid"], ["series.series_uid"]),
        sa.PrimaryKeyConstraint("series_uid", "volume_index"),
    )
    op.create_index("ix_volumes_study_uid", "volumes", ["study_uid"])
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_findings_job_id", "findings", ["job_id"])
