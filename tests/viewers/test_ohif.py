"""OHIF opens a study of a real Orthanc and shows what we made: every name, colour and voxel, and the report."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from dicom_nodes.encode import ENCODERS
from dicom_nodes.headers import read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Algorithm, Finished, LabelMap, Laterality, ResultIdentity
from dicom_nodes.volumes import find_volumes
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.submodel import load_submodels
from tests.orthanc.server import missing as orthanc_missing
from tests.orthanc.server import orthanc
from tests.viewers.ohif import missing, show
from workers.measurements import measure_segments

absent = ", ".join(filter(None, (missing(), orthanc_missing())))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(absent), reason=f"not installed: {absent}")]


@pytest.mark.parametrize(
    ("protocol", "submodel", "vendor", "enhanced"),
    [
        ("knee", "mrannotator-shoulder-knee", "siemens", False),
        ("thoracic", "mrannotator-spine", "philips", True),
    ],
)
def test_ohif_lists_every_segment_paints_every_voxel_and_renders_the_report(
    tmp_path: Path, protocol: str, submodel: str, vendor: str, enhanced: bool
) -> None:
    phantom = make_phantom(protocol, 7, voxel_scale=2.0)
    series = write_dicom(phantom, tmp_path / "scanner", vendor=vendor, enhanced=enhanced)
    (volume,) = find_volumes(read_headers(series.paths)).volumes
    side = Laterality.LEFT if protocol == "knee" else None
    segments = next(each for each in load_submodels() if each.name == submodel).segments(protocol, side)
    truth = on_grid_of(phantom.truth, phantom.affine, volume.affine, volume.shape)
    labels = np.zeros(volume.shape, np.uint8)
    for segment in segments:
        if segment.name in phantom.labels:
            labels[truth == phantom.labels[segment.name]] = segment.value
    made = LabelMap(labels, volume.affine, segments, Algorithm("truth", "1", "phantom", phantom=True))
    identity = ResultIdentity(submodel, protocol, 1, side, datetime(2026, 3, 9, tzinfo=UTC), "0", "SAGITTAL")
    measured = measure_segments(made, read_voxels(volume))
    finished, objects = Finished(made, volume, identity, measured), dict[str, Dataset]()
    for kind, encode in ENCODERS.items():
        objects[kind] = encode(finished, objects)
        objects[kind].save_as(tmp_path / f"{kind}.dcm", enforce_file_format=True)
    with orthanc(tmp_path / "orthanc") as server:
        for path in (*series.paths, *tmp_path.glob("*.dcm")):
            server.post("instances", path.read_bytes())
        uids = (str(objects[kind].SeriesInstanceUID) for kind in ("seg", "text"))
        shown = show(server.url(""), series.study_uid, *uids, tmp_path)
    wanted = [(each.name, each.rgb, int((labels == each.value).sum())) for each in segments]
    assert [(each.label, each.rgb, each.voxels) for each in shown.segments] == [each for each in wanted if each[2]]
    assert [each.number for each in shown.segments] == list(range(1, len(shown.segments) + 1))
    assert shown.errors == ()
    for each in measured:
        name = next(segment.name for segment in segments if segment.value == each.value)
        assert name in shown.report
        assert f"{each.volume_ml:.1f} mL" in shown.report


def on_grid_of(
    truth: np.ndarray, affine: np.ndarray, wanted: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """(z, y, x) labels on another grid of the same voxels: the order of slices may be the other way round."""
    z, y, x = np.indices(shape)
    index = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ (np.linalg.inv(affine) @ wanted).T
    column, row, plane = np.rint(index[..., :3]).astype(int).transpose(3, 0, 1, 2)
    assert np.allclose(index[..., :3], np.stack([column, row, plane], axis=-1), atol=1e-3)
    return np.asarray(truth[plane, row, column])
