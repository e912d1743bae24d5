"""The reports beside a SEG: what they say, that they say it the same again, and what others read of them."""

import io
import json
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite

from dicom_nodes.encode import ENCODERS
from dicom_nodes.encode.identity import tracking_uid
from dicom_nodes.errors import ResultUnsound
from dicom_nodes.types import Edge, Finished, Laterality, Measurement, Predecessor, Volume
from tests.dicom_nodes import seg_sources as made

DCIODVFY, DCENTVFY = shutil.which("dciodvfy"), shutil.which("dcentvfy")
DSRDUMP, DSR2HTML = shutil.which("dsrdump"), shutil.which("dsr2html")
TID1500READER = Path(sysconfig.get_path("scripts")) / "tid1500reader"
REPORTS = ("sr", "text")

SOURCES: dict[str, Callable[[Path], Volume]] = {
    "classic": partial(made.classic, geometry=made.AXIAL),
    "oblique": partial(made.classic, geometry=made.unit(made.OBLIQUE)),
    "enhanced": partial(made.enhanced, geometry=made.unit(made.OBLIQUE), order=(4, 2, 5, 1, 3)),
}


def finished(folder: Path, source: str = "classic", *values: int, **how: object) -> Finished:
    folder.mkdir(exist_ok=True)
    volume = SOURCES[source](folder)
    return of_volume(volume, *(values or (1, 2, 3)), **how)


def of_volume(volume: Volume, *values: int, phantom: bool = False, notes: tuple[str, ...] = ()) -> Finished:
    label_map = made.label_map(volume, *values, listed=(*values, 90), phantom=phantom)
    random = np.random.default_rng(5)
    measurements = tuple(
        Measurement(value, float(random.uniform(1e-5, 2000)), 312.123456789, 0.04, 4, 1, 4, (Edge.LAST_SLICE,))
        for value in values
    )
    return Finished(label_map, volume, made.identity(), measurements, notes)


def encode(of: Finished) -> dict[str, Dataset]:
    seg = ENCODERS["seg"](of, ())
    return {"seg": seg, **{kind: ENCODERS[kind](of, [seg] if kind == "sr" else ()) for kind in REPORTS}}


def written(of: Finished, folder: Path) -> dict[str, Path]:
    paths = {}
    for kind, dataset in encode(of).items():
        paths[kind] = folder / f"{kind}.dcm"
        dcmwrite(paths[kind], dataset)
    return paths


def items(node: Dataset) -> Iterator[Dataset]:
    """Every content item below one, depth first."""
    for item in node.get("ContentSequence", []):
        yield item
        yield from items(item)


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning) if "ConceptNameCodeSequence" in item else ""


def texts(report: Dataset) -> list[str]:
    return [item.TextValue.removesuffix(".") for item in items(report) if item.ValueType == "TEXT"]


def groups(report: Dataset) -> list[Dataset]:
    return [item for item in items(report) if name(item) == "Measurement Group"]


def test_each_object_is_alone_in_a_series_of_its_own_in_the_study_of_the_source(tmp_path: Path) -> None:
    of = finished(tmp_path / "source")
    objects = encode(of)
    assert {str(each.StudyInstanceUID) for each in objects.values()} == {of.volume.study_uid}
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber", "SeriesDescription"):
        assert len({str(each[keyword].value) for each in objects.values()}) == 3, keyword
    assert [str(objects[kind].SOPClassUID) for kind in REPORTS] == [
        "1.2.840.10008.5.1.4.1.1.88.34",
        "1.2.840.10008.5.1.4.1.1.88.11",
    ]
    assert all(str(each.SeriesDescription).startswith("AI ") for each in objects.values())


