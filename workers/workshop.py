"""What the steps of one worker process work with."""

from dataclasses import dataclass, field

from service.config import Site
from service.disk import DiskWatch
from service.jobfolder import JobFolder
from service.ledger import Ledger
from service.queue import Hints
from service.submodel import SubModel
from workers.models import WarmModels
from workers.stopping import Stopping
from workers.turns import Turns


@dataclass(frozen=True, slots=True)
class Workshop:
    """A site, its ledger and queue, and the sub-models that it knows."""

    site: Site
    ledger: Ledger
    hints: Hints
    submodels: dict[str, SubModel]
    models: WarmModels
    turns: Turns = field(default_factory=Turns)
    """Who sends now, of this process."""
    stopping: Stopping = field(default_factory=Stopping)
    """Whether this process is to end."""
    disk: DiskWatch | None = None
    """None where nobody watches how full the disks are."""

    def folder(self, job_id: str) -> JobFolder:
        """The files of a job."""
        return JobFolder(self.site.jobs, job_id)
