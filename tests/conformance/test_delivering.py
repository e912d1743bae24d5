"""What is proposed to an archive and to a DICOMweb service, and what follows from their answers."""

import re
from pathlib import Path
from typing import Any

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_nodes.commitment import COMMITMENT, SAME_ASSOCIATION_SECONDS
from dicom_nodes.encode import ENCODERS
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.rejection import KEY_OBJECT_SELECTION
from dicom_nodes.store_answer import HttpAnswer, outcome_of
from dicom_nodes.types import (
    Node,
)
from service.config import Workers, read_site
from service.destination import FORMS, Destination
from service.doctor import nodes
from service.doctor.seen import Ground
from service.doctor.specimen import PATIENT_ID
from service.ledger_commitments import MOST_RESENT, NEVER_KEPT, RESEND_SECONDS
from service.site_template import site_toml
from tests.conformance.statement import name_of, pairs, rows, section, sop_class_of, spelt
from tests.dicom_nodes.peers import answering
from workers.turns import Turn, Turns


def http_outcome(status: int) -> str:
    """What follows from an HTTP status alone."""
    try:
        outcome = outcome_of("peer", "1.2.3", HttpAnswer(status, ""))
    except Unreachable:
        return "as no connection"
    except Refused:
        return "failed for good"
    return "delivered" if outcome.stored else f"as status {outcome.status:04X}"


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
