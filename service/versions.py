"""The ledger's tables as they stand in; brought up to date, or an error that says what does not go together.

While a site is upgraded an old worker may meet tables that a newer receiver has changed already. Every migration
writes down the oldest revision whose code may work on its tables (docs/decisions/0008-two-versions.md).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select

from dicom_nodes.errors import ConfigurationError
from service import schema

MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(connection: Connection) -> None:
    """Run the migrations that a ledger lacks; one that is newer than this program stays as it is.

    Raises ConfigurationError where it is so much newer that this program may not work on it.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    known = ScriptDirectory.from_config(config)
    head, found = known.get_current_head() or "", MigrationContext.configure(connection).get_current_revision()
    if found is None or found in {script.revision for script in known.walk_revisions()}:
        command.upgrade(config, "head")
        return
    oldest = connection.execute(select(schema.readers.c.oldest_revision)).scalar_one()
    if head < oldest:
        raise ConfigurationError(
            f"the ledger is of revision {found}, which programs of revision {oldest} and newer work on; this one "
            f"is of revision {head}, more than one version older. Install the version that the other parts of the "
            "site run"
        )
