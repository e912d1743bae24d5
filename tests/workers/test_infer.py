"""Infer: a queued job becomes a label map on its volume, or a reason that says what to do."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_nodes.headers import read_headers
from dicom_nodes.volumes import find_volumes
from service.config import Site
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, SeriesState, job_id
from service.ledger import open_ledger
from service.modelstore import ModelStore
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.queue import Hints
from service.submodel import Crop, SubModel, load_submodels
from tests.workers.trained import TINY, TRAINED, checkpoint, dataset_folder, network, submodel
from workers import pipeline
from workers.cli import say_what_runs
from workers.install.installing import Wish, install
from workers.models import WarmModels
from workers.pipeline import Workshop

ABDOMEN = next(each for each in load_submodels() if each.name == "mrannotator-abdomen").serves("abdomen")
SMALL = replace(TINY, spacing_mm=(12.0, 8.0, 8.0))


def serving(name: str, **more: object) -> SubModel:
    table = submodel(name, SMALL)
    return table.model_copy(update={"protocol": (ABDOMEN.model_copy(update={"keep": ()}),), **more})


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
    """A worker of four sub-models: one that finds, two that look around something first, one not installed."""
    around = {"labels": ("spleen",), "margin_mm": 20.0}
    tables = {
        "finds": serving("finds"),
        "blind": serving("blind"),
        "around-something": serving("around-something", crop=Crop(submodel="finds", **around)),  # type: ignore[arg-type]
        "around-nothing": serving("around-nothing", crop=Crop(submodel="blind", **around)),  # type: ignore[arg-type]
        "absent": serving("absent"),
    }
    store = ModelStore(tmp_path / "models")
    for name, label in {"finds": 1, "blind": 0, "around-something": 2, "around-nothing": 2}.items():
        put(store, tables[name], tmp_path / "plain", label)
    destination = {"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 1}
    site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": [destination]})
    site = site.model_copy(update={"home": tmp_path})
    models = WarmModels(store, tables, threads=1, device="cpu", model_memory_mb=64)
    made = Workshop(site, open_ledger(site.ledger_url, actor="test"), Hints(empty_redis), tables, models)
    yield made
    made.hints.close()
    made.ledger.close()


def queued(shop: Workshop, name: str, series: PhantomSeries) -> Job:
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    identity = job_id(volume.series_uid, 1, 1, name, "abdomen")
    JobFolder(shop.site.jobs, identity).save_volume(volume)
    job = Job(
        identity, volume.series_uid, volume.study_uid, 1, 1, "", name, "abdomen", "", JobState.QUEUED,
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
