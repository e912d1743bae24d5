"""A result that is taken back: what waits is dropped, and a note goes where something is stored, and only there."""

import shutil
from pathlib import Path

import pytest

from dicom_nodes.rejection import Title
from service.jobs import DeliveryState, JobState, SeriesState
from service.ledger import Ledger
from service.retry_cli import retry_now
from service.withdrawal import NotWithdrawnError, Reason, settle_withdrawals, withdraw
from tests.clock import Clock
from tests.service.test_ledger import ledger as every_ledger  # noqa: F401  a fixture
from tests.service.withdrawn_site import Ward

D, J = DeliveryState, JobState


@pytest.fixture
def ward(tmp_path: Path, ledger: Ledger) -> Ward:
    return Ward(tmp_path / "site", ledger).encoded()


def taken_back(ward: Ward, reason: Reason = Reason.QUALITY) -> tuple[str, ...]:
    return withdraw(ward.site, ward.ledger, ward.job.id, reason, "a kidney is missing").destinations


def test_a_destination_that_stored_something_gets_a_note_of_that_and_nothing_else(ward: Ward) -> None:
    ward.stored("pacs")
    assert taken_back(ward, Reason.SAFETY) == ("pacs",)
    assert (ward.now.state, set(ward.notes)) == (J.WITHDRAWN, {"pacs"})
    (note,) = ward.notes["pacs"]
    assert (note.title, note.study_uid) == (Title.SAFETY, ward.volume.study_uid)
    assert note.references.keys() == {ward.objects[0].series_uid}
    assert note.rejected == {ward.objects[0].sop_instance_uid}
    assert ward.states() == [
        ("pacs", "seg", "delivered"),
        ("pacs", "text", "dropped"),
        ("viewer", "seg", "dropped"),
        ("pacs", "note", "waiting"),
    ]
    assert "a kidney is missing" in ward.now.reason
    assert "rejection note on its way to pacs" in ward.now.reason


def test_destinations_that_stored_the_same_share_a_note_and_others_have_their_own(ward: Ward) -> None:
    ward.stored("pacs").stored("viewer").stored("pacs", "text")
    assert taken_back(ward) == ("pacs", "viewer")
    (of_both,), (of_one,) = ward.notes["pacs"], ward.notes["viewer"]
    assert of_both.rejected == {each.sop_instance_uid for each in ward.objects}
    assert of_one.rejected == {ward.objects[0].sop_instance_uid}
    assert of_both.sop_instance_uid != of_one.sop_instance_uid


def test_asking_twice_makes_one_note(ward: Ward) -> None:
    ward.stored("pacs")
    taken_back(ward)
    before = (ward.states(), ward.ledger.history("job", ward.job.id))
    done = withdraw(ward.site, ward.ledger, ward.job.id, Reason.SAFETY, "something else")
    settle_withdrawals(ward.site, ward.ledger)
    assert (done.again, done.destinations) == (True, ("pacs",))
    assert before == (ward.states(), ward.ledger.history("job", ward.job.id))


def test_where_nothing_is_stored_nothing_is_sent_and_the_job_says_so(ward: Ward) -> None:
    assert taken_back(ward) == ()
    assert ward.now.state is J.WITHDRAWN
    assert [state for _, _, state in ward.states()] == ["dropped"] * 3
    assert "no rejection note is sent" in ward.now.reason
    assert (ward.ledger.open_withdrawals(), ward.ledger.deliveries_due()) == ([], [])


def test_what_is_stored_after_the_withdrawal_gets_a_note_after_it(ward: Ward, clock: Clock) -> None:
    ward.stored("pacs")
    on_its_way = ward.claim("viewer")
    taken_back(ward)
    assert ("viewer", "seg", "waiting") in ward.states(), "it may be stored at this moment"
    settle_withdrawals(ward.site, ward.ledger)
    assert set(ward.notes) == {"pacs"}
    ward.ledger.settle_delivery(on_its_way, D.STORED, "status 0x0000", 0, next_attempt_at=clock.time)
    settle_withdrawals(ward.site, ward.ledger)
    assert {name: len(notes) for name, notes in ward.notes.items()} == {"pacs": 1, "viewer": 1}
    assert ward.notes["viewer"][0].rejected == {ward.objects[0].sop_instance_uid}
    assert ward.ledger.open_withdrawals() == []


def test_a_second_object_stored_late_in_the_same_place_is_noted_alone(ward: Ward) -> None:
    ward.stored("pacs")
    on_its_way = ward.claim("pacs", "text")
    taken_back(ward)
    ward.ledger.settle_delivery(on_its_way, D.DELIVERED, "status 0x0000", 0)
    settle_withdrawals(ward.site, ward.ledger)
    first, second = ward.notes["pacs"]
    assert first.rejected == {ward.objects[0].sop_instance_uid}
    assert second.rejected == {ward.objects[1].sop_instance_uid}


def test_an_attempt_whose_worker_died_is_dropped_when_its_lease_is_over(ward: Ward, clock: Clock) -> None:
    late = ward.claim("viewer")
    taken_back(ward)
    clock.time += 61
    settle_withdrawals(ward.site, ward.ledger)
    assert ("viewer", "seg", "dropped") in ward.states()
    assert ward.ledger.open_withdrawals() == []
    ward.ledger.settle_delivery(late, D.DELIVERED, "it lived after all", 0)
    settle_withdrawals(ward.site, ward.ledger)
    assert set(ward.notes) == {"viewer"}


