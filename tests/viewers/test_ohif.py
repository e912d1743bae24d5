"""OHIF opens a study of a real Orthanc and shows what we made: every name, colour and voxel, and the report."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_nodes.encode import ENCODERS
from dicom_nodes.headers import read_headers
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Algorithm, Finished, LabelMap, Laterality, ResultIdentity
from dicom_nodes.volumes import find_volumes
from service.phantom.body import Phantom
from service.phantom.dicom import write_dicom
from service.phantom.protocols import make_phantom
from service.submodel import load_submodels
from tests.orthanc.server import missing as orthanc_missing
from tests.orthanc.server import orthanc
from tests.viewers.ohif import missing, show
from workers.measurements import measure_segments

absent = ", ".join(filter(None, (missing(), orthanc_missing())))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(absent), reason=f"not installed: {absent}")]


@dataclass(frozen=True)
class Case:
    """A study, and the Segmentations that are made of it."""

    protocol: str
    submodel: str
    vendor: str
    enhanced: bool
    voxel_scale: float
    segmentations: tuple[tuple[str, str, str], ...]
    """(kind, part, pattern of the names that are in it)."""


CASES = {
    "knee of 139 x 139 pixels, as SEG and as LABELMAP": Case(
        "knee", "mrannotator-shoulder-knee", "siemens", False, 2.3, (("seg", "", ".*"), ("labelmap", "", ".*"))
    ),
    "spine in two parts": Case(
        *("thoracic", "mrannotator-spine", "philips", True, 2.0),
        (("seg", "thoracic", "Vertebrae T.*"), ("seg", "others", "Vertebrae [^T].*")),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_ohif_lists_every_segment_paints_every_voxel_and_renders_the_report(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    phantom = make_phantom(case.protocol, 7, voxel_scale=case.voxel_scale)
    series = write_dicom(phantom, tmp_path / "scanner", vendor=case.vendor, enhanced=case.enhanced)
    finished = finish(case, phantom, series.paths)
    parts = [part_of(finished, *each[1:]) for each in case.segmentations]
    made = [ENCODERS[each[0]](part, ()) for each, part in zip(case.segmentations, parts, strict=True)]
    whole = made[:1] if case.segmentations[0][1] == "" else made
    reports = [ENCODERS["sr"](finished, whole), ENCODERS["text"](finished, ())]
    for number, each in enumerate([*made, *reports]):
        each.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    with orthanc(tmp_path / "orthanc") as server:
        for path in (*series.paths, *tmp_path.glob("*.dcm")):
            server.post("instances", path.read_bytes())
        uids = [str(each.SeriesInstanceUID) for each in made]
        shown = show(server.url(""), series.study_uid, uids, str(reports[1].SeriesInstanceUID), tmp_path)
    assert shown.errors == ()
    assert len(shown.segmentations) == len(parts) == 2
    for segmentation, part in zip(shown.segmentations, parts, strict=True):
        found = [(each.label, each.rgb, each.voxels) for each in segmentation.segments]
        assert found == listed(part)
        assert [each.number for each in segmentation.segments] == list(range(1, len(found) + 1))
    for (label, _, _), measured in zip(listed(finished), finished.measurements, strict=True):
        assert label in shown.report
        assert f"{measured.volume_ml:.1f} mL" in shown.report


def finish(case: Case, phantom: Phantom, paths: Sequence[Path]) -> Finished:
    """What a faultless sub-model would have found in a series."""
    (volume,) = find_volumes(read_headers(paths)).volumes
    side = Laterality.LEFT if case.protocol == "knee" else None
    submodel = next(each for each in load_submodels() if each.name == case.submodel)
    segments = submodel.segments(case.protocol, side)
    truth = on_grid_of(phantom.truth, phantom.affine, volume.affine, volume.shape)
    labels = np.zeros(volume.shape, np.uint8)
    for segment in segments:
        if segment.name in phantom.labels:
            labels[truth == phantom.labels[segment.name]] = segment.value
    made = LabelMap(labels, volume.affine, segments, Algorithm("truth", "1", "phantom", phantom=True))
    made_at = datetime(2026, 3, 9, tzinfo=UTC)
    identity = ResultIdentity(case.submodel, case.protocol, 1, side, made_at, "0", "SAGITTAL")
    return Finished(made, volume, identity, measure_segments(made, read_voxels(volume)))


def part_of(finished: Finished, part: str, names: str) -> Finished:
    """What goes into the object of one part: the structures with such names."""
    found = finished.label_map
    segments = tuple(each for each in found.segments if re.fullmatch(names, each.name))
    array = np.where(np.isin(found.array, [each.value for each in segments]), found.array, np.uint8(0))
    return replace(
        finished,
        label_map=replace(found, array=array, segments=segments),
        identity=replace(finished.identity, part=part),
    )


def listed(finished: Finished) -> list[tuple[str, tuple[int, int, int], int]]:
    """Name, colour and voxels of each segment that has any."""
    found = finished.label_map
    voxels = np.bincount(found.array.ravel(), minlength=256)
    return [(each.name, each.rgb, int(voxels[each.value])) for each in found.segments if voxels[each.value]]


def on_grid_of(
    truth: np.ndarray, affine: np.ndarray, wanted: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """(z, y, x) labels on another grid of the same voxels: the order of slices may be the other way round."""
    z, y, x = np.indices(shape)
    index = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ (np.linalg.inv(affine) @ wanted).T
    column, row, plane = np.rint(index[..., :3]).astype(int).transpose(3, 0, 1, 2)
    assert np.allclose(index[..., :3], np.stack([column, row, plane], axis=-1), atol=1e-3)
    return np.asarray(truth[plane, row, column])
