"""`sagittal jobs` on what is held: a person sees why, and releases it, rejects it or has it run again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dicom_nodes.types import Node
from service.config import read_site
from service.findings import MEANINGS, Finding, FindingName, reason_to_hold
from service.jobs import Job, JobState, SeriesState
from service.jobs_cli import jobs
from service.ledger import Ledger, open_ledger
from service.site_template import site_toml
from tests.ledgers import naming_ledger
from tests.service.test_ledger import SERIES, STUDY, routed

FINDINGS = tuple(Finding(FindingName.MISSING, f"L{number} was not found") for number in range(1, 6))


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    text = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "192.0.2.10", 104),))
    path.write_text(naming_ledger(text, tmp_path / "data"))
    return path


@pytest.fixture
def ledger(site_file: Path) -> Iterator[Ledger]:
    ledger = open_ledger(read_site(site_file).ledger_url, actor="test")
    yield ledger
    ledger.close()


@pytest.fixture
def held(ledger: Ledger) -> Job:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    now = ledger.inferred(job.id, "took 2 s", FINDINGS, reason_to_hold(job.id, FINDINGS), owner="w1")
    assert now is not None and now.state is JobState.HELD
    return now


def asked(site_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(jobs, [*arguments, "--site", str(site_file)])


def state(ledger: Ledger, job: Job) -> tuple[JobState, str]:
    now = ledger.job(job.id)
    assert now is not None
    return now.state, now.reason


def test_the_reason_of_a_held_job_tells_some_findings_and_how_many_more(held: Job) -> None:
    assert "L3 was not found; and 2 more. Nothing was sent: " in held.reason
    assert "L4" not in held.reason


def test_list_and_show_tell_the_findings_and_what_they_mean(site_file: Path, held: Job) -> None:
    assert "a level is missing: L1 was not found" in " ".join(asked(site_file, "list").output.split())
    shown = asked(site_file, "show", held.id).output
    for finding in FINDINGS:
        assert f"finding: a level is missing: {finding.evidence}" in shown
    assert MEANINGS[FindingName.MISSING] in shown
    (record,) = json.loads(asked(site_file, "show", SERIES, "--json").output)["jobs"]
    assert [each["evidence"] for each in record["findings"]] == [each.evidence for each in FINDINGS]


def test_a_released_job_is_ready_to_be_encoded_and_remembers_who_said_so(
    site_file: Path, ledger: Ledger, held: Job
) -> None:
    done = asked(site_file, "release", held.id, "--because", "four lumbar vertebrae")
    assert done.exit_code == 0, done.output
    assert state(ledger, held) == (JobState.INFERRED, "")
    step = ledger.history("job", held.id)[-1]
    assert (step.cause, step.actor) == ("released by an operator: four lumbar vertebrae", "operator")
    assert len(ledger.findings(held.id)) == 5
    assert "a level is missing" in " ".join(asked(site_file, "list").output.split()), "it stays in sight"


def test_a_rejected_job_ends_with_the_word_of_the_operator(site_file: Path, ledger: Ledger, held: Job) -> None:
    assert asked(site_file, "reject", held.id, "--because", "it is a knee").exit_code == 0
    assert state(ledger, held) == (JobState.FAILED, "rejected by an operator: it is a knee; nothing was sent")


def test_a_held_job_can_be_run_again(site_file: Path, ledger: Ledger, held: Job) -> None:
    assert asked(site_file, "retry", held.id).exit_code == 0
    assert state(ledger, held) == (JobState.QUEUED, "")


@pytest.mark.parametrize("word", ["release", "reject"])
def test_only_what_is_held_can_be_released_or_rejected(site_file: Path, ledger: Ledger, word: str) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    done = asked(site_file, word, job.id)
    assert done.exit_code == 1
    assert f"job {job.id} is inferring; only a held one" in done.output
    assert state(ledger, job)[0] is JobState.INFERRING
    assert "no job nothing" in asked(site_file, word, "nothing").output


def test_a_held_series_can_be_routed_again(site_file: Path, ledger: Ledger) -> None:
    ledger.heard(SERIES, STUDY, "MR1", 3)
    ledger.move_series(SERIES, SeriesState.COMPLETE, "quiet")
    ledger.move_series(SERIES, SeriesState.HELD, "the header contradicts itself")
    assert asked(site_file, "retry", SERIES).exit_code == 0
    series = ledger.series(SERIES)
    assert series is not None and series.state is SeriesState.COMPLETE
