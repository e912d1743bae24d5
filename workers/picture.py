"""A result that was just found → its sheet in the job folder, for whoever decides on it or asks about it later."""

import logging

from dicom_nodes.errors import EmptyResult
from dicom_nodes.pictures import draw_sheet
from dicom_nodes.types import Voxels
from service.jobs import Job
from workers.making import finished_of
from workers.workshop import Workshop

log = logging.getLogger(__name__)


def keep_sheet(shop: Workshop, job: Job, voxels: Voxels) -> None:
    """Draw what the folder of a job holds over its voxels; one of an earlier result never stays.

    A result is worth more than its picture: whatever goes wrong here is logged, and nothing else.
    """
    folder = shop.folder(job.id)
    try:
        folder.remove_sheet()
        folder.save_sheet(draw_sheet(finished_of(shop, job), voxels))
    except EmptyResult:
        return  # the next step says so
    except Exception:  # a picture must never cost a result; what it shows is in the ledger and the objects
        log.exception("the picture could not be drawn", extra={"fields": job.log_context()})
