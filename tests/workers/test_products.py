"""What a destination gets of a result: forms, parts and reports, from its table in site.toml."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dicom_nodes.decode import Grid, read_seg
from dicom_nodes.encode import ENCODERS
from dicom_nodes.types import Finished, LabelMap, Voxels
from service.destination import FORMS, Destination
from tests.dicom_nodes import seg_sources
from workers.measurements import measure_segments
from workers.products import products_of, restricted

NAMES = ("liver", "vertebra_L1", "vertebra_L2", "spleen", "vertebra_L3", "sacrum")
AXIAL = ("1", "0", "0", "0", "1", "0")


def target(*outputs: str, **more: Any) -> Destination:
    return Destination.model_validate(
        {"name": "pacs", "aet": "PACS", "host": "h", "port": 104, "outputs": outputs, **more}
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Six structures, the first in one slice, the second in two, and so on."""
    volume = seg_sources.classic(tmp_path_factory.mktemp("series"), seg_sources.Geometry(AXIAL, (8, 12, 10)))
    array = np.zeros(volume.shape, np.uint8)
    for value in range(1, 7):
        array[:value, value, 2:9] = value
    segments = seg_sources.segments(*range(1, 8))
    named = [replace(each, name=name) for each, name in zip(segments, (*NAMES, "absent"), strict=True)]
    found = LabelMap(array, volume.affine, tuple(named), seg_sources.label_map(volume, 1).algorithm)
    measured = measure_segments(found, Voxels(array.astype(np.float32), volume.affine))
    return Finished(found, volume, seg_sources.identity(), measured)


def made(destination: Destination, finished: Finished, form: Any = None) -> list[tuple[str, list[str]]]:
    """By name of the object: the structures in it."""
    return [
        (each.name, [NAMES[value - 1] for value in sorted(each.values or range(1, 7))])
        for each in products_of(destination, finished, form)
    ]


def test_every_form_and_report_that_a_destination_names_is_made_once_and_reports_go_last(
    finished: Finished,
) -> None:
    names = [name for name, _ in made(target("sheet", "text", "sr", "rtstruct", "seg"), finished)]
    assert names == ["seg", "rtstruct", "sr", "text", "sheet"]


def test_a_report_refers_to_the_form_that_has_segments(finished: Finished) -> None:
    (labelmap, sr) = products_of(target("labelmap", "sr"), finished)
    assert (sr.refers, sr.name) == ((labelmap,), "sr-labelmap")
    assert [name for name, _ in made(target("auto", "sr"), finished)] == ["seg", "sr"]
    assert [name for name, _ in made(target("auto", "sr"), finished, "labelmap")] == ["labelmap", "sr-labelmap"]
    assert [name for name, _ in made(target("auto", "sr", "text"), finished, "capture")] == ["capture", "text"]


def test_structures_of_a_group_go_into_an_object_of_their_own_and_the_rest_into_another(finished: Finished) -> None:
    groups = {"vertebrae": ["vertebra_*", "sacrum"], "bowel": ["colon"]}
    found = made(target("seg", "rtstruct", "capture", groups=groups), finished)
    vertebrae, others = ["vertebra_L1", "vertebra_L2", "vertebra_L3", "sacrum"], ["liver", "spleen"]
    assert found == [
        ("seg-vertebrae", vertebrae),
        ("seg-others", others),
        ("rtstruct-vertebrae", vertebrae),
        ("rtstruct-others", others),
        ("capture", list(NAMES)),
    ]


def test_a_structure_that_two_groups_name_is_in_the_first(finished: Finished) -> None:
    groups = {"lumbar": ["vertebra_L*"], "all": ["*"]}
    assert dict(made(target("seg", groups=groups), finished))["seg-all"] == ["liver", "spleen", "sacrum"]


def test_no_seg_has_more_frames_than_its_destination_takes_unless_one_structure_alone_has(
    finished: Finished,
) -> None:
    found = made(target("seg", "labelmap", max_frames=5), finished)
    assert found == [
        ("seg-1", ["liver", "vertebra_L1"]),
        ("seg-2", ["vertebra_L2"]),
        ("seg-3", ["spleen"]),
        ("seg-4", ["vertebra_L3"]),
        ("seg-5", ["sacrum"]),
        ("labelmap", list(NAMES)),
    ]
    assert made(target("seg", max_frames=21), finished) == [("seg", list(NAMES))]


def test_parts_hold_every_voxel_once_under_the_tracking_uids_of_the_whole(finished: Finished) -> None:
    whole = ENCODERS["seg"](finished, ())
    destination = target("seg", "sr", groups={"vertebrae": ["vertebra_*"]}, max_frames=7)
    products = products_of(destination, finished)
    segs = [ENCODERS["seg"](restricted(finished, each), ()) for each in products if each.kind == "seg"]
    assert len(segs) == 4
    assert len({seg.SOPInstanceUID for seg in (*segs, whole)}) == len(
        {seg.SeriesInstanceUID for seg in (*segs, whole)}
    )
    assert len({seg.SeriesInstanceUID for seg in (*segs, whole)}) == 5
    grid = Grid(finished.volume.affine, finished.volume.shape)
    together = np.zeros(finished.volume.shape, np.uint8)
    value_of = {segment.name: segment.value for segment in finished.label_map.segments}
    for seg in segs:
        decoded = read_seg(seg, grid)
        for number, name in decoded.names.items():
            assert not together[decoded.labels == number].any()
            together[decoded.labels == number] = value_of[name]
    assert np.array_equal(together, finished.label_map.array)
    of_parts = {item.SegmentLabel: item.TrackingUID for seg in segs for item in seg.SegmentSequence}
    assert of_parts == {item.SegmentLabel: item.TrackingUID for item in whole.SegmentSequence}
    report = ENCODERS["sr"](finished, segs)
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert {each.SeriesInstanceUID for each in evidence.ReferencedSeriesSequence} == {
        finished.volume.series_uid,
        *(seg.SeriesInstanceUID for seg in segs),
    }
    assert report.SOPInstanceUID != ENCODERS["sr"](finished, [whole]).SOPInstanceUID


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"outputs": ["auto", "seg"]}, "leave out seg"),
        ({"outputs": ["sr", "rtstruct"]}, 'needs "seg", "labelmap" or "auto"'),
        ({"outputs": ["seg", "seg"]}, "named twice"),
        ({"max_frames": 0}, "greater than or equal to 1"),
        ({"groups": {"Bones!": ["*"]}}, "match pattern"),
        ({"groups": {"bones": []}}, "at least 1 item"),
        ({"kind": "stow", "url": "https://pacs/dicom-web"}, 'kind = "stow" has no aet, host, port'),
        ({"url": "https://pacs/dicom-web"}, 'kind = "dicom" has no url'),
        ({"url": "pacs/dicom-web"}, "write it as https://HOST/PATH"),
        ({"url": "https://me:secret@pacs/dicom-web"}, "credentials belong into the file"),
        ({"aet": None}, 'kind = "dicom" needs aet'),
    ],
)
def test_a_destination_that_makes_no_sense_is_an_error(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Destination.model_validate({"name": "pacs", "aet": "PACS", "host": "h", "port": 104, **wrong})


def test_auto_asks_for_the_forms_in_the_order_that_is_written_down() -> None:
    assert FORMS == ("seg", "labelmap", "rtstruct", "capture")
