"""However the instances of a study arrive, the outcome is the same: order, associations and unrelated tags."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import FileDataset
from pydicom.tag import Tag

from dicom_nodes.types import Laterality
from service.config import Site
from service.dispatch import wake_waiting
from service.jobfolder import JobFolder
from service.jobs import JobState, SeriesState
from service.ledger import open_ledger
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from tests.ledgers import with_ledger
from tests.service.routed_site import dispatched, receive, without_body_part

Outcome = list[tuple[str, str, str, str, tuple[str, ...]]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhantomSeries, ...]:
    """A knee, and the same study's second series that names no body part."""
    folder = tmp_path_factory.mktemp("study")
    phantom = make_phantom("knee", 5, voxel_scale=8.0, laterality=Laterality.LEFT)
    first = write_dicom(phantom, folder / "1")
    return first, write_dicom(phantom, folder / "2", vendor="ge", study_uid=first.study_uid)


def with_more(dataset: FileDataset, tags: dict[int, str]) -> None:
    for element, value in tags.items():
        dataset.add_new(Tag(0x0099, 0x1000 + element), "LO", value)


def changed(dataset: FileDataset, tags: dict[int, str], nameless: bool) -> None:
    with_more(dataset, tags)
    if nameless:
        without_body_part(dataset)


def outcome_of(
    arrivals: list[tuple[PhantomSeries, list[Path]]], tags: dict[int, str], last: PhantomSeries
) -> Outcome:
    """Where all series stand in the end, when these pieces come one after the other; `last` names no body part."""
    home = Path(tempfile.mkdtemp())
    clock = [1_000_000.0]
    values = {
        "receive": {"aet": "SAGITTAL"},
        "destination": [{"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}],
    }
    site = with_ledger(Site.model_validate(values).model_copy(update={"home": home}))
    ledger = open_ledger(site.ledger_url, actor="test", now=lambda: clock[0])
    for series, paths in arrivals:
        change = partial(changed, tags=tags, nameless=series is last)
        receive(site, ledger, series, tuple(paths), change)
        dispatched(site, ledger, series)
        clock[0] += 1
    clock[0] += site.routing.study_quiet_seconds
    wake_waiting(site, ledger)
    for series in {each.series_uid: each for each, _ in arrivals}.values():
        if (record := ledger.series(series.series_uid)) and record.state is SeriesState.COMPLETE:
            dispatched(site, ledger, series)
    found: Outcome = []
    for job in ledger.list_jobs(JobState.QUEUED):
        frames = JobFolder(site.jobs, job.id).load_volume().frames
        uids = tuple(frame.sop_instance_uid for frame in frames)
        found.append((job.series_uid, job.submodel, job.protocol, job.laterality, uids))
    ledger.close()
    shutil.rmtree(home)
    return sorted(found)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_neither_order_nor_associations_nor_unrelated_tags_change_the_outcome(
    study: tuple[PhantomSeries, ...], data: st.DataObject
) -> None:
    whole = outcome_of([(series, list(series.paths)) for series in study], {}, study[1])
    assert [(submodel, protocol, side) for _, submodel, protocol, side, _ in whole] == [
        ("mrannotator-shoulder-knee", "knee", side) for *_, side, _ in whole
    ]
    assert len(whole) == 2
    pieces: list[tuple[PhantomSeries, list[Path]]] = []
    for series in study:
        order = data.draw(st.permutations(series.paths))
        cut = data.draw(st.integers(4, len(order)))
        pieces += [(series, list(part)) for part in (order[:cut], order[cut:]) if part]
    tags = data.draw(st.dictionaries(st.integers(0, 40), st.text("abcäß", max_size=8), max_size=3))
    assert outcome_of(data.draw(st.permutations(pieces)), tags, study[1]) == whole
