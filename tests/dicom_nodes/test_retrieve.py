"""Query and retrieve: a real Orthanc, and stand-ins that answer what it never does."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import RLELossless, generate_uid
from pynetdicom import build_context, evt

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.multipart import MultipartBroken, part_contents
from dicom_nodes.part10 import file_header
from dicom_nodes.retrieve import (
    FoundSeries,
    MoveNotAnswered,
    MoveOutcome,
    find_series,
    find_studies,
    fits,
    move,
    moving,
)
from dicom_nodes.types import Instance, Node
from dicom_nodes.wado import retrieve_series
from tests.dicom_nodes.dicomweb import Answer, dicomweb
from tests.dicom_nodes.peers import EXPLICIT_LITTLE, MR, Object, Receiver, answering, element, encoded, receiving
from tests.orthanc.server import DICOMWEB, Orthanc, missing, orthanc

SERIES = FoundSeries("1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3", "MR", 3)
Answers = Iterator[Any]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if missing() or not DICOMWEB.exists():
        pytest.skip(f"no real archive to ask: {missing() or 'its DICOMweb plugin'} is not installed")
    with orthanc(tmp_path_factory.mktemp("orthanc"), settings={"DicomAlwaysAllowMove": True}) as server:
        yield server


def kept(archive: Orthanc, folder: Path, count: int = 3, **more: Any) -> list[bytes]:
    """Data sets of a new series that the archive was given."""
    data_sets = []
    for _ in range(count):
        path = Object(**more).write(folder)
        archive.post("instances", path.read_bytes())
        data_sets.append(encoded(path))
    return data_sets


# ── C-FIND ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_studies_and_series_are_found_with_their_counts(archive: Orthanc, tmp_path: Path) -> None:
    study, series = generate_uid(), [generate_uid(), generate_uid()]
    number = study[-16:]
    for count, uid in enumerate(series, start=2):
        kept(archive, tmp_path, count, study_uid=study, series_uid=uid, between=element(0x00080050, "SH", number))
    assert find_studies(archive.node, "SAGITTAL", {"AccessionNumber": number}) == (study,)
    assert find_studies(archive.node, "SAGITTAL", {"AccessionNumber": number, "ModalitiesInStudy": "CT"}) == ()
    wide = {
        "AccessionNumber": f"*{number[3:]}",
        "ModalitiesInStudy": "M?",
        "StudyInstanceUID": f"{study}\\2.25.1",
    }
    assert find_studies(archive.node, "SAGITTAL", wide) == (study,)
    assert find_studies(archive.node, "SAGITTAL", {**wide, "PatientName": "Müller*"}) == ()
    found = find_series(archive.node, "SAGITTAL", study, {"Modality": "MR"})
    assert {each.series_uid: each.instances for each in found} == {series[0]: 2, series[1]: 3}
    assert find_series(archive.node, "SAGITTAL", study, {"Modality": "CT"}) == ()


def test_an_archive_that_ignores_keys_and_says_no_count_is_read_right() -> None:
    def on_find(event: Any) -> Answers:
        asked = event.identifier
        for uid in ("2.25.1", "2.25.2", "") if asked.QueryRetrieveLevel != "IMAGE" else ("2.25.7", "2.25.8"):
            found = Dataset()
            found.StudyInstanceUID = asked.get("StudyInstanceUID") or uid
            found.StudyDate = "20260115" if uid == "2.25.1" else "20250115"
            found.SeriesInstanceUID, found.SOPInstanceUID = uid, uid
            found.Modality = "MR" if uid == "2.25.1" else "CT"
            yield 0xFF00, found
        yield 0x0000, None

    with answering([(evt.EVT_C_FIND, on_find)]) as node:
        assert find_studies(node, "SAGITTAL", {"StudyDate": "20260101-20260131"}) == ("2.25.1",)
        assert find_studies(node, "SAGITTAL", {}) == ("2.25.1", "2.25.2")
        (series,) = find_series(node, "SAGITTAL", "2.25.9", {"Modality": "MR"})
    assert series == FoundSeries("2.25.1", "2.25.9", "MR", 2)


@pytest.mark.parametrize(
    ("key", "value", "wanted", "fit"),
    [
        ("StudyDate", "20260115", "20260101-20260131", True),
        ("StudyDate", "20260115", "20260116-", False),
        ("StudyDate", "20260115", "-20260115", True),
        ("StudyDate", "20260115", "20260115", True),
        ("ModalitiesInStudy", ["CT", "MR"], "MR", True),
        ("ModalitiesInStudy", ["CT"], "MR\\US", False),
        ("StudyDescription", "MR Knee left", "*knee*", True),
        ("StudyDescription", "MR [1]", "MR [1]", True),
        ("StudyInstanceUID", "1.2.3", "1.2.4\\1.2.3", True),
        ("AccessionNumber", None, "4711", True),
        ("StudyTime", "120000", "07-08", True),
    ],
)
def test_an_answer_is_held_against_the_keys(key: str, value: object, wanted: str, fit: bool) -> None:
    answer = Dataset()
    if value is not None:
        setattr(answer, key, value)
    assert fits(answer, {key: wanted}) is fit


# ── C-MOVE ──────────────────────────────────────────────────────────────────────────────────────────────────


def objects(count: int = 3) -> list[Dataset]:
    return [dcmread(DicomBytesIO(part10(Object()))) for _ in range(count)]


def part10(one: Object) -> bytes:
    return file_header(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "TEST") + one.data_set


def moved(
    handler: Callable[[Any], Answers], stop: Callable[[], bool] = lambda: False
) -> tuple[MoveOutcome, list[MoveOutcome]]:
    """What comes of a C-MOVE that a stand-in answers so, and what was told meanwhile."""
    told: list[MoveOutcome] = []
    with answering([(evt.EVT_C_MOVE, handler)]) as node, moving(node, "SAGITTAL") as association:
        return move(association, node, "SAGITTAL", SERIES, told.append, stop), told


def sending(receiver: Receiver, *answers: tuple[int, Dataset | None]) -> Callable[[Any], Answers]:
    def on_move(_event: Any) -> Answers:
        yield "127.0.0.1", receiver.node.port, {"contexts": [build_context(MR, EXPLICIT_LITTLE)]}
        yield len(answers)
        yield from answers

    return on_move


def test_the_sub_operations_are_counted_and_told(tmp_path: Path) -> None:
    with receiving(tmp_path / "in") as receiver:
        outcome, told = moved(sending(receiver, *((0xFF00, one) for one in objects(3))))
        assert len(receiver.heard) == 3
    assert (outcome.status, outcome.completed, outcome.failed) == (0x0000, 3, 0)
    assert [each.completed for each in told] == [1, 2, 3]


def test_what_the_receiver_refused_is_in_the_outcome(tmp_path: Path) -> None:
    sent = objects(3)
    refused = str(sent[1].SOPInstanceUID)

    def full(instance: Instance) -> None:
        if instance.sop_instance_uid == refused:
            raise OSError(28, "No space left on device")

    with receiving(tmp_path / "in", heard=full) as receiver:
        outcome, _ = moved(sending(receiver, *((0xFF00, one) for one in sent)))
    assert outcome == MoveOutcome(0xB000, completed=2, failed=1, warning=0, failed_uids=(refused,))


def test_an_unknown_destination_is_refused_by_name() -> None:
    def on_move(_event: Any) -> Answers:
        yield None, None

    with pytest.raises(Refused, match="status 0xA801: the move destination is unknown to it") as refused:
        moved(on_move)
    assert refused.value.status == 0xA801


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (0xA701, Unreachable, "status 0xA701: out of resources: it cannot count the matches"),
        (0xA702, Unreachable, "status 0xA702: out of resources: it cannot perform the sub-operations"),
        (0xA900, Refused, "status 0xA900: the identifier does not match the SOP Class"),
        (0xC123, Refused, "status 0xC123: unable to process"),
        (0x0124, Refused, "status 0x0124: not authorized"),
    ],
)
def test_a_failure_is_named_by_what_to_do_about_it(
    tmp_path: Path, status: int, error: type[Exception], said: str
) -> None:
    failed = Dataset()
    failed.FailedSOPInstanceUIDList = ["2.25.1"]
    with receiving(tmp_path / "in") as receiver, pytest.raises(error, match=said):
        moved(sending(receiver, (status, failed)))


def test_a_pull_that_is_stopped_cancels_its_move_after_what_is_in_hand(tmp_path: Path) -> None:
    asked = threading.Event()

    def on_move(event: Any) -> Answers:
        yield "127.0.0.1", receiver.node.port, {"contexts": [build_context(MR, EXPLICIT_LITTLE)]}
        yield 50
        for one in objects(50):
            if event.is_cancelled:
                asked.set()
                yield 0xFE00, None
                return
            yield 0xFF00, one

    with receiving(tmp_path / "in") as receiver:
        outcome, _ = moved(on_move, stop=lambda: len(receiver.heard) >= 3)
    assert asked.is_set()
    assert outcome.status == 0xFE00
    assert 3 <= len(receiver.heard) < 50


def test_an_archive_that_ends_the_association_on_a_move_is_told_from_one_that_is_silent() -> None:
    def on_move(event: Any) -> Answers:
        event.assoc.abort()
        yield None, None

    with pytest.raises(MoveNotAnswered, match="it ended the association instead of answering C-MOVE"):
        moved(on_move)


def test_an_archive_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable), moving(Node("ARCHIVE", "127.0.0.1", 1), "SAGITTAL"):
        pass


# ── WADO-RS ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_series_comes_over_dicomweb_as_it_is_stored_be_it_compressed_or_not(
    archive: Orthanc, tmp_path: Path
) -> None:
    study, series = generate_uid(), generate_uid()
    data_sets = kept(archive, tmp_path, 3, study_uid=study, series_uid=series)
    compressed = dcmread(DicomBytesIO(part10(Object(study_uid=study, series_uid=series))))
    compressed.Rows = compressed.Columns = compressed.BitsAllocated = compressed.BitsStored = 16
    compressed.SamplesPerPixel, compressed.PhotometricInterpretation = 1, "MONOCHROME2"
    compressed.HighBit, compressed.PixelRepresentation = 15, 0
    compressed.compress(RLELossless)
    compressed.save_as(tmp_path / "rle.dcm")
    archive.post("instances", (tmp_path / "rle.dcm").read_bytes())
    folder = tmp_path / "in"
    folder.mkdir()
    paths = retrieve_series(archive.url("dicom-web"), study, series, folder)
    syntaxes = [str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID) for path in paths]
    assert sorted(syntaxes) == [EXPLICIT_LITTLE] * 3 + [str(RLELossless)]
    assert {*data_sets, encoded(tmp_path / "rle.dcm")} == set(map(encoded, paths))


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(status=404), Refused, "HTTP 404 Not Found: it holds no such series"),
        (Answer(status=401), Refused, "`authorization` in site.toml"),
        (Answer(status=503), Unreachable, "HTTP 503"),
        (Answer(status=302, headers={"Location": "http://192.0.2.1/"}), Refused, "redirects are not followed"),
        (Answer(content=b"<html>", media_type="text/html"), Refused, "it answers with text/html"),
        (Answer(content=b"--a\r\n\r\nhalf", media_type="multipart/related; boundary=a"), Unreachable, "broke off"),
        (Answer(content=b"--a\r\n\r\nx\r\n--a--", media_type="multipart/related; boundary=a"), Refused, "no DICOM"),
        (Answer(breaks=True), Unreachable, "http://127.0.0.1"),
        (
            Answer(content=b"--a\r\n\r\nx", media_type='multipart/related; boundary="a"', breaks=True),
            Unreachable,
            "http://127",
        ),
    ],
)
def test_an_answer_that_has_no_whole_series_says_why(
    tmp_path: Path, answer: Answer, error: type[Exception], said: str
) -> None:
    with dicomweb(answer) as service, pytest.raises(error, match=said):
        retrieve_series(service.url, "2.25.1", "2.25.2", tmp_path)


def test_an_instance_of_another_series_is_refused(tmp_path: Path) -> None:
    body = b"--a\r\nContent-Type: application/dicom\r\n\r\n" + part10(Object()) + b"\r\n--a--\r\n"
    answer = Answer(content=body, media_type='multipart/related; type="application/dicom"; boundary=a')
    with (
        dicomweb(answer) as service,
        pytest.raises(Refused, match=r"asked for series 2\.25\.2 and sent an instance"),
    ):
        retrieve_series(service.url, "2.25.1", "2.25.2", tmp_path)


@given(
    st.lists(st.binary(max_size=80) | st.sampled_from([b"\r\n--a", b"\r\n--", b"\r\n\r\n"]), max_size=4),
    st.integers(1, 50),
    st.sampled_from([b"", b"preamble\r\n"]),
)
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(
    parts: list[bytes], cut: int, before: bytes
) -> None:
    mark = b"--boundary-4711"
    body = (
        before + b"".join(mark + b"\r\nContent-Type: x\r\n\r\n" + part + b"\r\n" for part in parts) + mark + b"--"
    )
    blocks = [body[at : at + cut] for at in range(0, len(body), cut)]
    found: dict[int, bytes] = {}
    for number, content in part_contents(blocks, "boundary-4711"):
        found[number] = found.get(number, b"") + content
    assert [found[number] for number in sorted(found)] == parts
    if parts:
        with pytest.raises(MultipartBroken):
            list(part_contents([body[:-3]], "boundary-4711"))
