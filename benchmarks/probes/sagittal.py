"""This project as a server of the probes: `sagittal up` with a tiny network that labels every voxel."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread

from benchmarks.probes.disk import small_disk
from benchmarks.probes.pacs import Pacs
from benchmarks.probes.series import Series
from benchmarks.probes.server import Pace
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import echo
from dicom_nodes.types import Node
from service.jobs import Job, JobState, SeriesRecord, SeriesState
from service.ledger import terminal
from tests.circle.site import RunningSite, running_site, wait_until
from tests.faults.model import NAME, install_quick

_MORE = """
[checks]
contradiction = "deliver"    # a tiny network contradicts every route
"""
_UNDER_WAY = (SeriesState.RECEIVING, SeriesState.COMPLETE, SeriesState.WAITING)
_ASIDE = (SeriesState.FAILED, SeriesState.HELD, SeriesState.UNROUTED)


@dataclass
class Sagittal:
    """A running site; what it sends on are Segmentations."""

    site: RunningSite
    pacs: Pacs
    pace: Pace
    name: str = "Sagittal"
    _killed: int = 0

    @property
    def node(self) -> Node:
        """Where it listens now."""
        return self.site.node

    @property
    def storage(self) -> Path:
        """Where received instances lie."""
        return self.site.site.incoming

    def kill(self) -> None:
        """SIGKILL to the receiver, one of the processes of `sagittal up`."""
        self._killed = self._receiver()
        os.kill(self._killed, signal.SIGKILL)

    def back(self) -> None:
        """Wait until `sagittal up` has started the receiver again and it answers."""
        wait_until(lambda: (self._receiver() not in (0, self._killed) and self._answers()) or None, 60)

    def at_rest(self, series: Series) -> bool:
        """Whether nothing more will happen to a series by itself."""
        record, jobs = self._known(series)
        return record is not None and record.state not in _UNDER_WAY and all(terminal(job) for job in jobs)

    def forwarded(self, series: Series) -> list[frozenset[str]]:
        """The instances that each Segmentation names as its source."""
        found = []
        for path in self.results(series):
            of = dcmread(path, stop_before_pixels=True).ReferencedSeriesSequence
            images = [each for item in of for each in item.ReferencedInstanceSequence]
            found.append(frozenset(str(image.ReferencedSOPInstanceUID) for image in images))
        return found

    def images(self, series: Series) -> list[Path]:
        """What was received: the worker reads it there."""
        return sorted((self.storage / series.series_uid).glob("*.dcm"))

    def results(self, series: Series) -> list[Path]:
        """Files that were sent on, in order of arrival."""
        return [each.path for each in tuple(self.pacs.arrived) if each.study_uid == series.study_uid]

    def says(self, series: Series) -> str:
        """What a person can read about it."""
        record, jobs = self._known(series)
        if record is None:
            return "nothing"
        said = [f"series {_line(record.state, record.reason)}"]
        said += [f"job {_line(job.state, job.reason)}" for job in jobs]
        late = [each for job in jobs if not terminal(job) for each in self.site.ledger.deliveries(job.id)]
        return "; ".join(said + [f"{each.attempts} attempts: {each.comment}" for each in late if each.comment])

    def set_aside(self, series: Series) -> bool:
        """Whether that is a reason for which nothing was sent on."""
        record, jobs = self._known(series)
        if record is not None and record.state in _ASIDE:
            return bool(record.reason)
        return any(job.state in (JobState.FAILED, JobState.HELD) and job.reason for job in jobs)

    def _known(self, series: Series) -> tuple[SeriesRecord | None, list[Job]]:
        ledger = self.site.ledger
        return ledger.series(series.series_uid), ledger.list_jobs(series_uid=series.series_uid)

    def _receiver(self) -> int:
        """The process of the receiver; 0 while there is none."""
        command = ["pgrep", "-P", str(self.site.process.pid), "-f", "service receiver"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return int(found[0]) if found else 0

    def _answers(self) -> bool:
        try:
            echo(self.node, "TEST", timeout_seconds=2)
        except (Unreachable, Refused):
            return False
        return True


def _line(state: str, reason: str) -> str:
    return f"{state}: {reason}" if reason else state


@contextmanager
def sagittal(folder: Path, pacs: Pacs, pace: Pace) -> Iterator[Sagittal]:
    """Start a site that delivers to the archive; what it receives has a small file system of its own."""
    models, submodels = folder / "models", folder / "submodels"
    install_quick(submodels, models)
    edits: Any = {
        "weights": f'"{models}"\nsubmodels = "{submodels}"',
        "run": f'["{NAME}"]',
        "otherwise": "[]",
        "quiet_seconds": str(pace.quiet),
        "abandoned_seconds": str(pace.abandoned),
        "threads": "1",
    }
    with (
        small_disk(folder / "site" / "data" / "incoming"),
        running_site(folder / "site", [pacs.node], _MORE, **edits) as site,
    ):
        yield Sagittal(site, pacs, pace)