@pytest.mark.parametrize("kind", REPORTS)
def test_the_same_job_makes_the_same_bytes_again(tmp_path: Path, kind: str) -> None:
    of = finished(tmp_path / "source", notes=("islands: far away",))
    first, second = io.BytesIO(), io.BytesIO()
    dcmwrite(first, encode(of)[kind])
    dcmwrite(second, encode(of)[kind])
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("kind", REPORTS)
def test_the_report_that_it_takes_the_place_of_is_named_as_replaced(tmp_path: Path, kind: str) -> None:
    of, class_uid = finished(tmp_path / "source"), "1.2.840.10008.5.1.4.1.1.88.34"
    assert "PredecessorDocumentsSequence" not in encode(of)[kind]
    later = replace(of, predecessor=Predecessor(class_uid, "2.25.71", "2.25.72"))
    (document,) = encode(later)[kind].PredecessorDocumentsSequence
    assert document.StudyInstanceUID == of.volume.study_uid
    (series,) = document.ReferencedSeriesSequence
    (replaced,) = series.ReferencedSOPSequence
    assert (series.SeriesInstanceUID, replaced.ReferencedSOPClassUID) == ("2.25.72", class_uid)
    assert replaced.ReferencedSOPInstanceUID == "2.25.71"
    assert replaced.PurposeOfReferenceCodeSequence[0].CodeValue == "121360"
    for tool, options in ((DCIODVFY, ["-new"]), (DSRDUMP, [])):
        if tool is not None:
            path = written(later, tmp_path)[kind]
            done = subprocess.run(
                [tool, *options, path], check=False, capture_output=True, text=True, errors="replace"
            )
            assert [
                line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "E:"))
            ] == []


@pytest.mark.parametrize("source", SOURCES)
def test_a_group_names_the_segment_by_number_and_tracking_uid_and_the_source_series(
    tmp_path: Path, source: str
) -> None:
    of = finished(tmp_path / "source", source, 2, 7, 250)
    objects = encode(of)
    found = groups(objects["sr"])
    assert len(found) == 3
    for group, segment, value in zip(found, objects["seg"].SegmentSequence, (2, 7, 250), strict=True):
        by_name = {name(item): item for item in group.ContentSequence}
        assert by_name["Tracking Identifier"].TextValue == segment.TrackingID
        uid = tracking_uid(of.volume, of.label_map.algorithm, of.identity, value)
        assert by_name["Tracking Unique Identifier"].UID == segment.TrackingUID == uid
        reference = by_name["Referenced Segment"].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == objects["seg"].SOPInstanceUID
        assert reference.ReferencedSegmentNumber == segment.SegmentNumber
        source_series = by_name["Source Series for Segmentation"].UID
        assert source_series == of.volume.series_uid
        assert by_name["Finding"].ConceptCodeSequence[0].CodeValue == "64033007"
        assert by_name["Finding Site"].ConceptCodeSequence[0].CodeValue == "64033007"


def test_a_side_is_told_below_the_finding_site(tmp_path: Path) -> None:
    of = replace(finished(tmp_path / "source"), identity=made.identity(Laterality.RIGHT))
    sides = [
        [item.ConceptCodeSequence[0].CodeMeaning for item in items(group) if name(item) == "Laterality"]
        for group in groups(encode(of)["sr"])
    ]
    assert sides == [["Right"], ["Right"], ["Left"]]


def test_a_number_has_a_unit_and_fits_its_vr_and_has_nothing_below_it(tmp_path: Path) -> None:
    of = finished(tmp_path / "source")
    for group, each in zip(groups(encode(of)["sr"]), of.measurements, strict=True):
        numbers = {name(item): item for item in group.ContentSequence if item.ValueType == "NUM"}
        assert list(numbers) == ["Volume", "Mean", "Standard Deviation", "Slices covered"]
        assert all("ContentSequence" not in item for item in numbers.values())
        value = {key: item.MeasuredValueSequence[0] for key, item in numbers.items()}
        assert all(len(str(v.NumericValue)) <= 16 for v in value.values())
        assert float(value["Volume"].NumericValue) == pytest.approx(each.volume_ml, rel=1e-5)
        assert value["Volume"].MeasurementUnitsCodeSequence[0].CodeValue == "ml"
        assert float(value["Mean"].NumericValue) == pytest.approx(312.123)
        assert int(value["Slices covered"].NumericValue) == 4


def test_intensities_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    of = finished(tmp_path / "source", "classic", 1)
    of = replace(of, measurements=(replace(of.measurements[0], mean=None, sd=None),))
    objects = encode(of)
    names = [name(item) for item in items(objects["sr"]) if item.ValueType == "NUM"]
    assert names == ["Volume", "Slices covered"]
    assert not any("intensity" in text for text in texts(objects["text"]))


