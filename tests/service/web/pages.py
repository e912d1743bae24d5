"""Series and jobs in a ledger, as the pages show them, and the rows of a page."""

import re

import numpy as np

from dicom_nodes.types import Algorithm, Code, Edge, LabelMap, Measurement, Segment
from service.config import Site
from service.jobfolder import JobFolder
from service.jobs import Job, JobState, ResultObject, SeriesState, job_id
from service.ledger import Ledger

SERIES, STUDY = "1.3.12.2.1107.5.2.43.66012.2026112009070112345678901", "1.3.12.2.1107.5.2.43.66012.30000026112009"
EVIL = '<script src="//x"></script>"\'&'
SUBMODEL = "mrannotator-knee"


def routed(
    ledger: Ledger, series_uid: str = SERIES, laterality: str = "R", revision: int = 1, urgency: int = 0
) -> Job:
    ledger.heard(series_uid, STUDY, "MR1", 80)
    ledger.move_series(series_uid, SeriesState.COMPLETE, "quiet for 5 s")
    at = ledger.now()
    name = job_id(series_uid, revision, 1, SUBMODEL, "knee")
    job = Job(
        name, series_uid, STUDY, revision, 1, "", SUBMODEL, "knee", urgency, laterality, JobState.QUEUED,
        "", 0, 0, "", 0.0, 0.0, "", "", at, at,
    )  # fmt: skip
    ledger.route_series(
        series_uid, f"knee ({SUBMODEL})", "volume 1: 320 x 320 x 80, sagittal", [job], revision=revision
    )
    return job


def encoded(ledger: Ledger, *destinations: str) -> Job:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "inference-1", 30)
    ledger.move_job(job.id, JobState.INFERRED, "19 structures", owner="inference-1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "results", 30)
    made = ResultObject("2.25.1", job.id, "seg", "1.2.840.10008.5.1.4.1.1.66.4", "2.25.2", "/secret/seg.dcm", 0.0)
    ledger.encoded(job.id, "results", [made], {name: ["2.25.1"] for name in destinations})
    return job


def rows(page: str) -> list[str]:
    """The text of each series' rows, without the markup."""
    table = page.partition('class="series"')[2].partition("</table>")[0]
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part)).strip() for part in table.split("<tbody>")[1:]]


def found(site: Site, job: Job, png: bytes | None = None) -> JobFolder:
    """The folder of a job whose model found two of three structures."""
    code = Code("1", "99TEST", "thing")
    segments = (
        Segment(2, "kidney_left", code, code, None, (250, 60, 60)),
        Segment(1, "liver", code, code, None, (60, 220, 90)),
        Segment(3, f"gall{EVIL}", code, code, None, (0, 0, 255)),
    )
    array = np.zeros((4, 5, 5), np.uint8)
    array[1:3, 1, 1], array[1, 2, 2] = 1, 2
    folder = JobFolder(site.jobs, job.id)
    folder.save_label_map(LabelMap(array, np.eye(4), segments, Algorithm("model", "1", "somebody", phantom=False)))
    folder.save_measurements(
        (
            Measurement(2, 0.00123, None, None, 1, 1, 1, ()),
            Measurement(1, 1476.66, 431.612, 40.81, 2, 1, 2, (Edge.FIRST_SLICE, Edge.IN_PLANE)),
        )
    )
    if png is not None:
        folder.save_sheet(png)
    return folder
