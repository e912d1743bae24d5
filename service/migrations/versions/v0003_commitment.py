"""Storage commitment of what was delivered, and destinations that rest while they cannot be reached."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables `commitments` and `rests`, and when deliveries were stored and how often sent again."""
    op.add_column("deliveries", sa.Column("stored_at", sa.Float(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("resent", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "commitments",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"]),
        sa.PrimaryKeyConstraint("transaction_uid", "delivery_id"),
    )
    op.create_index("ix_commitments_delivery_id", "commitments", ["delivery_id"])
    op.create_table(
        "rests",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rests_until", sa.Float(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("destination"),
    )