@pytest.mark.parametrize("source", SOURCES)
def test_everything_that_is_referred_to_is_evidence(tmp_path: Path, source: str) -> None:
    of = finished(tmp_path / "source", source)
    sr = encode(of)["sr"]
    evidence = {
        str(instance.ReferencedSOPInstanceUID)
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    images = [item for item in items(sr) if item.ValueType == "IMAGE"]
    referred = {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in images}
    assert referred == evidence
    assert {frame.sop_instance_uid for frame in of.volume.frames} < evidence


def test_the_text_has_a_line_for_each_segment_with_its_numbers(tmp_path: Path) -> None:
    of = finished(tmp_path / "source")
    lines = texts(encode(of)["text"])
    for value, each in zip((1, 2, 3), of.measurements, strict=True):
        (line,) = (line for line in lines if line.startswith(f"organ {value}: "))
        assert f": {each.volume_ml:.1f} mL; intensity 312.12 +/- 0.04" in line
        assert line.endswith("4 slices (2 to 5); reaches the edge of the image: last slice")


@pytest.mark.parametrize("kind", REPORTS)
def test_findings_and_what_was_not_found_are_named_and_a_phantom_model_says_so(tmp_path: Path, kind: str) -> None:
    of = finished(tmp_path / "source", phantom=True, notes=("out of order: L1 below L2 by 12\u00a0mm",))
    report = encode(of)[kind]
    assert "checks: out of order: L1 below L2 by 12 mm" in texts(report)
    assert "Looked for and not found: organ_90" in texts(report)
    assert any("PHANTOM MODEL, NOT CLINICAL" in text for text in texts(report))
    assert "PHANTOM" in report.SeriesDescription
    assert all(text.isascii() for text in texts(report))


def test_without_findings_both_reports_say_so(tmp_path: Path) -> None:
    objects = encode(finished(tmp_path / "source"))
    for kind in REPORTS:
        assert "checks: nothing found that is not plausible" in texts(objects[kind])


def test_patient_study_and_character_set_are_the_bytes_of_the_source(tmp_path: Path) -> None:
    def japanese(image: Dataset) -> None:
        image.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        image.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"

    of = of_volume(made.classic(tmp_path, made.AXIAL, japanese), 1, 2)
    source = dcmread(of.volume.frames[0].path)
    paths = written(of, tmp_path)
    for kind in REPORTS:
        report = dcmread(paths[kind])
        for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "StudyDate", "AccessionNumber"):
            assert report.get_item(keyword).value == source.get_item(keyword).value, keyword
        assert "PositionReferenceIndicator" not in report


def test_a_seg_of_other_segments_is_refused(tmp_path: Path) -> None:
    of = finished(tmp_path / "source")
    seg = ENCODERS["seg"](of, ())
    with pytest.raises(ResultUnsound):
        ENCODERS["sr"](replace(of, measurements=of.measurements[:2]), [seg])


def run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, check=False, capture_output=True, text=True, errors="replace")


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error(tmp_path: Path, source: str) -> None:
    paths = written(finished(tmp_path / "source", source, notes=("islands: here",)), tmp_path)
    for kind, iod in (("sr", "Comprehensive3DSR"), ("text", "BasicTextSR")):
        report = run(DCIODVFY, "-new", paths[kind])
        lines = (report.stdout + report.stderr).splitlines()
        assert iod in lines
        assert [line for line in lines if line.startswith("Error")] == []


@pytest.mark.skipif(DCENTVFY is None, reason="dcentvfy (Debian package dicom3tools) is not installed")
def test_patient_and_study_agree_with_the_source_for_dcentvfy(tmp_path: Path) -> None:
    of = finished(tmp_path / "source")
    done = run(DCENTVFY, *written(of, tmp_path).values(), *(frame.path for frame in of.volume.frames))
    lines = (done.stdout + done.stderr).splitlines()
    # dcentvfy itself puts AccessionNumber into the study of a report and the series of an image.
    assert [line for line in lines if "Element=<AccessionNumber> IE <Study> versus <Series>" not in line] == []


