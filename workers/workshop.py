"""What the steps of one worker process work with."""

from dataclasses import dataclass

from service.config import Site
from service.jobfolder import JobFolder
from service.ledger import Ledger
from service.queue import Hints
from service.submodel import SubModel
from workers.models import WarmModels


@dataclass(frozen=True, slots=True)
class Workshop:
    """A site, its ledger and queue, and the sub-models that it knows."""

    site: Site
    ledger: Ledger
    hints: Hints
    submodels: dict[str, SubModel]
    models: WarmModels

    def folder(self, job_id: str) -> JobFolder:
        """The files of a job."""
        return JobFolder(self.site.jobs, job_id)
