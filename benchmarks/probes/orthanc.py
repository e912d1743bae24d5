"""Orthanc as a server of the probes: each stable series is sent on by a Lua rule, as a hospital has it forward."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.probes.disk import small_disk
from benchmarks.probes.pacs import Pacs
from benchmarks.probes.series import Series
from benchmarks.probes.server import Pace
from dicom_nodes.types import Node
from tests.orthanc.server import Orthanc, orthanc

AUTO_ROUTE = """
function OnStableSeries(seriesId, tags, metadata)
  RestApiPost("/modalities/archive/store", DumpJson({Resources={seriesId}, Synchronous=false}, true))
end
"""


@dataclass
class OrthancServer:
    """A running Orthanc; what it sends on are the images."""

    folder: Path
    storage: Path
    pacs: Pacs
    pace: Pace
    name: str = "Orthanc"
    _server: Orthanc = field(init=False)
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start it, on ports of its choice."""
        settings = {"StorageDirectory": str(self.storage), "StableAge": round(self.pace.quiet)}
        modalities = {"archive": self.pacs.node}
        self._server = self._running.enter_context(orthanc(self.folder, modalities, AUTO_ROUTE, settings))

    def stop(self) -> None:
        """Stop it; what it holds stays."""
        self._running.close()

    @property
    def node(self) -> Node:
        """Where it listens now."""
        return self._server.node

    def kill(self) -> None:
        """SIGKILL to its one process."""
        os.kill(self._server.process_id, signal.SIGKILL)

    def back(self) -> None:
        """Start it again on the same database."""
        self.stop()
        self.start()

    def at_rest(self, series: Series) -> bool:
        """Whether nothing more will happen to a series by itself."""
        known = self._series(series)
        stable = bool(known) and all(each["IsStable"] for each in known)
        return stable and all(job["State"] in ("Success", "Failure") for job in self._jobs(series))

    def forwarded(self, series: Series) -> list[frozenset[str]]:
        """The instances of a series that came in one association, for each."""
        by_association: dict[str, set[str]] = {}
        for each in tuple(self.pacs.arrived):
            if each.study_uid == series.study_uid:
                by_association.setdefault(each.association_id, set()).add(each.sop_instance_uid)
        return [frozenset(uids) for uids in by_association.values()]

    def images(self, series: Series) -> list[Path]:
        """What was sent on."""
        return self.results(series)

    def results(self, series: Series) -> list[Path]:
        """Files that were sent on, in order of arrival."""
        return [each.path for each in tuple(self.pacs.arrived) if each.study_uid == series.study_uid]

    def says(self, series: Series) -> str:
        """What a person can read about it."""
        jobs = sorted(self._jobs(series), key=lambda job: str(job["CreationTime"]))
        said = [f"job {job['State']}{_error(job)}" for job in jobs]
        return "; ".join(said) or ("series stored, no job" if self._series(series) else "nothing")

    def set_aside(self, series: Series) -> bool:
        """Whether that is a reason for which nothing was sent on."""
        return any(job["State"] == "Failure" for job in self._jobs(series))

    def _series(self, series: Series) -> list[dict[str, Any]]:
        query = {"Level": "Series", "Expand": True, "Query": {"SeriesInstanceUID": series.series_uid}}
        found: list[dict[str, Any]] = self._server.post("tools/find", query)
        return found

    def _jobs(self, series: Series) -> list[dict[str, Any]]:
        ids = {each["ID"] for each in self._series(series)}
        return [job for job in self._server.get("jobs?expand") if ids & set(job["Content"]["ParentResources"])]


def _error(job: dict[str, Any]) -> str:
    return f": {job['ErrorDescription']}" if job["State"] == "Failure" else ""


@contextmanager
def orthanc_server(folder: Path, pacs: Pacs, pace: Pace) -> Iterator[OrthancServer]:
    """Start an Orthanc that forwards to the archive; what it receives has a small file system of its own."""
    storage = folder / "storage"
    with small_disk(storage):
        server = OrthancServer(folder / "orthanc", storage, pacs, pace)
        server.start()
        try:
            yield server
        finally:
            server.stop()
