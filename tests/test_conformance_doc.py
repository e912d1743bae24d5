"""docs/conformance.md says what the code does: SOP Classes, syntaxes, statuses, attributes, codes, licences."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.presentation import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_nodes import scp
from dicom_nodes.admission import Shares
from dicom_nodes.attributes import WANTED
from dicom_nodes.commitment import COMMITMENT, SAME_ASSOCIATION_SECONDS
from dicom_nodes.deliver import retryable
from dicom_nodes.encode import ENCODERS, SOP_CLASSES, rtstruct, sheet, sr, text
from dicom_nodes.encode.identity import PHANTOM
from dicom_nodes.encode.rejection import Rejected, Rejection, encode_rejection
from dicom_nodes.encode.segments import LATERALITY
from dicom_nodes.encode.source import LOSSY, PATIENT_AND_STUDY, REQUIRED, SCANNER
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.negotiation import (
    LOSSLESS_SYNTAXES,
    MAYBE_LOSSY_SYNTAXES,
    MR_STORAGE,
    ScpSettings,
    storage_classes,
)
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_nodes.rejection import KEY_OBJECT_SELECTION, Title, known_already
from dicom_nodes.retrieve import FoundSeries, find_series, find_studies, move, moving
from dicom_nodes.screen import SUPPORTED
from dicom_nodes.store_answer import HttpAnswer, outcome_of
from dicom_nodes.types import (
    Code,
    Edge,
    Finished,
    Laterality,
    Measurement,
    Node,
    Predecessor,
    Reference,
    StoreOutcome,
)
from dicom_nodes.wado import retrieve_series
from service.config import Receive, Workers, read_site
from service.destination import FORMS, Destination
from service.doctor import nodes
from service.doctor.seen import Ground
from service.doctor.specimen import PATIENT_ID
from service.ledger_commitments import MOST_RESENT, NEVER_KEPT, RESEND_SECONDS
from service.pull import REFUSED_FOR_ALL, Pace
from service.site_template import site_toml
from service.submodel import SIDES, load_submodels
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes import test_capture as pixels
from tests.dicom_nodes.dicomweb import Answer, dicomweb
from tests.dicom_nodes.peers import answering, receiving
from workers.forms import not_taken
from workers.install.convert import PHANTOM_LICENCE
from workers.turns import Turn, Turns

DOCUMENT = (Path(__file__).parents[1] / "docs" / "conformance.md").read_text(encoding="utf-8")
NAMED = dict.fromkeys(re.findall(r"([A-Z][A-Za-z0-9]+)\s\(([0-9A-F]{4},[0-9A-F]{4})\)", DOCUMENT))
MR = "1.2.840.10008.5.1.4.1.1.4"
SERIES = FoundSeries("1.2.4", "1.2.3", "MR", 1)
NEWER_NAMES = {SOP_CLASSES["labelmap"]: "Label Map Segmentation Storage"}  # than pydicom's dictionary
NOTE = "rejection note"
BESIDE = {"sr": sr, "text": text, "sheet": sheet}
LESION = Code("49755003", "SCT", "Morphologically Abnormal Structure")


def section(title: str) -> str:
    """The text below a heading, as far as the next one of any rank."""
    found = re.search(rf"^#+ {re.escape(title)}.*?\n(.*?)(?=^#+ |\Z)", DOCUMENT, re.M | re.S)
    assert found is not None, title
    return found[1]


def rows(text: str, columns: int) -> list[tuple[str, ...]]:
    """The cells of every row of the tables with so many columns, their heads with them."""
    cells = (tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in text.splitlines())
    return [tuple(cell.strip(" |") for cell in row) for row in cells if len(row) == columns]


def pairs(text: str) -> dict[str, str]:
    """The tables with two columns, as one."""
    return {row[0]: row[1] for row in rows(text, 2)}


def tags(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        yield f"{element.tag.group:04X},{element.tag.element:04X}"
        if element.VR == "SQ":
            for item in element.value:
                yield from tags(item)


def name_of(sop_class_uid: str) -> str:
    return NEWER_NAMES.get(sop_class_uid, UID(sop_class_uid).name)


def sop_class_of(kind: str) -> str:
    return SOP_CLASSES[kind] if kind in SOP_CLASSES else str(BESIDE[kind].KIND.sop_class_uid)


def coded(dataset: Dataset) -> Iterator[Code]:
    """Every code of an object."""
    if "CodeValue" in dataset:
        yield Code(dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning)
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            yield from coded(item)


def finished(folder: Path, source: str) -> Finished:
    """A result with all that an object can say: a side, every edge and none, something that is no anatomy."""
    volume = pixels.SOURCES[source](folder)
    label_map = made.label_map(volume, 1, 2, 3, listed=(1, 2, 3, 90))
    first, *others = label_map.segments
    label_map = replace(label_map, segments=(first, replace(others[0], category=LESION), *others[1:]))
    edges = {1: tuple(Edge), 2: (), 3: ()}
    measured = tuple(Measurement(value, 20.5, 3.25, 0.5, 4, 0, 4, edges[value]) for value in edges)
    return Finished(label_map, volume, made.identity(Laterality.RIGHT), measured, ("islands: here",))


def every_object(folder: Path, source: str) -> Mapping[str, Dataset]:
    """One of each kind, each in the place of an older one, and a rejection note."""
    of = finished(folder / "source", source)
    segs = [ENCODERS["seg"](of, ())]
    objects = {}
    for kind, encode in ENCODERS.items():
        refers = segs if kind == "sr" else []
        older = Predecessor(sop_class_of(kind), "1.2.3", "1.2.4")
        objects[kind] = encode(replace(of, predecessor=older), refers)
    like = folder / "seg.dcm"
    dcmwrite(like, objects["seg"])
    reference = Reference(str(objects["seg"].SOPClassUID), str(objects["seg"].SOPInstanceUID))
    rejected = (Rejected(reference, str(objects["seg"].SeriesInstanceUID)),)
    for title in Title:
        at = datetime(2026, 11, 21, 9, 30)  # noqa: DTZ001 -- site time, as DICOM has it
        objects[NOTE] = encode_rejection(Rejection("job", title, "why", at, rejected, like))
    return objects


def http_outcome(status: int) -> str:
    """What follows from an HTTP status alone."""
    try:
        outcome = outcome_of("peer", "1.2.3", HttpAnswer(status, ""))
    except Unreachable:
        return "as no connection"
    except Refused:
        return "failed for good"
    return "delivered" if outcome.stored else f"as status {outcome.status:04X}"


def spelt(ranges: str) -> set[int]:
    """The numbers that "200, 202 to 204" names."""
    ends = [[int(end) for end in part.split(" to ")] for part in ranges.split(", ")]
    return {number for first, *last in ends for number in range(first, (last or [first])[0] + 1)}


def test_the_sop_classes_for_mr_are_those_that_are_taken() -> None:
    table = {row[1]: row for row in rows(section("4.2.1 RECEIVE"), 3) if row[1].startswith("1.2.840.10008.5.")}
    assert set(table) == MR_STORAGE
    for uid, (name, _, use) in table.items():
        assert name == UID(uid).name
        assert use.startswith("volumes are made of it") is (uid in SUPPORTED)


def test_the_other_sop_classes_are_those_that_are_taken_by_default() -> None:
    others = storage_classes("accept") - MR_STORAGE
    assert pairs(section("8.6 ")) == {"SOP Class": "UID"} | {name_of(uid): uid for uid in others}
    assert f"the {len(others)} Storage SOP Classes" in DOCUMENT
    assert Receive(aet="A").other_storage == "accept" and storage_classes("refuse") == MR_STORAGE
    assert f"Verification ({Verification})" in section("4.2.1 RECEIVE")


def test_the_transfer_syntaxes_are_those_that_are_taken_and_say_which_may_lose() -> None:
    table = {row[1]: row for row in rows(section("4.2.1 RECEIVE"), 3) if row[1].startswith("1.2.840.10008.1.2")}
    assert set(table) == LOSSLESS_SYNTAXES | MAYBE_LOSSY_SYNTAXES
    for uid, (name, _, loss) in table.items():
        assert (name, loss) == (UID(uid).name, "no" if uid in LOSSLESS_SYNTAXES else "may lose")


def test_the_association_policies_are_the_settings() -> None:
    policies, site, defaults = pairs(section("4.2.1 RECEIVE")), Receive(aet="A"), ScpSettings("A", "", 0)
    assert f", {site.max_associations};" in policies["associations at a time"]
    assert f", {site.share};" in policies["associations of one calling AET at a time"]
    assert f", {site.max_in_flight_mb} MiB;" in policies["data sets in memory, of all associations"]
    assert policies["maximum PDU that is received"].startswith(f"{defaults.max_pdu} bytes")
    assert policies["timeouts"].startswith(
        f"{defaults.acse_timeout_seconds} s for the A-ASSOCIATE-RQ, {defaults.idle_timeout_seconds} s without"
    )
    assert policies["Implementation Class UID"] == IMPLEMENTATION_CLASS_UID
    assert policies["Implementation Version Name"] == f"`{IMPLEMENTATION_VERSION_NAME}`"
    assert site.require_called_aet and not site.accepted_calling_aets


def test_a_peer_is_answered_as_is_said(tmp_path: Path) -> None:
    compressed_video, implicit, find = "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
    proposed = [(MR, compressed_video), (MR, implicit), (find, implicit), (f"{MR}.1", compressed_video)]
    with receiving(tmp_path, require_called_aet=True) as receiver:
        node, peer = receiver.node, AE("PEER")
        contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in proposed]
        association = peer.associate(node.host, node.port, contexts=contexts, ae_title=node.aet)
        results = {(c.abstract_syntax, c.transfer_syntax[0]): c.result for c in association.rejected_contexts}
        assert [str(c.abstract_syntax) for c in association.accepted_contexts] == [MR]
        assert association.acceptor.maximum_length == ScpSettings("A", "", 0).max_pdu
        association.release()
        rejected = peer.associate(node.host, node.port, contexts=contexts, ae_title="OTHER").acceptor.primitive
        assert (rejected.result, rejected.result_source, rejected.diagnostic) == (1, 1, 7)
    assert sorted((uid, result) for (uid, _), result in results.items()) == [(MR, 4), (f"{MR}.1", 3), (find, 3)]
    said = pairs(section("4.2.1 RECEIVE"))
    for limit in ({"max_associations": 1}, {"shares": Shares(1)}):
        with receiving(tmp_path, **limit) as receiver:
            first, second = (
                peer.associate(receiver.node.host, receiver.node.port, contexts=contexts) for _ in "12"
            )
            answer = second.acceptor.primitive
            busy = f"{answer.result}, {answer.result_source}, {answer.diagnostic}"
            first.release()
        assert (
            said["one association more than there may be at a time, in all or of its calling AET: come again"]
            == busy
        )
    assert said["a called AET that is not ours, unless `require_called_aet = false`"] == "1, 1, 7"
    assert [said[key] for key in said if "presentation context" in key or "further context" in key] == [
        "context result 3", "context result 4",
    ]  # fmt: skip


def test_the_statuses_are_those_of_the_code() -> None:
    said = {row[0] for row in rows(section("4.2.1 RECEIVE"), 3) if re.fullmatch(r"[0-9A-F]{4}", row[0])}
    failures = (scp.OUT_OF_RESOURCES, scp.MISMATCH, scp.CANNOT_UNDERSTAND)
    assert said == {"0000", *(f"{status:04X}" for status in failures)}
    answers = {row[1]: row[0] for row in rows(section("4.2.3 DELIVER"), 2)}
    stored = {f"{status:04X}" for status in range(0x10000) if StoreOutcome("1", status, "").stored}
    assert set(re.findall(r"[0-9A-F]{4}", answers["delivered"])) == stored
    (again,) = (statuses for answer, statuses in answers.items() if answer.startswith("tried again: after 5 s"))
    retried = {f"{status:04X}" for status in range(0x10000) if retryable(status)}
    assert answers['with `"auto"` the next form is sent; else as any other status'].startswith("0122, A9xx, no ")
    assert [status for status in range(0x10000) if not_taken(status)] == [0x0122, *range(0xA900, 0xAA00)]
    (known,) = (answer for answer in answers.values() if "rejection note" in answer)
    assert (
        known_already(int(known[:4], 16), "Rejection Note [uid=1.2.3] already received")
        and "`Rejection Note [uid=`" in known
    )
    assert set(again.replace("A7xx", ", ".join(f"A7{low:02X}" for low in range(256))).split(", ")) == retried


def test_what_the_scu_proposes_is_what_is_said() -> None:
    find, deliver = pairs(section("4.2.2 COUNT")), pairs(section("4.2.3 DELIVER"))
    assert find["SOP Class, as SCU"].endswith(f", {StudyRootQueryRetrieveInformationModelFind}")
    assert find["transfer syntaxes"] == ", ".join(UID(uid).name for uid in DEFAULT_TRANSFER_SYNTAXES)
    made_of = {kind: sop_class_of(kind) for kind in ENCODERS}
    sent = {row[2]: row[:2] for row in rows(section("4.2.3 DELIVER"), 3)[1:]}
    notes = sent.pop("anything: a rejection note, where something was stored")
    assert notes == (name_of(KEY_OBJECT_SELECTION), KEY_OBJECT_SELECTION)
    assert sent == {f'`"{kind}"`': (name_of(uid), uid) for kind, uid in made_of.items()}
    assert all(name_of(uid) in section("1 Overview") for uid in (*made_of.values(), KEY_OBJECT_SELECTION))
    assert deliver["transfer syntax"].startswith(f"{ExplicitVRLittleEndian.name}, {ExplicitVRLittleEndian};")
    for table in (find, deliver):
        assert table["maximum PDU that is received"].startswith(f"{AE('A').maximum_pdu_size} bytes")
    target = Destination(name="a", aet="A", host="h", port=1)
    assert deliver["timeout"].endswith(f", {target.timeout_seconds:.0f} s")
    assert f"`retry_hours` ({target.retry_hours:.0f} h)" in section("4.2.3 DELIVER")
    threads = Workers().deliver_threads
    said = (
        f", {threads}: at most half to one destination, {at_once(threads, 'a')}, and all but one to all of them, "
    )
    assert deliver["associations at a time"].endswith(f"{said}{at_once(threads, 'abcdefgh')}")


def at_once(threads: int, destinations: str) -> int:
    """How many deliveries to these destinations have a place at the same time."""
    turns, standing, most = Turns(), 0, 0

    def step(delivery_id: int) -> None:
        nonlocal standing, most
        standing += 1
        most = max(most, standing)
        if delivery_id < 8:
            go(delivery_id + 1)
        standing -= 1

    def go(delivery_id: int) -> None:
        turn = Turn(0, delivery_id, destinations[delivery_id % len(destinations)])
        turns.go(turn, threads, step, lambda _: None)

    go(0)
    return most


def test_what_a_pull_asks_for_is_what_is_said() -> None:
    asked: list[Any] = []

    def on_request(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event)
        if event.event is evt.EVT_C_MOVE:
            yield None, None  # type: ignore[misc]  # the destination is not known
        yield 0x0000, None

    with answering([(evt.EVT_C_FIND, on_request), (evt.EVT_C_MOVE, on_request)]) as node:
        find_studies(node, "SAGITTAL", {"PatientID": "Müller"})
        find_series(node, "SAGITTAL", "1.2.3", {"Modality": "MR"})
        with moving(node, "SAGITTAL") as association, pytest.raises(Refused, match="0xA801"):
            move(association, node, "SAGITTAL", SERIES)
    said = section("4.2.5 PULL")
    levels = {row[0]: set(re.findall(r"\b[A-Z][A-Za-z]+(?=,| \()", row[1])) for row in rows(said, 2)}
    studies, series, moved = (set(event.identifier.dir()) - {"QueryRetrieveLevel"} for event in asked)
    assert studies - {"PatientID", "SpecificCharacterSet"} == {"StudyInstanceUID"} <= levels["STUDY"]
    assert series == levels["SERIES"] and asked[0].identifier.SpecificCharacterSet == "ISO_IR 192"
    assert f"SERIES, {', '.join(sorted(moved, reverse=True))}" in pairs(said)["identifier"]
    assert asked[2].request.MoveDestination == "SAGITTAL"
    assert (asked[2].request.Priority, pairs(said)["priority of the move"]) == (2, "low")


def test_the_classes_of_a_pull_and_its_pace_are_what_is_said() -> None:
    said, pace = section("4.2.5 PULL"), Pace()
    for key, uid in (
        ("SOP Class", StudyRootQueryRetrieveInformationModelFind),
        ("SOP Class, to move", StudyRootQueryRetrieveInformationModelMove),
    ):
        name = UID(uid).name
        assert pairs(said)[key] == f"{name}, {uid}"
        assert f"| {name} |" in section("1 Overview")
    assert (pace.attempts, pace.rest_seconds, pace.at_most) == (3, 10.0, 1)
    assert "three times at most in one run, after 10 and 20 s" in said


def test_what_follows_from_an_answer_to_a_move_is_as_is_said() -> None:
    said = {row[0]: row[1] for row in rows(section("4.2.5 PULL"), 2)}
    later = {key for key, what in said.items() if what == "asked for again" and re.match("[0-9A-F]{4}", key)}
    (ends,) = (key for key, what in said.items() if what.startswith("the command ends"))
    assert {int(status, 16) for status in re.findall("[0-9A-F]{4}", ends)} == REFUSED_FOR_ALL
    counted = {"0000", "B000", "FE00"}
    assert counted <= set(re.findall("[0-9A-F]{4}", " ".join(said)))
    for status in (0x0000, 0xB000, 0xFE00, 0xA701, 0xA702, 0xA801, 0xA900, 0x0122, 0x0124, 0xC001):
        word = f"{status:04X}"
        outcome = "again" if any(word in key for key in later) else "counted" if word in counted else "refused"
        assert how_a_move_ends(status) == outcome, word


def how_a_move_ends(status: int) -> str:
    """What becomes of a series whose C-MOVE an archive answers so."""

    def on_move(_event: Any) -> Iterator[Any]:
        yield "127.0.0.1", receiver.port, {"contexts": [build_context(MR)]}
        yield 1
        yield status, None

    with answering([]) as receiver, answering([(evt.EVT_C_MOVE, on_move)]) as node:
        try:
            with moving(node, "SAGITTAL") as association:
                move(association, node, "SAGITTAL", SERIES)
        except Unreachable:
            return "again"
        except Refused:
            return "refused"
    return "counted"


def test_what_a_dicomweb_archive_answers_has_the_consequence_that_is_said(tmp_path: Path) -> None:
    said = pairs(section("4.2.5 PULL"))
    (key,) = (key for key in said if key.startswith("408,"))
    listed, _, never = key.partition(";")[0].partition(" but ")
    later = spelt(listed.replace(", and ", ", ")) - spelt(never.replace(" and ", ", "))
    for status in (404, 408, 409, 421, 422, 423, 424, 425, 429, 500, 501, 503, 505, 507, 599):
        with dicomweb(Answer(status=status)) as service, pytest.raises((Unreachable, Refused)) as failed:
            retrieve_series(service.url, "1.2.3", "1.2.4", tmp_path)
        assert (failed.type is Unreachable) is (status in later), status


def test_the_doctor_proposes_and_stores_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("P", "h", 1),)))
    site = read_site(tmp_path / "site.toml")
    asked: list[Any] = []
    with answering([(evt.EVT_REQUESTED, asked.append)]) as node:
        target = Destination(name="pacs", aet=node.aet, host=node.host, port=node.port)
        list(nodes.dicom_destination(Ground(site, tmp_path / "site.toml"), target))
    proposed = [context for event in asked for context in event.assoc.requestor.requested_contexts]
    sent = [row[1] for row in rows(section("4.2.3 DELIVER"), 3)[1:]]
    assert len(asked) == 1 and len(proposed) == 1 + 2 * (len(sent) + 1)
    assert {str(context.abstract_syntax) for context in proposed} == {*sent, COMMITMENT, str(Verification)}
    uncompressed = [[str(ExplicitVRLittleEndian)], [str(ImplicitVRLittleEndian)]]
    for uid in (*sent, COMMITMENT):
        assert [context.transfer_syntax for context in proposed if context.abstract_syntax == uid] == uncompressed
    assert f"`{PATIENT_ID}`" in section("4.2.6 DOCTOR")
    assert f"The timeout is {Ground(site, tmp_path).timeout_seconds:.0f} s each." in section("4.2.6 DOCTOR")


def test_auto_goes_through_the_forms_in_the_order_that_is_said() -> None:
    said = " ".join(section("4.2.3 DELIVER").split())
    assert "the first of " + ", ".join(f'`"{form}"`' for form in FORMS) + ", in this order" in said


def test_what_a_dicomweb_service_answers_has_the_consequence_that_is_said() -> None:
    said = pairs(section("4.2.4 DELIVER over DICOMweb"))
    consequences = {status: what for key, what in said.items() if key[:1].isdigit() for status in spelt(key)}
    for status in range(200, 600):
        assert consequences.get(status, said["any other"]).startswith(http_outcome(status)), status
    already = next(key for key in said if key.startswith("FailedSOPSequence"))
    for sequence in ("00081198", "0008119A"):
        answered = {}
        for reason in range(0x10000):
            item = f'{{"00081155":{{"Value":["1.2.3"]}},"00081197":{{"Value":[{reason}]}}}}'
            content = f'{{"{sequence}":{{"Value":[{item}]}}}}'.encode()
            answered[reason] = outcome_of("peer", "1.2.3", HttpAnswer(409, "", content))
        stored = {f"{reason:04X}" for reason, outcome in answered.items() if outcome.stored}
        assert stored == set(re.findall(r" ([0-9A-F]{4})", already.partition("FailureReason (0008,1197)")[2]))
        others = {reason: outcome.status for reason, outcome in answered.items() if not outcome.stored}
        assert {reason for reason, status in others.items() if status != reason} == {0, 0xB000, 0xB006, 0xB007}
        assert {others[reason] for reason in (0, 0xB000, 0xB006, 0xB007)} == {0x0110}
    target = Destination(name="a", kind="stow", url="https://h/dicom-web")
    assert said["timeout"].endswith(f", {target.timeout_seconds:.0f} s of silence")


def test_storage_commitment_is_as_is_said() -> None:
    said, target = section("4.2.3 DELIVER"), Destination(name="a", aet="A", host="h", port=1)
    asked = pairs(said)
    assert (
        f"{StorageCommitmentPushModel.name.removesuffix(' SOP Class')}, {COMMITMENT};"
        in asked["SOP Class, as user"]
    )
    assert asked["SOP Class, as user"].endswith(f"instance {StorageCommitmentPushModelInstance}")
    assert asked["syntaxes proposed"] == ", ".join(UID(uid).name for uid in DEFAULT_TRANSFER_SYNTAXES)
    assert f"stays open for {SAME_ASSOCIATION_SECONDS:.0f} s" in asked["association"]
    assert target.commitment == "auto" and f"`commitment_hours` ({target.commitment_hours:.0f} h)" in said
    failed = asked[next(key for key in asked if "FailedSOPSequence" in key)]
    assert set(re.findall(r"[0-9A-F]{4}", failed)) == {f"{reason:04X}" for reason in NEVER_KEPT}
    pauses = [RESEND_SECONDS * 2**n / 60 for n in range(MOST_RESENT)]
    assert pauses == [1, 2, 4] and failed.startswith("sent again after 1, 2 and 4 min, three times")


def test_every_attribute_is_called_by_its_name() -> None:
    assert len(NAMED) > 100
    for keyword, tag in NAMED:
        assert keyword_for_tag(Tag("".join(tag.split(",")))) == keyword


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Dataset]:
    return every_object(tmp_path_factory.mktemp("objects"), "classic")


def undescribed(objects: Mapping[str, Dataset]) -> dict[str, list[str]]:
    said = {tag for _, tag in NAMED}
    found = {kind: sorted(set(tags(dataset)) - said) for kind, dataset in objects.items()}
    return {kind: missing for kind, missing in found.items() if missing}


def test_every_attribute_of_every_object_is_in_the_statement(objects: Mapping[str, Dataset]) -> None:
    assert undescribed(objects) == {}


def test_so_is_every_attribute_of_the_objects_of_a_multi_frame_source(tmp_path: Path) -> None:
    assert undescribed(every_object(tmp_path, "enhanced")) == {}


def test_the_objects_are_those_that_are_made(objects: Mapping[str, Dataset]) -> None:
    table = {row[0].strip('`"'): row[1:] for row in rows(section("8.1 "), 5)[1:]}
    assert set(table) == set(objects)
    for kind, (name, uid, number, head) in table.items():
        dataset = objects[kind]
        assert (name, uid) == (name_of(uid), dataset.SOPClassUID)
        added = int(number.partition(",")[0].strip("+ "))
        assert dataset.SeriesNumber == objects["seg"].SeriesNumber + added
        assert f"{dataset.SeriesDescription} ".startswith(head.strip("`") + " ")
    assert f"more than {rtstruct.MOST_POINTS} points" in section("8.1.3 ")


def test_every_attribute_that_is_copied_is_in_the_statement() -> None:
    said = {keyword for keyword, _ in NAMED}
    assert said >= {*PATIENT_AND_STUDY, *SCANNER, *LOSSY}
    always = section("8.1 ").partition("always there: ")[2].partition(". *Source*")[0]
    assert set(re.findall(r"([A-Za-z]+) \(", always)) == REQUIRED - {"PositionReferenceIndicator"}


def test_the_codes_are_those_that_are_written(objects: Mapping[str, Dataset]) -> None:
    (segment,) = made.segments(1)
    written = {code for dataset in objects.values() for code in coded(dataset)} - {segment.type, segment.category}
    labels = [label for submodel in load_submodels() for label in submodel.label]
    written |= {label.category.code for label in labels} | {*LATERALITY.values()} | {title.code for title in Title}
    written |= {*SIDES.values()}
    terms = section("8.4 ")
    assert {Code(*code) for code in re.findall(r'\(([^\s,()]+), (\w+), "([^"]+)"\)', terms)} == written
    assert {label.type.code.scheme for label in labels} == {"SCT"}


def test_the_private_attributes_are_those_that_are_read() -> None:
    read = {each for each in WANTED.values() if each.is_private and each.element > 0xFF}  # creators aside
    private = {f"{each.group:04X},{each.element:04X}" for each in read}
    table = "".join("".join(row) for row in rows(section("8.2 "), 3))
    assert private and set(re.findall(r"\((\w{4},\w{4})\)", table)) == private


def test_the_models_and_their_licences_are_those_of_the_sub_models() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows(section("8.3 "), 4) if row[0].startswith("`")}
    assert table == {
        each.name: (each.source, each.licence, "to be accepted" if each.accept_licence else "")
        for each in load_submodels()
        if each.protocol
    }
    assert PHANTOM in section("8.3 ") and PHANTOM in section("8.1 ")
    assert PHANTOM_LICENCE.startswith("Apache-2.0 ")


def test_it_says_that_there_is_no_security_of_associations_yet() -> None:
    assert section("7 Security").lstrip().startswith("**None yet for DIMSE.** No TLS, no user identity")
