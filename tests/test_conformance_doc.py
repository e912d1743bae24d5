"""docs/conformance.md says what the code does: SOP Classes, transfer syntaxes, statuses, attributes, licences."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, build_context
from pynetdicom.presentation import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_nodes import scp
from dicom_nodes.attributes import WANTED
from dicom_nodes.commitment import COMMITMENT, SAME_ASSOCIATION_SECONDS
from dicom_nodes.deliver import retryable
from dicom_nodes.encode.identity import PHANTOM
from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.encode.source import LOSSY, PATIENT_AND_STUDY, REQUIRED, SCANNER
from dicom_nodes.negotiation import (
    LOSSLESS_SYNTAXES,
    MAYBE_LOSSY_SYNTAXES,
    MR_STORAGE,
    ScpSettings,
    storage_classes,
)
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_nodes.screen import SUPPORTED
from dicom_nodes.types import Code, Laterality, StoreOutcome
from service.config import Destination, Receive, Workers
from service.ledger_commitments import MOST_RESENT, NEVER_KEPT, RESEND_SECONDS
from service.submodel import load_submodels
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes.peers import receiving
from workers.install.convert import PHANTOM_LICENCE

DOCUMENT = (Path(__file__).parents[1] / "docs" / "conformance.md").read_text(encoding="utf-8")
NAMED = dict.fromkeys(re.findall(r"([A-Z][A-Za-z0-9]+)\s\(([0-9A-F]{4},[0-9A-F]{4})\)", DOCUMENT))
MR = "1.2.840.10008.5.1.4.1.1.4"


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


def test_the_sop_classes_for_mr_are_those_that_are_taken() -> None:
    table = {row[1]: row for row in rows(section("4.2.1 RECEIVE"), 3) if row[1].startswith("1.2.840.10008.5.")}
    assert set(table) == MR_STORAGE
    for uid, (name, _, use) in table.items():
        assert name == UID(uid).name
        assert use.startswith("volumes are made of it") is (uid in SUPPORTED)


def test_the_other_sop_classes_are_those_that_are_taken_by_default() -> None:
    others = storage_classes("accept") - MR_STORAGE
    assert pairs(section("8.6 ")) == {"SOP Class": "UID"} | {UID(uid).name: uid for uid in others}
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
    assert set(again.replace("A7xx", ", ".join(f"A7{low:02X}" for low in range(256))).split(", ")) == retried


def test_what_the_scu_proposes_is_what_is_said() -> None:
    find, deliver = pairs(section("4.2.2 COUNT")), pairs(section("4.2.3 DELIVER"))
    assert find["SOP Class, as SCU"].endswith(f", {StudyRootQueryRetrieveInformationModelFind}")
    assert find["transfer syntaxes"] == ", ".join(UID(uid).name for uid in DEFAULT_TRANSFER_SYNTAXES)
    assert deliver["SOP Class, as SCU"] == f"{SegmentationStorage.name}, {SegmentationStorage}"
    assert deliver["transfer syntax"].startswith(f"{ExplicitVRLittleEndian.name}, {ExplicitVRLittleEndian};")
    for table in (find, deliver):
        assert table["maximum PDU that is received"].startswith(f"{AE('A').maximum_pdu_size} bytes")
    target = Destination(name="a", aet="A", host="h", port=1)
    assert deliver["timeout"].endswith(f", {target.timeout_seconds:.0f} s")
    assert f"`retry_hours` ({target.retry_hours:.0f} h)" in section("4.2.3 DELIVER")
    assert deliver["associations at a time"].endswith(f", {Workers().deliver_threads}")


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


@pytest.mark.parametrize("source", [made.classic, made.enhanced], ids=["classic", "enhanced"])
def test_every_attribute_of_a_segmentation_is_in_the_statement(tmp_path: Path, source: object) -> None:
    assert callable(source)
    volume = source(tmp_path, made.AXIAL)
    seg = encode_seg(made.label_map(volume, 1, 2), volume, made.identity(laterality=Laterality.LEFT))
    said = {tag for _, tag in NAMED} | {"0008,0100", "0008,0102", "0008,0104"}  # of any coded concept
    assert sorted(set(tags(seg)) - said) == []


def test_every_attribute_that_is_copied_is_in_the_statement() -> None:
    said = {keyword for keyword, _ in NAMED}
    assert said >= {*PATIENT_AND_STUDY, *SCANNER, *LOSSY}
    always = section("8.1 ").partition("always there: ")[2].partition(". *Source*")[0]
    assert set(re.findall(r"([A-Za-z]+) \(", always)) == REQUIRED - {"PositionReferenceIndicator"}


def test_the_codes_are_those_that_are_written(tmp_path: Path) -> None:
    volume = made.classic(tmp_path, made.AXIAL)
    seg = encode_seg(made.label_map(volume, 1), volume, made.identity())
    derivation = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    written = [
        derivation.DerivationCodeSequence[0],
        derivation.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0],
        seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0],
    ]
    found = {Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) for item in written}
    assert Code("113076", "DCM", "Segmentation") in found  # PS3.16 CID 7203; (SEG, DCM) is the modality
    labels = [label for submodel in load_submodels() for label in submodel.label]
    found |= {label.category.code for label in labels}
    terms = section("8.4 ")
    assert {Code(*code) for code in re.findall(r'\((\w+), (\w+), "([^"]+)"\)', terms)} == found
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


def test_it_says_that_there_is_no_security_yet() -> None:
    assert section("7 Security").lstrip().startswith("**None yet.** No TLS, no user identity")
