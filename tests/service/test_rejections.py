"""A rejection note of another system: no result of rejected images goes on, whenever the note comes."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_nodes.part10 import file_header
from dicom_nodes.rejection import Title, read_note
from dicom_nodes.scu import store
from dicom_nodes.types import Node, Reference
from service.dispatch import dispatch
from service.jobs import DeliveryState, JobState, SeriesRecord, SeriesState
from service.ledger import Ledger
from service.ledger_withdrawals import NOTE
from service.queue import Hints
from service.receiver import Receiver
from service.rejections import hear_note, hold_to_rejections
from service.retry_cli import retry_now
from service.routing.settings import Routing
from service.submodel import load_submodels
from service.withdrawal import Reason, settle_withdrawals, withdraw
from tests.clock import Clock
from tests.dicom_nodes.peers import wait_until
from tests.service.withdrawn_site import Ward

D, J = DeliveryState, JobState


@pytest.fixture
def ward(tmp_path: Path, ledger: Ledger) -> Ward:
    return Ward(tmp_path / "site", ledger)


def heard(ward: Ward, note: Path) -> bool:
    """What the receiver does with a note, and the sweeper after it."""
    known = hear_note(ward.site, ward.ledger, note)
    settle_withdrawals(ward.site, ward.ledger)
    return known


def series(ward: Ward) -> SeriesRecord:
    found = ward.ledger.series(ward.volume.series_uid)
    assert found is not None
    return found


def routed_now(ward: Ward) -> SeriesRecord:
    dispatch(ward.site, ward.ledger, Routing(load_submodels(), ward.site.models.run), series(ward))
    return series(ward)


# ── before ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_series_whose_instances_were_rejected_before_it_was_routed_fails_with_the_note(ward: Ward) -> None:
    note = ward.source_note(count=1)
    assert heard(ward, note)
    found = routed_now(ward.heard())
    assert found.state is SeriesState.FAILED
    assert f"rejected: 1 of its {len(ward.volume.frames)} instances" in found.reason
    assert Title.SAFETY.meaning in found.reason
    assert read_note(note).sop_instance_uid in found.reason  # type: ignore[union-attr]
    assert ward.ledger.list_jobs() == []


def test_a_person_may_route_a_rejected_series_all_the_same_until_the_next_note(ward: Ward, clock: Clock) -> None:
    heard(ward, ward.source_note())
    routed_now(ward.heard())
    clock.time += 60
    retry_now(ward.ledger, ward.volume.series_uid)
    heard(ward, ward.source_note())  # the same note again is no news
    assert "rejected" not in routed_now(ward).reason
    clock.time += 60
    heard(ward, ward.source_note(name="y"))
    ward.ledger.move_series(ward.volume.series_uid, SeriesState.COMPLETE, "again")
    assert "rejected" in routed_now(ward).reason


def test_a_note_on_instances_that_never_came_changes_nothing(ward: Ward) -> None:
    heard(ward, ward.note_on({ward.volume.series_uid: [Reference("1.2.840.10008.5.1.4.1.1.4", "2.25.99")]}))
    assert "rejected" not in routed_now(ward.heard()).reason


def test_a_series_in_doubt_is_routed_again_so_that_nobody_decides_without_knowing(ward: Ward) -> None:
    ward.heard()
    ward.ledger.move_series(ward.volume.series_uid, SeriesState.HELD, "two witnesses")
    heard(ward, ward.source_note())
    assert (routed_now(ward).state, "rejected" in series(ward).reason) == (SeriesState.FAILED, True)


# ── during ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [J.QUEUED, J.INFERRING, J.INFERRED, J.HELD])
def test_a_job_under_way_is_superseded_and_its_worker_cannot_go_on(ward: Ward, state: JobState) -> None:
    ward.queued()
    for to in (J.INFERRING, J.INFERRED, J.HELD)[: (J.QUEUED, J.INFERRING, J.INFERRED, J.HELD).index(state)]:
        if to is J.INFERRING:
            assert ward.ledger.claim_job(ward.job.id, J.QUEUED, to, "w1", 30)
        else:
            ward.ledger.move_job(ward.job.id, to, "on")
    heard(ward, ward.source_note())
    assert (ward.now.state, ward.now.owner) == (J.SUPERSEDED, "")
    assert ward.now.reason.startswith(
        "the source images were rejected: Rejected for Patient Safety Reasons, by note "
    )
    assert ward.ledger.move_job(ward.job.id, J.INFERRED, "done", owner="w1") is None
    assert not ward.ledger.renew(ward.job.id, "w1", "network", 50, 30)


def test_a_note_that_comes_while_its_series_is_being_routed_is_held_to_afterwards(ward: Ward) -> None:
    ward.ledger.source_rejected(read_note(ward.source_note()))  # type: ignore[arg-type]
    ward.queued()
    hold_to_rejections(ward.site, ward.ledger, ward.volume.series_uid)
    assert ward.now.state is J.SUPERSEDED


def test_a_job_on_a_volume_without_the_rejected_instance_goes_on(ward: Ward) -> None:
    ward.queued()
    other = Reference("1.2.840.10008.5.1.4.1.1.4", "2.25.99")  # of another volume of the same series
    heard(ward, ward.note_on({ward.volume.series_uid: [other]}))
    assert ward.now.state is J.QUEUED


# ── after ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_stored_of_rejected_images_is_rejected_under_the_same_title(ward: Ward) -> None:
    ward.encoded().stored("pacs").stored("viewer")
    heard(ward, ward.source_note(title=Title.WORKLIST))
    assert ward.now.state is J.SUPERSEDED
    assert {name: [note.title for note in notes] for name, notes in ward.notes.items()} == {
        "pacs": [Title.WORKLIST],
        "viewer": [Title.WORKLIST],
    }
    assert ("pacs", "text", "dropped") in ward.states()
    assert len(ward.ledger.deliveries_due()) == 2, "notes are sent though the job is superseded"


def test_what_is_on_its_way_when_the_note_comes_is_rejected_once_it_is_stored(ward: Ward) -> None:
    on_its_way = ward.encoded().claim("pacs")
    heard(ward, ward.source_note())
    assert ward.notes == {}
    ward.ledger.settle_delivery(on_its_way, D.DELIVERED, "status 0x0000", 0)
    settle_withdrawals(ward.site, ward.ledger)
    assert set(ward.notes) == {"pacs"}


def test_the_same_note_again_and_a_second_one_change_nothing_more(ward: Ward) -> None:
    ward.encoded().stored("pacs")
    heard(ward, ward.source_note())
    before = (ward.states(), ward.now)
    heard(ward, ward.source_note())
    heard(ward, ward.source_note(name="y", title=Title.RETENTION))
    assert before == (ward.states(), ward.now)


def test_a_note_on_our_own_objects_withdraws_the_job_and_sends_none(ward: Ward) -> None:
    ward.encoded().stored("pacs")
    seg = ward.objects[0]
    heard(ward, ward.note_on({seg.series_uid: [Reference(seg.sop_class_uid, seg.sop_instance_uid)]}))
    assert (ward.now.state, ward.notes) == (J.WITHDRAWN, {})
    assert "1 of its objects rejected by note " in ward.now.reason
    assert [state for _, _, state in ward.states()] == ["delivered", "dropped", "dropped"]


def test_a_person_can_still_have_the_rest_rejected_of_what_another_note_withdrew(ward: Ward) -> None:
    ward.encoded().stored("pacs").stored("viewer")
    seg = ward.objects[0]
    heard(ward, ward.note_on({seg.series_uid: [Reference(seg.sop_class_uid, seg.sop_instance_uid)]}))
    assert ward.notes == {}
    taken_back = withdraw(ward.site, ward.ledger, ward.job.id, Reason.SAFETY, "wrong patient")
    assert (taken_back.again, taken_back.destinations) == (False, ("pacs", "viewer"))
    assert (ward.now.state, set(ward.notes)) == (J.WITHDRAWN, {"pacs", "viewer"})
    assert withdraw(ward.site, ward.ledger, ward.job.id, Reason.SAFETY, "wrong patient").again


def test_our_own_note_that_comes_back_is_not_heard(ward: Ward) -> None:
    ward.encoded().stored("pacs")
    heard(ward, ward.source_note())
    (note,) = (made for made in ward.ledger.objects(ward.job.id) if made.kind == NOTE)
    before = (ward.states(), ward.now)
    assert not heard(ward, Path(note.path))
    assert before == (ward.states(), ward.now)


def test_what_is_no_rejection_note_is_left_alone(ward: Ward, tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    assert not heard(ward, tmp_path / "broken.dcm")
    assert not heard(ward, ward.volume.frames[0].path)


# ── on the wire ─────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def receiving(ward: Ward) -> Iterator[Node]:
    """The site's receiver, with a queue that nobody serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    receive = ward.site.receive.model_copy(update={"host": "127.0.0.1", "port": port})
    site = ward.site.model_copy(update={"receive": receive})
    for folder in ward.site.incoming.iterdir():  # as old as the test's clock says
        os.utime(folder, (ward.ledger.now(), ward.ledger.now()))
    hints = Hints("redis://127.0.0.1:1/0")
    receiver = Receiver(site, ward.ledger, load_submodels(), hints)
    thread = threading.Thread(target=receiver.run)
    thread.start()
    try:
        wait_until(lambda: receiver._scp._server is not None)
        yield Node("SAGITTAL", "127.0.0.1", port)
    finally:
        receiver.stop.set()
        thread.join(20)
        hints.close()


