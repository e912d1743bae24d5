"""The second witness on real parts: what a header says wrongly is held when the result shows it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_nodes.scu import store
from service.jobs import JobState
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from tests.circle.site import Archive, RunningSite, running_site

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path, pacs: Archive) -> Iterator[RunningSite]:
    with running_site(tmp_path / "site", [pacs.node], quiet_seconds="1.0") as running:
        yield running


def named_lumbar(folder: Path) -> PhantomSeries:
    """A cervical spine whose header says throughout that it is a lumbar one."""
    series = write_dicom(make_phantom("cervical", 51, voxel_scale=2.0), folder)
    for path in series.paths:
        instance = dcmread(path)
        instance.BodyPartExamined = "LSPINE"
        instance.StudyDescription = instance.ProtocolName = "L-spine"
        instance.SeriesDescription = "t2_tse_sag lumbar"
        for keyword in (
            "AnatomicRegionSequence",
            "RequestedProcedureDescription",
            "PerformedProcedureStepDescription",
        ):
            if keyword in instance:
                delattr(instance, keyword)
        instance.save_as(path)
    return series


def test_a_cervical_spine_that_is_called_lumbar_is_held_and_sent_once_a_person_releases_it(
    site: RunningSite, pacs: Archive, tmp_path: Path
) -> None:
    series = named_lumbar(tmp_path / "scanner")
    store(site.node, "MR1", series.paths)
    record, (job,) = site.settled(series.series_uid)
    assert (job.protocol, job.state) == ("lumbar", JobState.HELD), (record.reason, job.reason)
    assert "expected 3 of Vertebrae L*" in job.reason and "Vertebrae C" in job.reason
    assert pacs.results_of(series.study_uid) == []
    command = [sys.executable, "-m", "service", "jobs", "release", job.id, "--site", str(site.site_file)]
    subprocess.run(command, check=True, timeout=60)
    _, (released,) = site.settled(series.series_uid)
    assert released.state is JobState.DELIVERED, released.reason
    assert len(pacs.results_of(series.study_uid)) == 1
    holding = [finding.name for finding in site.ledger.findings(job.id) if finding.holds]
    assert holding == ["little of what the protocol shows"]