def test_an_attempt_that_failed_in_that_moment_is_not_repeated(ward: Ward, clock: Clock) -> None:
    on_its_way = ward.claim("viewer")
    taken_back(ward)
    ward.ledger.settle_delivery(on_its_way, D.WAITING, "no connection", None, next_attempt_at=clock.time + 5)
    clock.time += 10
    assert ward.ledger.deliveries_due() == []
    assert ward.ledger.claim_delivery(on_its_way.id, 60) is None
    settle_withdrawals(ward.site, ward.ledger)
    assert ("viewer", "seg", "dropped") in ward.states()


def test_what_failed_after_it_was_stored_is_noted_and_what_was_refused_is_not(ward: Ward, clock: Clock) -> None:
    ward.stored("pacs", to=D.STORED)
    stored = ward.ledger.deliveries(ward.job.id)[0]
    ward.ledger.commitment_over([stored], D.FAILED, "not confirmed in time")
    ward.ledger.settle_delivery(ward.claim("viewer"), D.FAILED, "status 0x0122", 0x0122)
    assert taken_back(ward) == ("pacs",)


def test_nothing_is_asked_about_what_is_taken_back(ward: Ward) -> None:
    ward.stored("pacs", to=D.STORED)
    (stored, *_) = ward.ledger.deliveries(ward.job.id)
    taken_back(ward)
    assert stored.id not in {each.id for each in ward.ledger.deliveries_due()}
    assert ward.ledger.claim_commitment(stored.id, "2.25.1", 60) == []


def test_a_note_that_failed_is_told_in_the_reason_and_sent_again_when_asked(ward: Ward) -> None:
    ward.stored("pacs")
    taken_back(ward)
    ward.ledger.settle_delivery(ward.claim("pacs", "note"), D.FAILED, "status 0x0122: no KO here", 0x0122)
    assert "rejection note NOT STORED by pacs (status 0x0122: no KO here)" in ward.now.reason
    assert "1 rejection note(s) will be sent again" in retry_now(ward.ledger, ward.job.id)
    ward.ledger.settle_delivery(ward.claim("pacs", "note"), D.DELIVERED, "status 0x0000", 0)
    assert ward.now.reason.endswith("rejection note stored by pacs")
    assert ward.now.state is J.WITHDRAWN


def test_a_superseded_job_can_be_withdrawn_and_its_note_is_sent(ward: Ward) -> None:
    ward.stored("pacs")
    ward.ledger.supersede_jobs(ward.volume.series_uid, 2)
    assert taken_back(ward) == ("pacs",)
    assert [ward.ledger.objects(ward.job.id)[-1].sop_instance_uid] == [
        each.sop_instance_uid for each in ward.ledger.deliveries_due()
    ]


def test_a_late_instance_of_the_series_leaves_what_was_withdrawn_withdrawn(ward: Ward) -> None:
    ward.stored("pacs")
    taken_back(ward)
    ward.ledger.supersede_jobs(ward.volume.series_uid, 2)
    assert ward.now.state is J.WITHDRAWN


def test_a_job_at_work_or_without_objects_or_unknown_is_not_withdrawn(tmp_path: Path, ledger: Ledger) -> None:
    ward = Ward(tmp_path / "site", ledger).queued()
    with pytest.raises(NotWithdrawnError, match="made no objects"):
        taken_back(ward)
    with pytest.raises(NotWithdrawnError, match="no job abc"):
        withdraw(ward.site, ledger, "abc", Reason.QUALITY, "")


def test_a_job_that_runs_again_is_not_withdrawn(ward: Ward) -> None:
    ward.stored("pacs").stored("viewer").stored("pacs", "text")
    ward.ledger.move_job(ward.job.id, J.QUEUED, "asked for again")
    with pytest.raises(NotWithdrawnError, match="is queued"):
        taken_back(ward)
    assert ward.ledger.open_withdrawals() == []


def test_a_note_that_cannot_be_made_stops_no_other_and_is_made_later(ward: Ward, tmp_path: Path) -> None:
    ward.stored("pacs")
    away = tmp_path / "away"
    shutil.move(ward.site.jobs / ward.job.id, away)
    with pytest.raises(NotWithdrawnError, match="none of its files is left"):
        taken_back(ward)
    settle_withdrawals(ward.site, ward.ledger)
    assert ward.notes == {}
    shutil.move(away, ward.site.jobs / ward.job.id)
    settle_withdrawals(ward.site, ward.ledger)
    assert set(ward.notes) == {"pacs"}


def test_postgresql_does_as_sqlite_does(tmp_path: Path, every_ledger: Ledger) -> None:  # noqa: F811
    ward = Ward(tmp_path / "site", every_ledger).encoded().stored("pacs")
    on_its_way = ward.claim("viewer")
    assert taken_back(ward) == ("pacs",)
    ward.ledger.settle_delivery(on_its_way, D.DELIVERED, "status 0x0000", 0)
    settle_withdrawals(ward.site, ward.ledger)
    assert set(ward.notes) == {"pacs", "viewer"}
    assert ward.ledger.open_withdrawals() == []
    assert ward.ledger.series(ward.volume.series_uid).state is SeriesState.ROUTED  # type: ignore[union-attr]
