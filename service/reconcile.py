"""The series that results were made of → those that the archive no longer holds."""

from dataclasses import dataclass

from dicom_nodes.scu import count_instances
from service.config import Site
from service.jobs import Job, JobState
from service.ledger import Ledger

_MADE = (JobState.ENCODED, JobState.DELIVERING, JobState.DELIVERED, JobState.COMMITTED, JobState.FAILED)
_MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Gone:
    """What the archive answered about the series with live results."""

    asked: int
    series_uids: tuple[str, ...]
    """Those that it does not know."""

    @property
    def suspicious(self) -> bool:
        """Whether it knows none of several, which says more of the question than of the series."""
        return 1 < self.asked == len(self.series_uids)


def live_jobs(ledger: Ledger, series_uid: str | None = None) -> list[Job]:
    """The jobs whose results are not taken back; of all series where none is named."""
    jobs = ledger.list_jobs(*_MADE, series_uid=series_uid, limit=_MANY)
    return [job for job in jobs if job.state is not JobState.FAILED or ledger.objects(job.id)]


def find_gone(site: Site, ledger: Ledger) -> Gone:
    """Ask the node of `[query]` with C-FIND about every series with live results, before anything is decided.

    Raises Unreachable or Refused where it does not answer one of the questions.
    """
    assert site.query is not None  # the caller has seen that there is one
    of_series = {job.series_uid: job.study_uid for job in live_jobs(ledger)}
    node, calling_aet = site.query.node, site.receive.aet
    gone = [
        series_uid
        for series_uid, study_uid in sorted(of_series.items())
        if count_instances(node, calling_aet, study_uid, series_uid) is None
    ]
    return Gone(len(of_series), tuple(gone))
