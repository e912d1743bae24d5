"""`python -m benchmarks.latency [RUNS]`: from the last C-STORE response to the start of inference.

A whole site (`sagittal up`) with the phantom models, as a user starts it; nothing else is asked of it. Series are
sent

- declared: each instance says how many the acquisition has (ImagesInAcquisition), and the association is released;
- listed: an archive lists the count (C-FIND), and the association is released;
- quiet: nobody says a count; after `quiet_seconds` without news the series counts as whole.

Times are from when the sender has the answer to its last C-STORE to when a worker has taken the job, by the record
of the ledger; in between stand the end of the series, the route and the queue.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_nodes.scu import store
from service.jobs import JobState
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from tests.circle.site import RunningSite, archive, running_site
from tests.dicom_nodes.peers import answering

QUIET_SECONDS = 2.0


@dataclass(frozen=True)
class Times:
    """Seconds after the last C-STORE response."""

    complete: float
    routed: float
    started: float


def timed(site: RunningSite, series: PhantomSeries) -> Times:
    """Send a series and read from the ledger when it was complete, routed and taken by a worker."""
    store(site.node, "MR1", series.paths)
    answered = time.time()  # the release of the association is within: a few milliseconds more
    _, (job,) = site.settled(series.series_uid)
    assert job.state is JobState.DELIVERED, job.reason
    at = {step.to_state: step.at for step in site.ledger.history("series", series.series_uid)}
    began = next(step.at for step in site.ledger.history("job", job.id) if step.to_state == "inferring")
    return Times(at["complete"] - answered, at["routed"] - answered, began - answered)


def phantom(folder: Path, seed: int, declared: bool) -> PhantomSeries:
    """A series whose objects state their count, or do not."""
    series = write_dicom(make_phantom("lumbar", seed, voxel_scale=3.0), folder / str(seed))
    for path in series.paths:
        instance = dcmread(path)
        instance.ImagesInAcquisition = len(series.paths)
        if not declared:
            del instance.ImagesInAcquisition
        instance.save_as(path)
    return series


@contextmanager
def listing(counts: dict[str, int]) -> Iterator[str]:
    """The table [query] of an archive that answers C-FIND with these counts."""

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        answer = Dataset()
        answer.QueryRetrieveLevel = "SERIES"
        answer.SeriesInstanceUID = event.identifier.SeriesInstanceUID
        answer.NumberOfSeriesRelatedInstances = counts.get(str(answer.SeriesInstanceUID), 0)
        yield 0xFF00, answer

    with answering([(evt.EVT_C_FIND, find)]) as node:
        yield f'\n[query]\naet = "{node.aet}"\nhost = "{node.host}"\nport = {node.port}\n'


def measured(folder: Path, runs: int, kind: str) -> list[Times]:
    """One site, some series one after the other."""
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        pacs = stack.enter_context(archive(folder / "pacs"))
        more = stack.enter_context(listing(counts)) if kind == "listed" else ""
        many = [phantom(folder, seed, kind == "declared") for seed in range(40, 41 + runs)]
        counts.update({series.series_uid: len(series.paths) for series in many})
        site_ = running_site(folder / "site", [pacs.node], more, quiet_seconds=str(QUIET_SECONDS), threads="1")
        site = stack.enter_context(site_)
        return [timed(site, series) for series in many][1:]  # the first loads the model


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("runs", type=int, nargs="?", default=8)
    runs = arguments.parse_args().runs
    print(f"{runs} series each, seconds after the last C-STORE response, median (worst)\n")
    print("| the count is | complete | routed | inference starts |\n|---|---|---|---|", flush=True)
    for kind in ("declared", "listed", "quiet"):
        with tempfile.TemporaryDirectory() as folder:
            times = measured(Path(folder), runs, kind)
        name = f"{kind} ({QUIET_SECONDS:g} s)" if kind == "quiet" else kind
        columns: list[Callable[[Times], float]] = [lambda t: t.complete, lambda t: t.routed, lambda t: t.started]
        found = [[column(each) for each in times] for column in columns]
        print(f"| {name} | " + " | ".join(f"{statistics.median(c):.2f} ({max(c):.2f})" for c in found) + " |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