def test_the_receiver_acts_on_a_note_and_lets_the_series_alone(ward: Ward) -> None:
    ward.encoded().stored("pacs")
    with receiving(ward) as node:
        (outcome,) = store(node, "ARCHIVE", [ward.source_note()])
        assert outcome.status == 0x0000
        wait_until(lambda: ward.now.state is J.SUPERSEDED)
        wait_until(lambda: set(ward.notes) == {"pacs"})
        notes = [each for each in ward.ledger.list_series() if each.series_uid != ward.volume.series_uid]
        assert len(notes) == 1
    assert series(ward).state is SeriesState.ROUTED


def test_a_complete_series_of_notes_says_so_and_is_acted_on_if_it_was_not_before(ward: Ward) -> None:
    ward.encoded().stored("pacs")
    note = ward.source_note()
    laid(ward, note, "2.25.4711")
    ward.ledger.heard("2.25.4711", ward.volume.study_uid, "ARCHIVE", 1)
    ward.ledger.move_series("2.25.4711", SeriesState.COMPLETE, "quiet for 5 s")
    of_note = ward.ledger.series("2.25.4711")
    assert of_note is not None
    dispatch(ward.site, ward.ledger, Routing(load_submodels(), ward.site.models.run), of_note)
    of_note = ward.ledger.series("2.25.4711")
    assert of_note is not None
    assert (of_note.state, of_note.reason.split(";")[0]) == (
        SeriesState.UNROUTED,
        "1 rejection note(s) that were acted on",
    )
    assert ward.now.state is J.SUPERSEDED


def test_a_note_that_lay_on_disk_when_the_receiver_stopped_is_acted_on_at_its_next_start(ward: Ward) -> None:
    ward.encoded().stored("pacs")
    note = ward.source_note()
    laid(ward, note, "2.25.4711")
    with receiving(ward):
        wait_until(lambda: ward.now.state is J.SUPERSEDED)


def laid(ward: Ward, note: Path, series_uid: str) -> None:
    """Put a note where the SCP puts it."""
    read = read_note(note)
    assert read is not None
    folder = ward.site.incoming / series_uid
    folder.mkdir()
    (folder / f"{read.sop_instance_uid}.dcm").write_bytes(with_series(note, series_uid))


def with_series(note: Path, series_uid: str) -> bytes:
    """The file of a note in a series of this UID, as the SCP writes it."""

    dataset = dcmread(note)
    dataset.SeriesInstanceUID = series_uid
    dataset.save_as(note, enforce_file_format=True)
    content = note.read_bytes()
    body = content[144 + int.from_bytes(content[140:144], "little") :]
    header = file_header(
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID, "ARCHIVE"
    )
    return header + body
