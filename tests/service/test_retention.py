"""Retention: what may go and when, that nothing else ever goes, and what becomes of a series that comes again."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from dicom_nodes.encode.rejection import header_for_notes
from dicom_nodes.fingerprint import series_fingerprint
from dicom_nodes.types import Laterality
from service import deletion, removal
from service.cli import main
from service.config import Disk, Retention, Site
from service.deletion import Retainer
from service.disk import DiskWatch, Free
from service.dispatch import dispatch
from service.jobfolder import JobFolder
from service.jobs import DeliveryState, Job, JobState, SeriesRecord, SeriesState
from service.ledger import Ledger, open_ledger
from service.ledger_deletions import Deletion, FilesDeletedError, Stand
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.removal import ASIDE, GIVEN_UP, finish_deletions
from service.retention import DAY, deletable, due
from service.routing.settings import Routing
from service.submodel import load_submodels
from service.web.server import make_app
from service.withdrawal import Reason, withdraw
from tests.clock import Clock
from tests.ledgers import ledger_in
from tests.service.routed_site import dispatched, receive
from tests.service.test_ledger import execute, new_job
from tests.service.withdrawn_site import Ward

S, J, D = SeriesState, JobState, DeliveryState
RULES = Retention()
AT_WORK = {J.QUEUED, J.INFERRING, J.INFERRED, J.ENCODED, J.DELIVERING}
ON_ITS_WAY = {S.RECEIVING, S.COMPLETE, S.WAITING}

# ── the decision ───────────────────────────────────────────────────────────────────────────────────────────

job_like = st.builds(
    lambda state, at, owner, revision: replace(new_job(revision), state=state, updated_at=at, owner=owner),
    st.sampled_from(J),
    st.floats(0, 400 * DAY),
    st.sampled_from(["", "", "w1"]),
    st.integers(1, 2),
)
kept = st.one_of(st.floats(1, 100), st.just("keep"))
rules_like = st.builds(
    Retention,
    **{f"{word}_days": kept for word in ("committed", "delivered", "unrouted", "failed", "held", "superseded")},
    early=st.booleans(),
)


def series_like(state: SeriesState, at: float = 0.0, revision: int = 1) -> SeriesRecord:
    return SeriesRecord("1.2.3", "1.2", "MR1", state, revision, 3, "released", "f", "", "", at, at, at)


@given(
    st.sampled_from(S),
    st.floats(0, 400 * DAY),
    st.lists(job_like, max_size=4),
    st.sets(st.integers(0, 3)),
    st.sets(st.integers(0, 3)),
    rules_like,
    st.floats(0, 500 * DAY),
    st.booleans(),
)
def test_nothing_is_ever_deleted_that_anybody_may_still_work_with(
    state: SeriesState,
    heard: float,
    jobs: list[Job],
    waiting: set[int],
    unsettled: set[int],
    rules: Retention,
    now: float,
    early: bool,
) -> None:
    jobs = [replace(job, id=f"{n}") for n, job in enumerate(jobs)]
    names = [job.id for job in jobs]
    opened = frozenset(name for name in names if int(name) in waiting)
    unsettled_ = frozenset(name for name in names if int(name) in unsettled)
    found = due(Stand(series_like(state, heard), tuple(jobs), opened, unsettled_), rules)
    if found is None or not deletable([found], now, early):
        return
    assert state not in ON_ITS_WAY
    assert not opened and not unsettled_
    assert not {job.state for job in jobs} & AT_WORK
    assert not any(job.owner for job in jobs)
    stands = [(job.state.value, job.updated_at) for job in jobs] + [(state.value, heard)] * (state is not S.ROUTED)
    assert stands
    for word, at in stands:
        days = getattr(rules, f"{word}_days")
        assert days != "keep"
        assert now >= max(at, heard) + DAY * days or (
            early and {job.state for job in jobs} <= {J.COMMITTED, J.DELIVERED}
        )


def test_a_series_goes_with_the_last_of_its_jobs() -> None:
    jobs = (replace(new_job(), state=J.COMMITTED), replace(new_job(), id="b", state=J.FAILED))
    found = due(Stand(series_like(S.ROUTED), jobs, frozenset(), frozenset()), RULES)
    assert found is not None
    assert (found.at, found.because) == (1000 + 90 * DAY, "failed for more than 90 days")


def test_what_is_held_is_kept_for_ever_unless_the_site_says_otherwise() -> None:
    held = Stand(series_like(S.HELD), (), frozenset(), frozenset())
    assert due(held, RULES) is None
    assert due(held, Retention(held_days=30)) is not None


# ── carried out ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_in(tmp_path / "site" / "data"), actor="test", now=clock)
    yield ledger
    ledger.close()


@pytest.fixture
def ward(tmp_path: Path, ledger: Ledger) -> Ward:
    """A series whose one result is delivered."""
    ward = Ward(tmp_path / "site", ledger, ("pacs",)).encoded()
    ward.stored("pacs").stored("pacs", "text")
    assert ward.now.state is J.DELIVERED
    return ward


def watch(ward: Ward, free_percent: float = 50) -> DiskWatch:
    return DiskWatch({"incoming": ward.folder}, Disk(), lambda _: Free(10**11, int(10**9 * free_percent)))


def retained(ward: Ward, free_percent: float = 50) -> int:
    """One round of retention; how many series went."""
    retainer = Retainer(ward.site, ward.ledger, watch(ward, free_percent))
    retainer.bite(60)
    return retainer.deleted


def files(ward: Ward) -> list[Path]:
    return [path for place in (ward.site.incoming, ward.site.jobs) for path in place.rglob("*") if path.is_file()]


def come_again(ward: Ward, *frames: object) -> SeriesRecord:
    """Instances come again, as the SCP lays them, and are dispatched."""
    ward.lay(*frames)
    ward.heard()
    series = ward.ledger.series(ward.volume.series_uid)
    assert series is not None
    dispatch(ward.site, ward.ledger, Routing(load_submodels(), ward.site.models.run), series)
    now = ward.ledger.series(ward.volume.series_uid)
    assert now is not None
    return now


def test_files_go_when_the_days_are_over_and_the_ledger_says_so(ward: Ward, clock: Clock) -> None:
    clock.time += 13 * DAY
    assert retained(ward) == 0
    assert files(ward)
    clock.time += 2 * DAY
    assert retained(ward) == 1
    assert files(ward) == []
    assert list(ward.site.incoming.iterdir()) == list(ward.site.jobs.iterdir()) == []
    gone = ward.ledger.deletion("series", ward.volume.series_uid)
    assert gone is not None and gone.finished and gone.files == len(ward.volume.frames)
    said = [step.cause for step in ward.ledger.history("series", ward.volume.series_uid)]
    assert said[-1].startswith("files deleted: delivered for more than 14 days")
    assert ward.now.state is J.DELIVERED
    assert retained(ward) == 0
    client = TestClient(make_app(ward.ledger, ward.site))
    page = client.get(f"/series/{ward.volume.series_uid}").text
    assert "Its files were deleted at" in page
    record = client.get(f"/api/series/{ward.volume.series_uid}").json()
    assert record["files_deleted"]["cause"] == gone.cause
    assert record["jobs"][0]["files_deleted"]["files"] > 0


def test_an_object_that_waits_for_its_confirmation_keeps_everything(
    tmp_path: Path, ledger: Ledger, clock: Clock
) -> None:
    ward = Ward(tmp_path / "site", ledger, ("pacs",)).encoded()
    ward.stored("pacs", to=D.STORED).stored("pacs", "text")
    clock.time += 1000 * DAY
    assert retained(ward) == 0
    assert files(ward)


def test_the_same_series_again_makes_no_second_job_and_the_first_can_be_begun_again(
    ward: Ward, clock: Clock, tmp_path: Path
) -> None:
    site, ledger = ward.site, ward.ledger
    knee = write_dicom(make_phantom("knee", 5, voxel_scale=8.0, laterality=Laterality.LEFT), tmp_path / "knee")
    receive(site, ledger, knee)
    before, (job,) = dispatched(site, ledger, knee)
    volume = JobFolder(site.jobs, job.id).load_volume()
    ledger.move_job(job.id, J.FAILED, "out of memory")
    clock.time += 91 * DAY
    assert retained(ward) == 2
    with pytest.raises(FilesDeletedError, match="failed for more than 90 days"):
        ledger.move_job(job.id, J.QUEUED, "asked for again")
    receive(site, ledger, knee)
    after, jobs = dispatched(site, ledger, knee)
    assert (after.state, after.revision) == (before.state, before.revision) == (S.ROUTED, 1)
    assert after.reason == "the same instances as before came again: the result stands"
    assert [each.id for each in jobs] == [job.id]
    assert JobFolder(site.jobs, job.id).load_volume().frames == volume.frames
    assert ledger.move_job(job.id, J.QUEUED, "asked for again") is not None
    assert ledger.deletion("job", job.id) is None


def dispatched_once(ward: Ward) -> None:
    """Let the ledger know the content as dispatch would have left it."""
    uid = ward.volume.series_uid
    print_ = series_fingerprint(sorted((ward.site.incoming / uid).glob("*.dcm")))
    ward.ledger.move_series(uid, S.COMPLETE, "asked for", fingerprint=print_, revision=1)
    ward.ledger.route_series(uid, "1 job", "because", [])


def test_half_of_a_deleted_series_makes_no_result_not_even_after_the_half_was_deleted_too(
    ward: Ward, clock: Clock
) -> None:
    dispatched_once(ward)
    clock.time += 15 * DAY
    assert retained(ward) == 1
    for _ in range(2):
        now = come_again(ward, *ward.volume.frames[:2])
        assert now.state is S.FAILED
        lacking = len(ward.volume.frames) - 2
        assert now.reason.startswith(f"{lacking} of the instances whose files were deleted")
        assert (ward.now.state, now.revision) == (J.DELIVERED, 1)
        clock.time += 91 * DAY
        assert retained(ward) == 1
        assert files(ward) == []
    assert come_again(ward, *ward.volume.frames).state is S.ROUTED


def test_what_is_received_while_it_is_deleted_is_put_back(
    ward: Ward, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.time += 15 * DAY
    before = sorted(files(ward))
    rename = removal._set_aside

    def later(site: Site, gone: Deletion) -> Path:
        """The network is faster by a moment."""
        if gone.subject == "series":
            os.utime(site.incoming / gone.subject_id, (clock.time, clock.time))
        return rename(site, gone)

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_set_aside", later)
        assert retained(ward) == 0
    assert sorted(files(ward)) == before
    assert ward.ledger.deletion("series", ward.volume.series_uid) is None
    assert ward.ledger.deletion("job", ward.job.id) is None


@pytest.mark.parametrize("cut_off", ["before", "renamed", "half removed"])
def test_a_deletion_that_was_cut_off_is_finished_at_the_next_start(
    ward: Ward, clock: Clock, monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    clock.time += 15 * DAY
    with monkeypatch.context() as patch:
        patch.setattr(deletion, "carry_out", lambda *_: False)
        assert retained(ward) == 0
    folder = ward.site.incoming / ward.volume.series_uid
    if cut_off != "before":
        aside = folder.rename(folder.with_name(ASIDE + folder.name))
        if cut_off == "half removed":
            given_up = aside.rename(folder.with_name(GIVEN_UP + folder.name))
            next(given_up.iterdir()).unlink()
    finish_deletions(ward.site, ward.ledger)
    assert files(ward) == []
    assert ward.ledger.unfinished_deletions() == []


def test_a_start_finds_what_came_before_the_cut(ward: Ward, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.time += 15 * DAY
    before = sorted(files(ward))
    with monkeypatch.context() as patch:
        patch.setattr(deletion, "carry_out", lambda *_: False)
        retained(ward)
    folder = ward.site.incoming / ward.volume.series_uid
    os.utime(folder, (clock.time, clock.time))
    folder.rename(folder.with_name(ASIDE + folder.name))
    clock.time += 3 * DAY  # down for days
    finish_deletions(ward.site, ward.ledger)
    assert sorted(files(ward)) == before


def test_a_result_whose_files_are_gone_can_still_be_taken_back(ward: Ward, clock: Clock) -> None:
    original = header_for_notes(Path(ward.objects[0].path))
    clock.time += 15 * DAY
    assert retained(ward) == 1
    kept_file = ward.site.kept / f"{ward.job.id}.dcm"
    assert header_for_notes(kept_file) == original
    assert kept_file.stat().st_size < 8000
    assert withdraw(ward.site, ward.ledger, ward.job.id, Reason.SAFETY, "").destinations == ("pacs",)
    (note,) = ward.notes["pacs"]
    assert note.rejected == {each.sop_instance_uid for each in ward.objects}


def test_while_a_disk_is_low_stored_results_go_early_only_where_the_site_says_so(ward: Ward) -> None:
    folder = ward.site.incoming / ward.volume.series_uid
    os.utime(folder, (0, 0))
    assert retained(ward, free_percent=10) == 0
    ward.site = ward.site.model_copy(update={"retention": Retention(early=True)})
    assert retained(ward, free_percent=50) == 0
    assert retained(ward, free_percent=10) == 1


def test_what_the_ledger_does_not_know_is_left_alone(ward: Ward, clock: Clock) -> None:
    stray = ward.site.incoming / "9.9.9"
    shutil.copytree(ward.site.incoming / ward.volume.series_uid, stray)
    clock.time += 1000 * DAY
    assert retained(ward) == 1
    assert list(stray.iterdir())


# ── sagittal storage ───────────────────────────────────────────────────────────────────────────────────────

SITE = """
[receive]
aet = "SAGITTAL"
[[destination]]
name = "pacs"
aet = "A"
host = "127.0.0.1"
port = 9
[retention]
delivered_days = 1
"""


def test_storage_shows_who_holds_what_and_deletes_what_may_go(ward: Ward, clock: Clock) -> None:
    file = ward.folder / "site.toml"
    where = "" if ward.ledger.url.startswith("sqlite") else f'[storage]\nledger = "{ward.ledger.url}"\n'
    file.write_text(SITE + where)
    size = sum(path.stat().st_size for path in files(ward))
    shown = CliRunner().invoke(main, ["storage", "--site", str(file)], catch_exceptions=False)
    assert shown.exit_code == 0
    for said in ("incoming and jobs and models", "MR1", "delivered", "may go now: 0 series"):
        assert said in shown.output
    record = json.loads(CliRunner().invoke(main, ["storage", "--json", "--site", str(file)]).output)
    assert record["series_by_calling_aet"]["MR1"]["files"] == len(ward.volume.frames)
    assert record["jobs_by_state"]["delivered"]["things"] == 1
    assert record["series"][0]["bytes"] == size
    assert record["series"][0]["due"]["because"] == "delivered for more than 1 day"
    assert {"incoming", "jobs", "models", "kept"} <= record["folders"].keys()
    assert files(ward)
    clock.time -= 20 * DAY
    ward.ledger.heard(ward.volume.series_uid, ward.volume.study_uid, "MR1", len(ward.volume.frames))
    ward.ledger.move_series(ward.volume.series_uid, S.COMPLETE, "quiet for 5 s")
    ward.ledger.route_series(ward.volume.series_uid, "1 job", "because", [])
    execute(ward.ledger.url, f"UPDATE jobs SET updated_at = {clock.time}")
    os.utime(ward.site.incoming / ward.volume.series_uid, (clock.time, clock.time))
    shown = CliRunner().invoke(main, ["storage", "--delete-now", "--site", str(file)], catch_exceptions=False)
    assert "the files of 1 series were deleted" in shown.output
    assert files(ward) == []
