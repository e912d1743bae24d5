"""A real PACS beside us: Orthanc routes a study here by its own rules, and has our results in the same study."""

from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, SegmentationStorage

from dicom_nodes.decode import read_seg
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

ALL_OF_IT = {"quiet_seconds": "2.0", "outputs": '["seg", "sr", "text"]'}
AUTO_ROUTE = """
function OnStableSeries(seriesId, tags, metadata)
  if tags["Modality"] == "MR" then
    RestApiPost("/modalities/sagittal/store", DumpJson({Resources={seriesId}, Synchronous=false}, true))
  end
end
"""


def results_of(server: Orthanc, study_uid: str, count: int) -> list[Dataset] | None:
    """What the archive holds in this study beside the images, each in its series; None while they are fewer."""
    found: list[Dataset] = []
    for series in server.get("series?expand"):
        study = server.get(f"studies/{series['ParentStudy']}")
        if study["MainDicomTags"]["StudyInstanceUID"] == study_uid and series["MainDicomTags"]["Modality"] != "MR":
            (instance,) = series["Instances"]
            found.append(dcmread(BytesIO(server.get_bytes(f"instances/{instance}/file"))))
    return found if len(found) == count else None


def volumes_ml(report: Dataset) -> dict[str, float]:
    """The volume that a report by TID 1500 has of each segment, by its tracking UID."""
    volumes = {}
    for group in Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups():
        (volume,) = group.get_measurements(name=codes.SCT.Volume)
        assert volume.unit.value == "ml"
        volumes[str(group.tracking_uid)] = float(volume.value)
    return volumes


def segmented_ml(seg: Dataset) -> dict[str, float]:
    """What the voxels of a SEG's segments take up, by their tracking UID."""
    found = read_seg(seg)
    voxel_ml = abs(float(np.linalg.det(found.affine[:3, :3]))) / 1000
    uids = {int(each.SegmentNumber): str(each.TrackingUID) for each in seg.SegmentSequence}
    return {uid: float((found.labels == number).sum()) * voxel_ml for number, uid in uids.items()}


def in_state(site: RunningSite, job_id: str, state: str) -> bool | None:
    job = site.ledger.job(job_id)
    return True if job is not None and job.state == state else None


def test_orthanc_routes_a_study_here_and_finds_the_seg_and_its_measurements_in_the_same_study_and_keeps_them(
    tmp_path: Path,
) -> None:
    phantom = make_phantom("knee", 4711)
    series = write_dicom(phantom, tmp_path / "scanner", vendor="philips")
    port = free_port()
    modalities = {"sagittal": Node("SAGITTAL", "127.0.0.1", port)}
    with (
        orthanc(tmp_path / "orthanc", modalities, AUTO_ROUTE, {"StableAge": 1}) as server,
        running_site(tmp_path / "site", [server.node], port=port, **ALL_OF_IT) as site,
    ):
        for path in series.paths:
            server.post("instances", path.read_bytes())
        results = wait_until(
            lambda: results_of(server, series.study_uid, 3), 240, (site.site.home / "log").read_text
        )
        _, (job,) = site.settled(series.series_uid)
        committed = partial(in_state, site, job.id, "committed")
        wait_until(committed, 60, (site.site.home / "log").read_text)
        assert [step.to_state for step in site.ledger.history("job", job.id)][-2:] == ["delivered", "committed"]
        assert [each.state for each in site.ledger.deliveries(job.id)] == ["committed"] * 3
    by_class = {result.SOPClassUID: result for result in results}
    assert set(by_class) == {SegmentationStorage, Comprehensive3DSRStorage, BasicTextSRStorage}
    assert len({result.SeriesInstanceUID for result in results}) == 3
    measured = volumes_ml(by_class[Comprehensive3DSRStorage])
    assert measured == pytest.approx(segmented_ml(by_class[SegmentationStorage]), rel=1e-5)
    assert len(measured) == 4
    seg = tmp_path / "seg.dcm"
    by_class[SegmentationStorage].save_as(seg)
    assert geometry_differences(seg, series.paths) == ()
    names = {value: name for name, value in phantom.labels.items()}
    dice = dice_by_structure(seg, phantom.truth, phantom.affine, names)
    assert set(dice) == {"femur", "patella", "fibula", "tibia"}
    assert min(dice.values()) >= 0.70
    side = "Right" if phantom.laterality == "R" else "Left"
    for segment in by_class[SegmentationStorage].SegmentSequence:
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
