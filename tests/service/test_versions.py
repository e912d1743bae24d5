"""Two versions side by side: old code works on tables that a newer version migrated, or says why it does not."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Algorithm, Code, Edge, LabelMap, Measurement, Segment
from dicom_nodes.volumes import find_volumes
from service.jobfolder import JobFolder
from service.ledger import open_ledger
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.versions import MIGRATIONS
from tests.service import test_migrations


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    return made


REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())


@dataclass(frozen=True)
class Database:
    engine: sa.Engine

    @property
    def url(self) -> str:
        return self.engine.url.render_as_string(hide_password=False)

    def migrate(self, revision: str) -> sa.MetaData:
        """Bring it to a revision; the tables that code of that revision knows."""
        made, tables = config(), sa.MetaData()
        with self.engine.begin() as connection:
            made.attributes["connection"] = connection
            command.upgrade(made, revision)
        tables.reflect(self.engine)
        return tables

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))


url = test_migrations.url
"""Each test runs on SQLite and on PostgreSQL."""


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    engine = sa.create_engine(url)
    yield Database(engine)
    engine.dispose()


def row(table: sa.Table) -> dict[str, object]:
    """A value for every column that has no default, as code of the table's revision would write it."""
    made: dict[str, object] = {}
    for column in table.columns:
        if column.nullable or column.server_default is not None:
            continue
        made[column.name] = "x" if isinstance(column.type, sa.String) else 1
    return made


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_what_code_of_an_older_revision_writes_still_fits_the_newest_tables(
    database: Database, revision: str
) -> None:
    old = database.migrate(revision)
    database.migrate("head")
    with database.engine.begin() as connection:
        for table in old.sorted_tables:
            if table.name not in ("alembic_version", "readers"):
                connection.execute(table.insert().values(**row(table)))
                assert len(connection.execute(sa.select(table)).all()) == 1, table.name


@pytest.mark.parametrize(("older", "newer"), [*itertools.pairwise(REVISIONS)])
def test_a_migration_takes_nothing_away_and_gives_new_columns_a_default(
    database: Database, older: str, newer: str
) -> None:
    before, after = database.migrate(older), database.migrate(newer)
    for table in before.sorted_tables:
        now = after.tables[table.name].columns
        for column in table.columns:
            assert str(now[column.name].type) == str(column.type)
            assert now[column.name].nullable == column.nullable
        for column in now:
            added = column.name not in table.columns
            assert not added or column.nullable or column.server_default is not None, column


def newer_by(database: Database, oldest_reader: str) -> None:
    """Make a ledger what a later version's migration would leave."""
    database.migrate("head")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.execute(f"UPDATE readers SET oldest_revision = '{oldest_reader}'")


def test_a_ledger_that_is_one_version_newer_is_worked_on_and_not_migrated(database: Database) -> None:
    newer_by(database, REVISIONS[-1])
    ledger = open_ledger(database.url, actor="old worker")
    ledger.heard("1.2.3", "1.2", "MR1", 1)
    assert ledger.series("1.2.3") is not None
    ledger.close()
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


def test_a_ledger_that_is_more_than_one_version_newer_is_refused_with_what_to_do(database: Database) -> None:
    newer_by(database, "9998")
    with pytest.raises(ConfigurationError) as refused:
        open_ledger(database.url, actor="old worker")
    assert "the ledger is of revision 9999, which programs of revision 9998 and newer work on" in str(refused.value)
    assert f"revision {REVISIONS[-1]}, more than one version older" in str(refused.value)


def test_the_ledger_says_who_may_work_on_it(database: Database) -> None:
    database.migrate("head")
    with database.engine.connect() as connection:
        (oldest,) = connection.execute(sa.text("SELECT oldest_revision FROM readers")).scalars()
    assert oldest in REVISIONS


def test_what_a_newer_version_adds_to_the_files_of_a_job_is_passed_over(tmp_path: Path) -> None:
    series = write_dicom(make_phantom("abdomen", 6, voxel_scale=6.0), tmp_path / "series")
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    folder = JobFolder(tmp_path, "job")
    folder.save_volume(volume)
    code = Code("1", "SCT", "organ")
    kept = LabelMap(
        np.zeros(volume.shape, np.uint8),
        volume.affine,
        (Segment(1, "liver", code, code, None, (1, 2, 3)),),
        Algorithm("model", "1", "somebody", phantom=True),
    )
    folder.save_label_map(kept)
    measured = Measurement(1, 12.5, 300.0, 4.0, 4, 1, 4, (Edge.FIRST_SLICE,))
    folder.save_measurements((measured,))
    values = json.loads((folder.path / "volume.json").read_text())
    values["later"] = values["frames"][0]["later"] = "unknown here"
    (folder.path / "volume.json").write_text(json.dumps(values))
    with np.load(folder.path / "labelmap.npz") as stored:
        array, meaning = stored["array"], json.loads(stored["meaning"].tobytes())
    for part in (meaning, meaning["algorithm"], meaning["segments"][0], meaning["segments"][0]["type"]):
        part["later"] = "unknown here"
    text = np.frombuffer(json.dumps(meaning).encode(), np.uint8)
    np.savez_compressed(folder.path / "labelmap.npz", array=array, affine=kept.affine, meaning=text)
    (values,) = json.loads((folder.path / "measurements.json").read_text())
    (folder.path / "measurements.json").write_text(json.dumps([{**values, "later": "unknown here"}]))
    read, found = folder.load_volume(), folder.load_label_map()
    assert (read.frames, read.shape) == (volume.frames, volume.shape)
    assert (found.segments, found.algorithm) == (kept.segments, kept.algorithm)
    assert folder.load_measurements() == (measured,)
