"""The Storage SCP: SOP Classes, transfer syntaxes, associations, statuses."""

import re
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (
    Verification,
)

from dicom_nodes import scp
from dicom_nodes.admission import Shares
from dicom_nodes.deliver import retryable
from dicom_nodes.negotiation import (
    LOSSLESS_SYNTAXES,
    MAYBE_LOSSY_SYNTAXES,
    MR_STORAGE,
    ScpSettings,
    storage_classes,
)
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_nodes.rejection import known_already
from dicom_nodes.screen import SUPPORTED
from dicom_nodes.types import (
    StoreOutcome,
)
from service.config import Receive
from tests.conformance.statement import DOCUMENT, name_of, pairs, rows, section
from tests.dicom_nodes.peers import receiving
from workers.forms import not_taken

MR = "1.2.840.10008.5.1.4.1.1.4"


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


def test_it_says_that_there_is_no_security_of_associations_yet() -> None:
    assert section("7 Security").lstrip().startswith("**None yet for DIMSE.** No TLS, no user identity")
