"""A real PACS beside us: Orthanc routes a study here by its own rules, and our SEG is in the same study there."""

from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from dicom_nodes.types import Node
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.verify import dice_by_structure, geometry_differences
from tests.circle.site import RunningSite, running_site, wait_until
from tests.conftest import free_port
from tests.orthanc.server import Orthanc, missing, orthanc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}"),
]

AUTO_ROUTE = """
function OnStableSeries(seriesId, tags, metadata)
  if tags["Modality"] == "MR" then
    RestApiPost("/modalities/sagittal/store", DumpJson({Resources={seriesId}, Synchronous=false}, true))
  end
end
"""


def seg_of(server: Orthanc, study_uid: str) -> bytes | None:
    """The SEG that the archive holds in this study; None while there is none."""
    for series in server.get("series?expand"):
        study = server.get(f"studies/{series['ParentStudy']}")
        if study["MainDicomTags"]["StudyInstanceUID"] == study_uid and series["MainDicomTags"]["Modality"] == "SEG":
            (instance,) = series["Instances"]
            return server.get_bytes(f"instances/{instance}/file")
    return None


def in_state(site: RunningSite, job_id: str, state: str) -> bool | None:
    job = site.ledger.job(job_id)
    return True if job is not None and job.state == state else None


def test_orthanc_routes_a_study_here_and_finds_the_seg_in_the_same_study(tmp_path: Path) -> None:
    phantom = make_phantom("knee", 4711)
    series = write_dicom(phantom, tmp_path / "scanner", vendor="philips")
    port = free_port()
    modalities = {"sagittal": Node("SAGITTAL", "127.0.0.1", port)}
    with (
        orthanc(tmp_path / "orthanc", modalities, AUTO_ROUTE, {"StableAge": 1}) as server,
        running_site(tmp_path / "site", [server.node], port=port, quiet_seconds="2.0") as site,
    ):
        for path in series.paths:
            server.post("instances", path.read_bytes())
        content = wait_until(lambda: seg_of(server, series.study_uid), 240, (site.site.home / "log").read_text)
        _, (job,) = site.settled(series.series_uid)
        committed = partial(in_state, site, job.id, "committed")
        wait_until(committed, 60, (site.site.home / "log").read_text)
        assert [step.to_state for step in site.ledger.history("job", job.id)][-2:] == ["delivered", "committed"]
    seg = tmp_path / "seg.dcm"
    seg.write_bytes(content)
    assert geometry_differences(seg, series.paths) == ()
    names = {value: name for name, value in phantom.labels.items()}
    dice = dice_by_structure(seg, phantom.truth, phantom.affine, names)
    assert set(dice) == {"femur", "patella", "fibula", "tibia"}
    assert min(dice.values()) >= 0.70
    segments = dcmread(DicomBytesIO(content), stop_before_pixels=True).SegmentSequence
    side = "Right" if phantom.laterality == "R" else "Left"
    for segment in segments:
        (modifier,) = segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
        assert modifier.CodeMeaning == side


def test_where_the_pacs_can_be_asked_a_series_is_complete_as_soon_as_the_count_agrees(tmp_path: Path) -> None:
    series = write_dicom(make_phantom("lumbar", 4712, voxel_scale=3.0), tmp_path / "scanner", vendor="siemens")
    port = free_port()
    modalities = {"sagittal": Node("SAGITTAL", "127.0.0.1", port)}
    with orthanc(tmp_path / "orthanc", modalities, AUTO_ROUTE, {"StableAge": 1}) as server:
        query = f'\n[query]\naet = "{server.aet}"\nhost = "127.0.0.1"\nport = {server.dicom_port}\n'
        with running_site(tmp_path / "site", [server.node], query, port=port, quiet_seconds="3600.0") as site:
            for path in series.paths:
                server.post("instances", path.read_bytes())
            record, (job,) = site.settled(series.series_uid)
            causes = [step.cause for step in site.ledger.history("series", series.series_uid)]
    assert job.state in ("delivered", "committed")
    count = len(series.paths)
    assert any(f"{count} of {count} instances by the PACS" in cause for cause in causes), causes
    assert record.instance_count == count
