"""A site without processes for tests of routing: series laid where the SCP lays them, then dispatched."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pydicom import FileDataset, dcmread

from service.config import Site
from service.dispatch import dispatch
from service.jobs import Job, SeriesRecord, SeriesState
from service.ledger import Ledger
from service.phantom.dicom import PhantomSeries
from service.routing.settings import Routing
from service.submodel import load_submodels

_REGION = (
    "BodyPartExamined", "StudyDescription", "RequestAttributesSequence", "AnatomicRegionSequence",
    "PerformedProcedureStepDescription", "RequestedProcedureDescription",
)  # fmt: skip


def without_body_part(dataset: FileDataset) -> None:
    """Take out of a header all that names the body part."""
    for keyword in _REGION:
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.ProtocolName = dataset.SeriesDescription = "t2_tse_sag"


def receive(
    site: Site,
    ledger: Ledger,
    series: PhantomSeries,
    paths: tuple[Path, ...] | None = None,
    change: Callable[[FileDataset], None] | None = None,
) -> None:
    """Lay files where the SCP lays them, and let the series be complete; `change` is made to each of them."""
    folder = site.incoming / series.series_uid
    folder.mkdir(parents=True, exist_ok=True)
    for path in series.paths if paths is None else paths:
        dataset = dcmread(path)
        target = folder / f"{dataset.SOPInstanceUID}.dcm"
        shutil.copy(path, target)
        if change is not None:
            change(dataset)
            dataset.save_as(target)
    ledger.heard(series.series_uid, series.study_uid, "MR1", len(list(folder.iterdir())))
    ledger.move_series(series.series_uid, SeriesState.COMPLETE, "quiet for 5 s")


def dispatched(
    site: Site, ledger: Ledger, series: PhantomSeries, routing: Routing | None = None
) -> tuple[SeriesRecord, list[Job]]:
    """Route a complete series; where it stands then, and its jobs."""
    complete = ledger.series(series.series_uid)
    assert complete is not None
    dispatch(site, ledger, routing or Routing(load_submodels(), site.models.run), complete)
    record = ledger.series(series.series_uid)
    assert record is not None
    return record, ledger.list_jobs(series_uid=series.series_uid)
