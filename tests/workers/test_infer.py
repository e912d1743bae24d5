"""Infer: a queued job becomes a label map on its volume, or a reason that says what to do."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from dicom_nodes.headers import read_headers
from dicom_nodes.volumes import find_volumes
from service.config import Checks, Site
from service.expectation import Expectation
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, SeriesState, Urgency, job_id
from service.ledger import open_ledger
from service.modelstore import ModelStore
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.queue import ENCODE, Hints, lists_of
from service.submodel import Crop, SubModel, load_submodels
from tests.ledgers import with_ledger
from tests.workers.trained import TINY, TRAINED, checkpoint, dataset_folder, network, submodel
from workers import pipeline
from workers.cli import say_what_runs
from workers.install.installing import Wish, install
from workers.models import WarmModels
from workers.workshop import Workshop

ABDOMEN = next(each for each in load_submodels() if each.name == "mrannotator-abdomen").serves("abdomen")
EXPECTING = ABDOMEN.model_copy(update={"keep": (), "expect": (Expectation(labels=(TINY.labels[1],), least_ml=50),)})
"""Expects the second label."""
FOUND = {"finds": 1, "blind": 0, "around-something": 2, "around-nothing": 2, "doubtful": 1, "empty": 0}
"""Sub-model to the one label that it finds everywhere; 0: nothing."""
SMALL = replace(TINY, spacing_mm=(12.0, 8.0, 8.0))


def serving(name: str, **more: object) -> SubModel:
    table = submodel(name, SMALL)
    return table.model_copy(update={"protocol": (ABDOMEN.model_copy(update={"keep": (), "expect": ()}),), **more})


def biased(label: int) -> dict[str, object]:
    """Weights that find one label everywhere."""
    weights = network(7, SMALL).state_dict()
    for name, tensor in weights.items():
        if ".seg_layers." in name and name.endswith("bias"):
            tensor.zero_()
            tensor[label] = 100.0
        elif ".seg_layers." in name:
            tensor.zero_()
    return {"network_weights": weights}


def put(store: ModelStore, table: SubModel, folder: Path, label: int) -> None:
    source = dataset_folder(folder / table.name, SMALL, **checkpoint(SMALL, **biased(label))) / TRAINED
    install(source, store, (table.model_copy(update={"crop": None}),), Wish(name=table.network[0].name))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_dicom(make_phantom("abdomen", 8, voxel_scale=6.0), tmp_path_factory.mktemp("series"))


@pytest.fixture
def shop(tmp_path: Path, empty_redis: str) -> Iterator[Workshop]:
    """A worker of six sub-models: one that finds, two that look around something first, one not installed; and two
    that find what their protocol does not show, and nothing."""
    around = {"labels": ("spleen",), "margin_mm": 20.0}
    tables = {
        "finds": serving("finds"),
        "blind": serving("blind"),
        "around-something": serving("around-something", crop=Crop(submodel="finds", **around)),  # type: ignore[arg-type]
        "around-nothing": serving("around-nothing", crop=Crop(submodel="blind", **around)),  # type: ignore[arg-type]
        "absent": serving("absent"),
        "doubtful": serving("doubtful", protocol=(EXPECTING,)),
        "empty": serving("empty", protocol=(EXPECTING,)),
    }
    store = ModelStore(tmp_path / "models")
    for name, label in FOUND.items():
        put(store, tables[name], tmp_path / "plain", label)
    destination = {"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 1}
    site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": [destination]})
    site = with_ledger(site.model_copy(update={"home": tmp_path}))
    models = WarmModels(store, tables, threads=1, device="cpu", model_memory_mb=64)
    made = Workshop(site, open_ledger(site.ledger_url, actor="test"), Hints(empty_redis), tables, models)
    yield made
    made.hints.close()
    made.ledger.close()


def queued(shop: Workshop, name: str, series: PhantomSeries, urgency: int = Urgency.ROUTINE) -> Job:
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    identity = job_id(volume.series_uid, 1, 1, name, "abdomen")
    JobFolder(shop.site.jobs, identity).save_volume(volume)
    job = Job(
        identity, volume.series_uid, volume.study_uid, 1, 1, "", name, "abdomen", urgency, "", JobState.QUEUED,
        "", 0, 0, "", 0.0, 0.0, "", "", 1000.0, 1000.0,
    )  # fmt: skip
    shop.ledger.heard(volume.series_uid, volume.study_uid, "MR1", len(series.paths))
    shop.ledger.move_series(volume.series_uid, SeriesState.COMPLETE, "test")
    shop.ledger.route_series(volume.series_uid, "test", "", [job], revision=1)
    return job


def inferred(shop: Workshop, name: str, series: PhantomSeries) -> Job:
    job = queued(shop, name, series)
    pipeline.infer(shop, job.id)
    after = shop.ledger.job(job.id)
    assert after is not None
    return after


def test_what_is_found_lies_on_the_volume_and_names_the_weights(shop: Workshop, series: PhantomSeries) -> None:
    job = inferred(shop, "finds", series)
    assert (job.state, job.reason) == (JobState.INFERRED, "")
    found = shop.folder(job.id).load_label_map()
    volume = shop.folder(job.id).load_volume()
    assert found.array.shape == volume.shape
    assert np.array_equal(found.affine, volume.affine)
    assert set(np.unique(found.array)) == {1}
    assert job.model_version == found.algorithm.version == shop.models._store.get("finds").version[:16]


def test_a_sub_model_looks_around_what_its_rough_one_finds(shop: Workshop, series: PhantomSeries) -> None:
    job = inferred(shop, "around-something", series)
    assert (job.state, job.reason) == (JobState.INFERRED, "")
    assert set(np.unique(shop.folder(job.id).load_label_map().array)) == {2}
    assert shop.models.held == ("finds", "around-something")


def test_where_the_rough_one_finds_nothing_the_job_ends_with_that_reason(
    shop: Workshop, series: PhantomSeries
) -> None:
    job = inferred(shop, "around-nothing", series)
    assert job.state is JobState.FAILED
    assert "around-nothing looks around spleen only, and blind found none of it, so nothing was sent" in job.reason
    assert series.series_uid in job.reason
    assert shop.models.held == ("blind",), "the finer network was never needed"


def test_a_sub_model_that_is_not_installed_ends_its_job_with_what_to_do(
    shop: Workshop, series: PhantomSeries
) -> None:
    job = inferred(shop, "absent", series)
    assert job.state is JobState.FAILED
    assert "absent is not installed" in job.reason
    assert "sagittal models install" in job.reason


def test_a_worker_says_at_its_start_which_sub_models_can_run_and_why_the_others_cannot(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        say_what_runs(shop, ["finds", "absent"])
    (can, cannot) = caplog.records
    assert (can.levelno, can.getMessage()) == (logging.INFO, "sub-model can run")
    assert can.__dict__["fields"] == {
        "submodel": "finds",
        "weights_mib": 1,
        "of_mib": 64,
        "device": "cpu",
    }
    assert (cannot.levelno, cannot.getMessage()) == (logging.ERROR, "sub-model cannot run")
    assert cannot.__dict__["fields"]["submodel"] == "absent"
    assert "is not installed" in cannot.__dict__["fields"]["why"]


def delivering(shop: Workshop) -> Workshop:
    """The same worker at a site that delivers what contradicts its route."""
    return replace(shop, site=shop.site.model_copy(update={"checks": Checks(contradiction="deliver")}))


def test_a_result_that_contradicts_its_route_is_held_with_what_was_seen_and_what_to_do(
    shop: Workshop, series: PhantomSeries
) -> None:
    job = inferred(shop, "doubtful", series)
    assert job.state is JobState.HELD
    assert f"little of what the protocol shows: expected {TINY.labels[1]} with 50 mL at least" in job.reason
    assert f"{TINY.labels[0]} " in job.reason, "what was found instead"
    assert f"sagittal jobs release {job.id}" in job.reason and f"sagittal jobs reject {job.id}" in job.reason
    (finding,) = shop.ledger.findings(job.id)
    assert (finding.name, finding.holds) == ("little of what the protocol shows", True)
    assert shop.hints.waiting(ENCODE) == 0
    pipeline.encode(shop, job.id)
    after = shop.ledger.job(job.id)
    assert after is not None and after.state is JobState.HELD, "a late hint encodes nothing"
    assert shop.ledger.objects(job.id) == []


def test_what_a_person_releases_is_encoded_and_not_asked_again(shop: Workshop, series: PhantomSeries) -> None:
    job = inferred(shop, "doubtful", series)
    shop.ledger.move_job(job.id, JobState.INFERRED, "released by an operator", reason="")
    pipeline.encode(shop, job.id)
    after = shop.ledger.job(job.id)
    assert after is not None and (after.state, after.reason) == (JobState.ENCODED, "")
    assert len(shop.ledger.objects(job.id)) == 1
    assert len(shop.ledger.findings(job.id)) == 1


def test_where_the_site_delivers_what_is_contradicted_it_goes_on_with_the_finding_on_record(
    shop: Workshop, series: PhantomSeries
) -> None:
    shop = delivering(shop)
    job = inferred(shop, "doubtful", series)
    assert (job.state, job.reason) == (JobState.INFERRED, "")
    assert shop.hints.waiting(ENCODE) == 1
    (finding,) = shop.ledger.findings(job.id)
    assert finding.holds is False


def test_of_what_is_found_only_what_the_site_holds_is_the_reason_to_hold(
    shop: Workshop, series: PhantomSeries
) -> None:
    checks = Checks.model_validate({"policy": {"little": "mark"}})
    shop = replace(shop, site=shop.site.model_copy(update={"checks": checks}))
    job = inferred(shop, "doubtful", series)
    assert (job.state, job.reason) == (JobState.INFERRED, "")
    assert [each.holds for each in shop.ledger.findings(job.id)] == [False]


def test_nothing_found_is_held_and_released_it_ends_with_nothing_to_send(
    shop: Workshop, series: PhantomSeries
) -> None:
    job = inferred(shop, "empty", series)
    assert job.state is JobState.HELD
    assert "found none" in job.reason
    shop.ledger.move_job(job.id, JobState.INFERRED, "released by an operator", reason="")
    pipeline.encode(shop, job.id)
    after = shop.ledger.job(job.id)
    assert after is not None and after.state is JobState.FAILED
    assert "found none of the structures of protocol abdomen, so nothing was sent" in after.reason


def test_a_held_job_that_is_tried_again_is_checked_again(shop: Workshop, series: PhantomSeries) -> None:
    job = inferred(shop, "doubtful", series)
    shop.ledger.move_job(job.id, JobState.QUEUED, "asked for by an operator", attempts=0, reason="")
    pipeline.infer(shop, job.id)
    after = shop.ledger.job(job.id)
    assert after is not None and after.state is JobState.HELD
    assert len(shop.ledger.findings(job.id)) == 1


def test_an_urgent_job_stays_urgent_on_its_way(shop: Workshop, series: PhantomSeries, empty_redis: str) -> None:
    job = queued(shop, "finds", series, Urgency.STAT)
    pipeline.infer(shop, job.id)
    with Redis.from_url(empty_redis) as client:
        assert {key.decode() for key in client.scan_iter("encode*")} == {lists_of(ENCODE)[0]}