@pytest.mark.skipif(DSRDUMP is None or DSR2HTML is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("kind", REPORTS)
def test_dcmtk_renders_every_segment(tmp_path: Path, kind: str) -> None:
    path = written(finished(tmp_path / "source", notes=("islands: here",)), tmp_path)[kind]
    dumped, page = run(DSRDUMP, path), tmp_path / "report.html"
    assert (dumped.returncode, dumped.stderr) == (0, "")
    rendered = run(DSR2HTML, path, page)
    assert (rendered.returncode, rendered.stderr) == (0, "")
    html = page.read_text(errors="replace")
    for value in (1, 2, 3):
        assert (f"organ {value}:" if kind == "text" else f"organ_{value}") in html
    assert "checks: islands: here" in html


@pytest.mark.skipif(not TID1500READER.exists(), reason="dcmqi (PyPI package dcmqi) is not installed")
@pytest.mark.parametrize("source", SOURCES)
def test_dcmqi_reads_every_group_with_its_volume(tmp_path: Path, source: str) -> None:
    of = finished(tmp_path / "source", source, *range(1, 45))
    out = tmp_path / "read.json"
    done = run(TID1500READER, "--inputDICOM", written(of, tmp_path)["sr"], "--outputMetadata", out)
    read = json.loads(out.read_text())["Measurements"]
    assert len(read) == 44, done.stdout + done.stderr
    for group, each in zip(read, of.measurements, strict=True):
        assert volume_of(group) == pytest.approx(each.volume_ml, rel=1e-5)


def volume_of(group: dict[str, Any]) -> float:
    """The volume in a measurement group, as tid1500reader writes it."""
    items = group["measurementItems"]
    return float(next(item for item in items if item["quantity"]["CodeValue"] == "118565006")["value"])


def of_part(of: Finished, part: str, *values: int) -> Finished:
    found = of.label_map
    array = np.where(np.isin(found.array, values), found.array, np.uint8(0))
    return replace(of, label_map=replace(found, array=array), identity=replace(of.identity, part=part))


def two_segs(of: Finished) -> list[Dataset]:
    return [ENCODERS["seg"](part, ()) for part in (of_part(of, "first", 1, 3), of_part(of, "others", 2, 7))]


SEGMENTATIONS: dict[str, Callable[[Finished], list[Dataset]]] = {
    "two SEGs": two_segs,
    "a LABELMAP": lambda of: [ENCODERS["labelmap"](of, ())],
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_each_segment_is_found_in_whichever_object_it_went_into(
    tmp_path: Path, segmentation: str, source: str
) -> None:
    of = finished(tmp_path / "source", source, 1, 2, 3, 7)
    segmentations = SEGMENTATIONS[segmentation](of)
    numbers = {
        str(item.TrackingUID): (seg.SOPClassUID, seg.SOPInstanceUID, item.SegmentNumber)
        for seg in segmentations
        for item in seg.SegmentSequence
    }
    sr = ENCODERS["sr"](of, segmentations)
    assert len(groups(sr)) == len(numbers) == 4
    for group in groups(sr):
        by_name = {name(item): item for item in group.ContentSequence}
        reference = by_name["Referenced Segment"].ReferencedSOPSequence[0]
        assert numbers[by_name["Tracking Unique Identifier"].UID] == (
            reference.ReferencedSOPClassUID,
            reference.ReferencedSOPInstanceUID,
            reference.ReferencedSegmentNumber,
        )
    evidence = {
        (str(series.SeriesInstanceUID), str(instance.ReferencedSOPInstanceUID))
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert {(str(seg.SeriesInstanceUID), str(seg.SOPInstanceUID)) for seg in segmentations} < evidence


@pytest.mark.skipif(DCIODVFY is None or DSR2HTML is None, reason="dicom3tools or dcmtk is not installed")
@pytest.mark.skipif(not TID1500READER.exists(), reason="dcmqi (PyPI package dcmqi) is not installed")
@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
def test_others_read_every_group_whatever_object_its_segment_is_in(tmp_path: Path, segmentation: str) -> None:
    of = finished(tmp_path / "source", "oblique", 1, 2, 3, 7)
    path, out, page = tmp_path / "sr.dcm", tmp_path / "read.json", tmp_path / "report.html"
    dcmwrite(path, ENCODERS["sr"](of, SEGMENTATIONS[segmentation](of)))
    found = run(DCIODVFY, "-new", path)
    errors = [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]
    lenient = []
    if segmentation == "a LABELMAP":  # younger than dciodvfy of 2022 and DCMTK 3.6.7, which take it for no image
        errors = [line for line in errors if "for Referenced SOP Class that is not segmentation" not in line]
        lenient = ["--invalid-item-value"]
    assert errors == []
    assert run(TID1500READER, "--inputDICOM", path, "--outputMetadata", out).returncode == 0
    read = json.loads(out.read_text())["Measurements"]
    assert [volume_of(group) for group in read] == pytest.approx(
        [each.volume_ml for each in of.measurements], rel=1e-5
    )
    rendered = run(DSR2HTML, *lenient, path, page)
    assert rendered.returncode == 0, rendered.stderr
    assert all(f"organ_{value}" in page.read_text(errors="replace") for value in (1, 2, 3, 7))
