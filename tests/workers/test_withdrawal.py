"""Rejection notes go the way of results: to a stand-in for an archive, and to a real Orthanc."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import Dataset
from pynetdicom import evt

from dicom_nodes.rejection import KEY_OBJECT_SELECTION
from dicom_nodes.types import Node
from service.cli import main
from service.config import Site
from service.jobs import JobState, SeriesState
from service.ledger import Ledger, open_ledger
from service.modelstore import ModelStore
from service.queue import Hints
from service.retry_cli import retry_now
from service.withdrawal import Reason, settle_withdrawals, withdraw
from tests.clock import Clock
from tests.dicom_nodes.pacs import SEG, pacs
from tests.dicom_nodes.peers import answering
from tests.ledgers import ledger_in
from tests.orthanc.server import DICOMWEB, missing, orthanc
from tests.service.withdrawn_site import Ward
from workers.delivery import deliver
from workers.models import WarmModels
from workers.workshop import Workshop

TAKES = (SEG, "1.2.840.10008.5.1.4.1.1.88.11", KEY_OBJECT_SELECTION)


@pytest.fixture
def ward(tmp_path: Path, ledger: Ledger) -> Ward:
    return Ward(tmp_path / "site", ledger, ("pacs",)).encoded()


def go(ward: Ward, node: Node, **settings: object) -> None:
    """Do everything that is due now, with `pacs` at this node."""
    destination = {"name": "pacs", "aet": node.aet, "host": node.host, "port": node.port, "timeout_seconds": 5.0}
    values = {"receive": {"aet": "SAGITTAL"}, "destination": [destination | settings]}
    site = Site.model_validate(values).model_copy(update={"home": ward.folder})
    hints = Hints("redis://127.0.0.1:1/0")
    shop = Workshop(site, ward.ledger, hints, {}, WarmModels(ModelStore(ward.folder / "models"), {}))
    settle_withdrawals(site, ward.ledger)
    for delivery in ward.ledger.deliveries_due():
        deliver(shop, delivery.id)
    hints.close()


def test_an_archive_gets_the_note_after_what_it_rejects_and_is_asked_for_no_commitment_of_it(ward: Ward) -> None:
    with pacs(takes=TAKES, where="nowhere") as archive:
        go(ward, archive.node)
        withdraw(ward.site, ward.ledger, ward.job.id, Reason.QUALITY, "a kidney is missing")
        go(ward, archive.node)
        go(ward, archive.node)
    (note,) = ward.notes["pacs"]
    results = {each.sop_instance_uid for each in ward.objects}
    assert (set(archive.stored[:2]), archive.stored[2:]) == (results, [note.sop_instance_uid])
    assert note.rejected == results
    assert len(archive.asked) == 1, "about the results, before they were withdrawn"
    assert ("pacs", "note", "delivered") in ward.states()
    assert (ward.now.state, ward.now.reason.endswith("rejection note stored by pacs")) == (JobState.WITHDRAWN, True)


def test_what_is_withdrawn_while_it_is_being_stored_is_rejected_after_it(ward: Ward) -> None:
    def withdrawn_meanwhile(event: object) -> int:
        withdraw(ward.site, ward.ledger, ward.job.id, Reason.SAFETY, "the wrong patient")
        return 0x0000

    with pacs(takes=TAKES, store=withdrawn_meanwhile, where="nowhere") as archive:
        go(ward, archive.node, commitment="off")
        go(ward, archive.node, commitment="off")
    (note,) = ward.notes["pacs"]
    assert archive.stored == [ward.objects[0].sop_instance_uid, note.sop_instance_uid]
    assert note.rejected == {ward.objects[0].sop_instance_uid}
    assert [state for _, _, state in ward.states()] == ["delivered", "dropped", "delivered"]


def test_an_archive_that_takes_no_key_objects_is_told_of_and_asked_again(ward: Ward) -> None:
    with pacs(takes=TAKES[:2], commits=False) as archive:
        go(ward, archive.node)
        withdraw(ward.site, ward.ledger, ward.job.id, Reason.QUALITY, "a kidney is missing")
        go(ward, archive.node)
        assert "rejection note NOT STORED by pacs" in ward.now.reason
        assert "Key Object Selection" in ward.now.reason
    with pacs(takes=TAKES, commits=False) as archive:
        retry_now(ward.ledger, ward.job.id)
        go(ward, archive.node)
        assert len(archive.stored) == 1
    assert ward.now.reason.endswith("rejection note stored by pacs")


def test_an_archive_out_of_resources_gets_the_note_later(ward: Ward, clock: Clock) -> None:
    with pacs(takes=TAKES, commits=False) as archive:
        go(ward, archive.node)
        withdraw(ward.site, ward.ledger, ward.job.id, Reason.QUALITY, "a kidney is missing")
        archive.store = lambda _: 0xA700
        go(ward, archive.node)
        assert "rejection note on its way to pacs (status 0xA700)" in ward.now.reason
        archive.store = lambda _: 0x0000
        clock.time += 60
        go(ward, archive.node)
        assert len(archive.stored) == 3


def test_an_archive_that_says_it_has_the_note_has_it(ward: Ward) -> None:
    def duplicate(_: object) -> Dataset:
        answer = Dataset()
        answer.Status, answer.ErrorComment = 0xA770, "Rejection Note [uid=2.25.1] already received."
        return answer

    with pacs(takes=TAKES, commits=False) as archive:
        go(ward, archive.node)
        withdraw(ward.site, ward.ledger, ward.job.id, Reason.QUALITY, "a kidney is missing")
    with answering([(evt.EVT_C_STORE, duplicate)]) as archive_that_has_it:
        go(ward, archive_that_has_it)
    assert ward.now.reason.endswith("rejection note stored by pacs")


@pytest.mark.skipif(bool(missing()), reason=f"no {missing()}")
@pytest.mark.parametrize("way", ["dicom", "stow"])
def test_a_real_orthanc_stores_the_note_in_the_study(ward: Ward, tmp_path: Path, way: str) -> None:
    if way == "stow" and not DICOMWEB.exists():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    with orthanc(tmp_path / "orthanc") as server:
        at = {"aet": None, "host": None, "port": None, "url": server.url("dicom-web"), "kind": "stow"}
        settings = at if way == "stow" else {"commitment": "off"}
        go(ward, server.node, **settings)
        withdraw(ward.site, ward.ledger, ward.job.id, Reason.SAFETY, "the wrong patient")
        go(ward, server.node, **settings)
        assert ("pacs", "note", "delivered") in ward.states()
        (study,) = server.get("studies?expand")
        assert study["MainDicomTags"]["StudyInstanceUID"] == ward.volume.study_uid
        modalities = [each["MainDicomTags"]["Modality"] for each in server.get("series?expand")]
    assert sorted(modalities) == ["KO", "SEG", "SR"]


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────

SITE = """
[receive]
aet = "SAGITTAL"
[[destination]]
name = "pacs"
aet = "A"
host = "127.0.0.1"
port = 9
"""


def sagittal(ward: Ward, *words: str, query: Node | None = None) -> str:
    asked = f'[query]\naet = "{query.aet}"\nhost = "{query.host}"\nport = {query.port}\n' if query else ""
    path = ward.folder / "site.toml"
    path.write_text(f'{SITE}{asked}[storage]\nledger = "{ward.ledger.url}"\n')
    done = CliRunner().invoke(main, ["results", *words, "--site", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return str(done.output)


def holds(event: object, series_uids: tuple[str, ...]) -> Iterator[tuple[int, Dataset | None]]:
    for uid in series_uids:
        match = Dataset()
        match.QueryRetrieveLevel, match.SeriesInstanceUID, match.NumberOfSeriesRelatedInstances = "SERIES", uid, "5"
        yield 0xFF00, match


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[Ward]:
    """A ward whose ledger is where site.toml has it."""
    home = tmp_path / "site"
    ledger = open_ledger(ledger_in(home / "data"), actor="test")
    yield Ward(home, ledger, ("pacs",)).encoded()
    ledger.close()


def test_a_person_withdraws_and_lists(at_home: Ward) -> None:
    at_home.stored("pacs")
    said = sagittal(at_home, "withdraw", at_home.job.id, "--reason", "safety", "--because", "wrong side")
    assert said == f"job {at_home.job.id} is withdrawn: a rejection note goes to pacs\n"
    again = sagittal(at_home, "withdraw", at_home.job.id, "--because", "wrong side")
    assert "was withdrawn before" in again
    lines = sagittal(at_home, "list", "--series", at_home.volume.series_uid).splitlines()[1:]
    assert [line.split()[1:4] for line in lines] == [
        ["seg", "pacs", "delivered"],
        ["text", "pacs", "dropped"],
        ["note", "pacs", "waiting"],
    ]
    listed = json.loads(sagittal(at_home, "list", "--json"))
    assert [each["deliveries"][0]["state"] for each in listed] == ["delivered", "dropped", "waiting"]
    assert "no job nothing" in sagittal(at_home, "withdraw", "nothing", "--because", "x")


def test_reconcile_withdraws_what_the_archive_no_longer_has_and_a_dry_run_only_tells(at_home: Ward) -> None:
    at_home.stored("pacs")
    with answering([(evt.EVT_C_FIND, lambda event: holds(event, ()))]) as query:
        told = sagittal(at_home, "reconcile", "--dry-run", query=query)
        assert "1 series with results asked about, 1 no longer in PACS" in told
        assert f"job {at_home.job.id} of series" in told
        assert steps(at_home)[-1] == "delivering"
        assert "a rejection note goes to pacs" in sagittal(at_home, "reconcile", query=query)
        assert "0 series with results" in sagittal(at_home, "reconcile", query=query)
    assert steps(at_home)[-1] == "withdrawn"
    assert "the source is no longer in PACS" in at_home.now.reason


def test_reconcile_leaves_what_the_archive_has_and_all_where_it_does_not_answer(at_home: Ward) -> None:
    at_home.stored("pacs")
    uids = (at_home.volume.series_uid,)
    with answering([(evt.EVT_C_FIND, lambda event: holds(event, uids))]) as query:
        assert "1 series with results asked about, 0 no longer" in sagittal(at_home, "reconcile", query=query)
    assert "nothing is changed" in sagittal(at_home, "reconcile", query=Node("GONE", "127.0.0.1", 9))
    assert "has no [query]" in sagittal(at_home, "reconcile")
    assert at_home.now.state is JobState.DELIVERING


def test_an_archive_that_knows_none_of_several_series_is_doubted(at_home: Ward) -> None:
    other = second(at_home)
    with answering([(evt.EVT_C_FIND, lambda event: holds(event, ()))]) as query:
        assert "knows none of them" in sagittal(at_home, "reconcile", query=query)
        assert steps(at_home)[-1] == "encoded"
        sagittal(at_home, "reconcile", "--although-all", query=query)
    assert {at_home.now.state, at_home.ledger.job(other).state} == {JobState.WITHDRAWN}  # type: ignore[union-attr]


def steps(ward: Ward) -> list[str]:
    return [step.to_state for step in ward.ledger.history("job", ward.job.id)]


def second(ward: Ward) -> str:
    """Another series with a result, whose files are those of the first."""
    ledger, job = ward.ledger, replace(ward.job, id="bbbbbbbbbbbb", series_uid="2.25.5")
    ledger.heard("2.25.5", "2.25.6", "MR1", 1)
    ledger.move_series("2.25.5", SeriesState.COMPLETE, "quiet")
    ledger.route_series("2.25.5", "1 job", "because", [job])
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w1", 30)
    ledger.move_job(job.id, JobState.INFERRED, "done", owner="w1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w2", 30)
    thing = replace(ward.objects[0], sop_instance_uid="2.25.7", job_id=job.id)
    assert ledger.encoded(job.id, "w2", [thing], {"pacs": ["2.25.7"]})
    return job.id
