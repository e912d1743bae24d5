"""The command: what it says to a person, and what it gives to a program."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import LATER, main
from service.config import read_site
from service.jobs import JobState, SeriesState
from service.ledger import Ledger, open_ledger
from tests.ledgers import naming_ledger
from tests.service.test_ledger import SERIES, routed


def sagittal(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    done = sagittal("init", tmp_path, "--aet", "SAGITTAL", "--port", "11112", "--send-to", "PACS@192.0.2.10:104")
    assert done.exit_code == 0, done.output
    path = tmp_path / "site.toml"
    path.write_text(naming_ledger(path.read_text(), tmp_path / "data"))
    return path


@pytest.fixture
def ledger(site_file: Path) -> Iterator[Ledger]:
    ledger = open_ledger(read_site(site_file).ledger_url, actor="test")
    yield ledger
    ledger.close()


def test_init_writes_a_site_that_check_accepts_and_never_overwrites_one(site_file: Path) -> None:
    checked = sagittal("check", "--site", site_file)
    assert checked.exit_code == 0
    assert "PACS@192.0.2.10:104" in checked.output
    again = sagittal("init", site_file.parent, "--send-to", "PACS@192.0.2.10:104")
    assert again.exit_code == 1
    assert "left as it is" in again.output


def test_check_says_which_sub_models_run_and_refuses_one_that_does_not_exist(site_file: Path) -> None:
    written = site_file.read_text()
    checked = sagittal("check", "--site", site_file).output
    assert "sub-model mrannotator-spine runs: cervical, thoracic, lumbar" in checked
    assert "sub-model totalsegmentator-total-mr runs otherwise: abdomen" in checked
    site_file.write_text(written.replace('# run = ["mrannotator-*"]', 'run = ["total-mr"]'))
    done = sagittal("check", "--site", site_file)
    assert done.exit_code == 1
    assert "models.run: no sub-model is called 'total-mr'; there are amos, " in done.output


@pytest.mark.parametrize("wrong", ["PACS", "PACS@host", "@host:104", "PACS@host:port"])
def test_a_destination_that_is_no_node_is_explained(tmp_path: Path, wrong: str) -> None:
    done = sagittal("init", tmp_path, "--send-to", wrong)
    assert done.exit_code == 2
    assert "AET@HOST:PORT" in done.output


def test_a_broken_site_is_one_line_and_no_traceback(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("quiet_seconds", "quit_seconds"))
    done = sagittal("check", "--site", site_file)
    assert done.exit_code == 1
    assert "quit_seconds" in done.output
    assert "Traceback" not in done.output


def test_jobs_list_shows_where_everything_stands(site_file: Path, ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.renew(job.id, "w1", "network", 42, 30)
    shown = sagittal("jobs", "list", "--site", site_file)
    assert job.id in shown.output
    assert "network 42 %" in shown.output
    ((series,), code) = json.loads(sagittal("jobs", "list", "--json", "--site", site_file).output), 0
    assert code == 0
    assert (series["series_uid"], series["jobs"][0]["percent"]) == (SERIES, 42)


def test_jobs_show_tells_the_whole_way(site_file: Path, ledger: Ledger) -> None:
    job = routed(ledger)
    shown = sagittal("jobs", "show", job.id, "--site", site_file).output
    for word in ("receiving", "complete", "routed", "queued", "because"):
        assert word in shown
    record = json.loads(sagittal("jobs", "show", SERIES, "--json", "--site", site_file).output)
    assert [step["to_state"] for step in record["transitions"]] == ["receiving", "complete", "routed"]


def test_retry_sets_a_failed_job_going_and_nothing_else(site_file: Path, ledger: Ledger) -> None:
    job = routed(ledger)
    refused = sagittal("jobs", "retry", job.id, "--site", site_file)
    assert refused.exit_code == 1
    assert "only a failed or held one" in refused.output
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.move_job(job.id, JobState.FAILED, "broken", owner="w1", reason="broken")
    assert sagittal("jobs", "retry", job.id, "--site", site_file).exit_code == 0
    again = ledger.job(job.id)
    assert again is not None
    assert (again.state, again.attempts, again.reason) == (JobState.QUEUED, 0, "")


def test_retry_routes_a_failed_series_again(site_file: Path, ledger: Ledger) -> None:
    ledger.heard(SERIES, "1.2", "MR1", 3)
    ledger.move_series(SERIES, SeriesState.FAILED, "aborted")
    assert sagittal("jobs", "retry", SERIES, "--site", site_file).exit_code == 0
    series = ledger.series(SERIES)
    assert series is not None and series.state is SeriesState.COMPLETE


def test_an_unknown_id_says_where_to_look(site_file: Path) -> None:
    done = sagittal("jobs", "show", "nothing", "--site", site_file)
    assert done.exit_code == 1
    assert "sagittal jobs list" in done.output


@pytest.mark.parametrize("module", ["service.cli", "service.receiver", "service.web.server"])
def test_what_waits_for_others_never_loads_torch(module: str) -> None:
    heavy = "{'torch', 'nnunetv2', 'SimpleITK'}"
    code = f"import {module}, sys; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(LATER))
def test_a_command_that_is_imported_later_is_listed_as_it_says_itself(name):
    listed, load = LATER[name]

    assert load().get_short_help_str(200) == listed
    assert CliRunner().invoke(main, [name, "--help"]).output.startswith("Usage: main " + name)


def test_help_imports_nothing_heavy():
    heavy = ("numpy", "pydicom", "sqlalchemy", "alembic", "pydantic", "celery", "redis", "fastapi", "torch")
    said = f"import sys, service.cli; print([name for name in {heavy} if name in sys.modules])"

    assert subprocess.check_output([sys.executable, "-c", said], text=True).strip() == "[]"
