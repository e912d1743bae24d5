"""Alembic's entry: runs the migrations on the connection that the ledger hands over."""

import time

from alembic import context
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from service.schema import metadata

_TRIES = 3000
_PAUSE_SECONDS = 0.01
_LOCK_NOT_AVAILABLE = "55P03"


def _alone(connection: Connection) -> None:
    """Wait until nobody works on PostgreSQL's tables, and keep them for this transaction.

    Parts of the version before may be at work. Migrations that took one table after the other would wait for those
    who wait for them, and one of both would be ended with its work half done. So all are taken in one moment in
    which nobody has any; such moments are many, as every change takes some milliseconds.
    """
    names = inspect(connection).get_table_names()
    for last in (*[False] * (_TRIES - 1), True):
        try:
            with connection.begin_nested():
                connection.execute(text(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE NOWAIT"))
        except OperationalError as error:
            if last or getattr(error.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    found = context.get_context().get_current_revision()
    if connection.dialect.name == "postgresql" and found not in (None, context.get_head_revision()):
        _alone(connection)
    context.run_migrations()
