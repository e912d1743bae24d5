"""A PostgreSQL that crashes under a running site and comes back after a while: nothing is lost or doubled."""

import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from dicom_nodes.scu import store
from service.jobs import JobState
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from tests.circle.site import Archive, RunningSite, running_site, wait_until
from tests.conftest import free_port
from tests.postgresql import PostgreSql, missing, postgresql

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")
AWAY_SECONDS = 4.0


@pytest.fixture
def server() -> Iterator[PostgreSql]:
    """A server that nobody else uses."""
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder), free_port()) as running:
        yield running


def health(site: RunningSite) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{site.site.web.port}/health", timeout=20) as answer:
            assert json.load(answer)
            return int(answer.status)
    except HTTPError as error:
        return error.code


def sent(site: RunningSite, series: PhantomSeries, which: slice) -> None:
    """Send instances in an association of their own; each is answered with Success."""
    paths = series.paths[which]
    assert [outcome.status for outcome in store(site.node, "MR1", paths)] == [0] * len(paths)


def test_a_site_whose_database_crashes_in_mid_work_delivers_every_series_once(
    tmp_path: Path, server: PostgreSql, pacs: Archive
) -> None:
    phantom = make_phantom("knee", 5, voxel_scale=4.0)
    first, second = (write_dicom(phantom, tmp_path / name) for name in ("first", "second"))
    settings = {"ledger": f'"{server.url()}"', "quiet_seconds": "1.0", "lease_seconds": "4.0"}
    with running_site(tmp_path / "site", [pacs.node], **settings) as site:
        sent(site, first, slice(None))
        wait_until(lambda: site.ledger.list_jobs(JobState.INFERRING, JobState.INFERRED) or None, 60)
        sent(site, second, slice(0, 3))
        server.stop(signal.SIGQUIT)  # as a crash: no transaction is ended, every connection breaks
        sent(site, second, slice(3, None))  # the ledger is away, and what is on disk is safe
        assert health(site) == 503
        time.sleep(AWAY_SECONDS)
        server.start()
        for series in (first, second):
            record, (job,) = site.settled(series.series_uid)
            assert record.instance_count == len(series.paths)
            assert job.state in (JobState.DELIVERED, JobState.COMMITTED), job.reason
        assert health(site) == 200
        assert site.process.poll() is None
        for series in (first, second):
            kinds = Counter(path.name for path in pacs.results_of(series.study_uid))
            assert kinds and set(kinds.values()) == {1}, "each object once"
