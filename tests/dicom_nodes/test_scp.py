"""The Storage SCP, with real senders: dcmtk over the network, and our own SCU where bytes must be exact."""

import os
import socket
import struct
import subprocess
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import build_context

from dicom_nodes import scu
from dicom_nodes.filing import RECOVERED, remove_unfinished, stored_instances
from dicom_nodes.negotiation import LOSSLESS_SYNTAXES, MAYBE_LOSSY_SYNTAXES, preferred
from dicom_nodes.part10 import HeadUnreadable, file_header, is_uid, read_head
from dicom_nodes.types import Ending, Instance
from tests.dicom_nodes.peers import (
    DATA,
    EXPLICIT_LITTLE,
    MR,
    MR_EXPLICIT,
    SECONDARY_CAPTURE,
    Object,
    associated,
    element,
    encoded,
    half_a_store,
    needs_data,
    needs_dcmtk,
    receiving,
    storescu,
)

NINE = DATA / "tricky" / "siemens_trio_9_transfer_syntaxes"
IMPLICIT, DEFLATED, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
OFFER = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.5": "-xr",
}
pytestmark = [
    # UIDs that break the rules are the matter of some tests; pydicom warns of them on the sending side.
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning"),
    pytest.mark.filterwarnings("ignore:The value length:UserWarning"),
]


@needs_dcmtk
def test_echo_of_dcmtk_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        answer = subprocess.run(["echoscu", "127.0.0.1", str(receiver.scp.port)], timeout=20, check=False)
    assert answer.returncode == 0


@needs_data
@needs_dcmtk
@pytest.mark.parametrize("name", [f"{number}.dcm" for number in range(1, 10)])
def test_dcmtk_sends_each_transfer_syntax_and_it_is_kept(tmp_path: Path, name: str) -> None:
    source = pydicom.dcmread(NINE / name)
    syntax = source.file_meta.TransferSyntaxUID
    with receiving(tmp_path) as receiver:
        sent = storescu(receiver.node, "-R", OFFER[syntax], NINE / name)
        assert sent.returncode == 0, sent.stdout
        (instance,) = receiver.heard
    stored = pydicom.dcmread(instance.path)
    assert instance.transfer_syntax_uid == stored.file_meta.TransferSyntaxUID == syntax
    assert stored.PixelData == source.PixelData
    assert stored.PatientName == source.PatientName


@needs_data
def test_real_files_are_stored_byte_for_byte(tmp_path: Path) -> None:
    folders = [NINE, DATA / "malformed" / "pydicom_emri_small_encodings", DATA / "charset" / "pydicom_charsets"]
    files = [path for folder in folders for path in sorted(folder.glob("*.dcm")) if "chrSQ" not in path.name]
    with receiving(tmp_path) as receiver:
        outcomes = scu.store(receiver.node, "MODALITY", files)
    stored = {instance.sop_instance_uid: instance for instance in receiver.heard}
    # Of files under one UID the last stays; some have another UID in their header than in their data set.
    last = {outcome.sop_instance_uid: path for outcome, path in zip(outcomes, files, strict=True) if outcome.stored}
    assert {outcome.status for outcome in outcomes} <= {0x0000, 0xA900} and len(last) == 22
    for uid, path in last.items():
        assert encoded(stored[uid].path) == encoded(path)
        assert stored[uid].size_bytes == stored[uid].path.stat().st_size


@pytest.mark.parametrize("syntax", sorted(LOSSLESS_SYNTAXES | MAYBE_LOSSY_SYNTAXES))
def test_every_transfer_syntax_is_taken_and_never_decoded(tmp_path: Path, syntax: str) -> None:
    one = Object()
    path = tmp_path / "one.dcm"
    content = in_syntax(one, syntax, tmp_path)
    path.write_bytes(file_header(MR, one.sop_instance_uid, syntax, "X") + content)
    with receiving(tmp_path / "in") as receiver:
        (outcome,) = scu.store(receiver.node, "MODALITY", [path])
        (instance,) = receiver.heard
    assert outcome.status == 0x0000
    assert encoded(instance.path) == content
    assert (instance.series_uid, instance.transfer_syntax_uid) == (one.series_uid, syntax)


def in_syntax(one: Object, syntax: str, folder: Path) -> bytes:
    """The data set in a native syntax as pydicom writes it; in an encapsulated one, bytes that mean nothing."""
    explicit = one.data_set
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(explicit) + packer.flush()
    if syntax not in (IMPLICIT, EXPLICIT_BIG):
        return explicit
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != EXPLICIT_BIG, syntax == IMPLICIT
    write_dataset(buffer, pydicom.dcmread(one.write(folder)))
    return buffer.getvalue()


def test_the_file_is_whole_and_named_by_its_uids_when_heard(tmp_path: Path) -> None:
    one = Object()
    seen: list[tuple[bool, set[str]]] = []

    def heard(instance: Instance) -> None:
        names = {path.name for path in instance.path.parent.iterdir()}
        seen.append((encoded(instance.path).startswith(one.data_set[:100]), names))

    with receiving(tmp_path / "in", heard) as receiver:
        scu.store(receiver.node, "MODALITY", [one.write(tmp_path)])
    assert seen == [(True, {f"{one.sop_instance_uid}.dcm"})]
    (stored,) = stored_instances(tmp_path / "in")
    assert stored.path == tmp_path / "in" / one.series_uid / f"{one.sop_instance_uid}.dcm"


def test_the_file_says_who_sent_it_and_pydicom_reads_it(tmp_path: Path) -> None:
    with receiving(tmp_path / "in") as receiver:
        scu.store(receiver.node, "SCANNER1", [Object().write(tmp_path)])
    (instance,) = receiver.heard
    meta = pydicom.dcmread(instance.path).file_meta
    assert meta.SourceApplicationEntityTitle == instance.calling_aet == "SCANNER1"
    assert meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid


def test_a_release_ends_the_association_with_its_series(tmp_path: Path) -> None:
    with receiving(tmp_path / "in") as receiver:
        scu.store(receiver.node, "MODALITY", [Object(series_uid="1.2.1").write(tmp_path), Object().write(tmp_path)])
        ended = receiver.one_ended()
    assert ended.ending is Ending.RELEASED
    assert ended.series_uids == {"1.2.1", Object().series_uid}
    assert {instance.association_id for instance in receiver.heard} == {ended.association_id}


@needs_dcmtk
def test_an_abort_is_told_from_a_release(tmp_path: Path) -> None:
    with receiving(tmp_path / "in") as receiver:
        storescu(receiver.node, "--abort", Object().write(tmp_path))
        ended = receiver.one_ended()
    assert (ended.ending, ended.series_uids) == (Ending.ABORTED, frozenset({Object().series_uid}))


def test_a_connection_lost_in_mid_object_leaves_nothing_of_that_object(tmp_path: Path) -> None:
    whole, half = Object(), Object(pixel_bytes=4096)
    with receiving(tmp_path / "in") as receiver, associated(receiver.node, MR_EXPLICIT) as association:
        association.send_c_store(whole.write(tmp_path))
        association.dul.socket.socket.sendall(half_a_store(half))
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        ended = receiver.one_ended()
    assert (ended.ending, ended.series_uids) == (Ending.LOST, frozenset({whole.series_uid}))
    assert [path.name for path in (tmp_path / "in").rglob("*") if path.is_file()] == [
        f"{whole.sop_instance_uid}.dcm"
    ]


def test_a_stop_ends_what_stands_and_closes_the_port(tmp_path: Path) -> None:
    with receiving(tmp_path / "in") as receiver:
        port = receiver.scp.port
        with associated(receiver.node, MR_EXPLICIT) as association:
            association.send_c_store(Object().write(tmp_path))
            receiver.scp.stop()
    assert [ended.ending for ended in receiver.ended] == [Ending.LOST]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


@needs_dcmtk
def test_a_refused_storage_class_does_not_break_the_mr_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    Object(sop_class_uid=SECONDARY_CAPTURE).write(folder)
    mr = Object()
    mr.write(folder)
    with receiving(tmp_path / "in", other_storage="refuse") as receiver:
        sent = storescu(receiver.node, "-nh", "+sd", folder)
        assert receiver.one_ended().ending is Ending.RELEASED
    assert "No presentation context for: (SC)" in sent.stdout + sent.stderr
    assert [instance.sop_instance_uid for instance in receiver.heard] == [mr.sop_instance_uid]


def test_other_storage_is_stored_where_the_site_accepts_it(tmp_path: Path) -> None:
    private = "1.2.826.0.1.3680043.8.498.77.1"
    with receiving(tmp_path / "in", extra_sop_classes=frozenset({private})) as receiver:
        files = [Object(sop_class_uid=uid).write(tmp_path) for uid in (SECONDARY_CAPTURE, private, MR)]
        assert [outcome.status for outcome in scu.store(receiver.node, "MODALITY", files)] == [0, 0, 0]
    assert {instance.sop_class_uid for instance in receiver.heard} == {SECONDARY_CAPTURE, private, MR}


@pytest.mark.parametrize("field", ["sop_instance_uid", "series_uid", "study_uid"])
def test_an_ill_formed_uid_is_refused_and_touches_no_file(tmp_path: Path, field: str) -> None:
    bad = ["../../x", "1.2/../../x", "/etc/passwd", "1..2", ".1.2", "1.2.", "1.2 3", "1." * 32 + "1", "1.2.\x01"]
    (tmp_path / "out").mkdir()
    files = [Object(**{field: uid}).write(tmp_path / "out") for uid in bad]  # type: ignore[arg-type]
    with receiving(tmp_path / "in") as receiver:
        outcomes = scu.store(receiver.node, "MODALITY", files)
    assert {outcome.status for outcome in outcomes} == {0xC000}
    assert [outcome.comment for outcome in outcomes] == [refused.reason for refused in receiver.refused]
    assert all("ill-formed" in outcome.comment for outcome in outcomes)
    assert receiver.heard == [] and list((tmp_path / "in").iterdir()) == []
    assert {entry.name for entry in tmp_path.iterdir()} == {"in", "out"}


def test_leading_zeros_in_a_uid_are_let_pass() -> None:
    assert is_uid("1.2.0123.00")
    assert not is_uid("") and not is_uid("1.2\n") and not is_uid("١.٢")


def test_a_command_that_contradicts_its_data_set_is_refused(tmp_path: Path) -> None:
    one = Object()
    other_instance = one.write(tmp_path, file_header(MR, "1.2.3", EXPLICIT_LITTLE, "X"))
    other_class = one.write(tmp_path, file_header(SECONDARY_CAPTURE, one.sop_instance_uid, EXPLICIT_LITTLE, "X"))
    with receiving(tmp_path / "in") as receiver:
        outcomes = scu.store(receiver.node, "MODALITY", [other_instance, other_class])
    assert [outcome.status for outcome in outcomes] == [0xA900, 0xA900]
    assert "SOPInstanceUID differs" in outcomes[0].comment and "SOPClassUID differs" in outcomes[1].comment
    assert receiver.heard == []


def test_what_is_no_data_set_is_refused_and_the_association_goes_on(tmp_path: Path) -> None:
    noise = tmp_path / "noise.dcm"
    noise.write_bytes(file_header(MR, "1.2.3", EXPLICIT_LITTLE, "X") + os.urandom(3000))
    with receiving(tmp_path / "in") as receiver:
        outcomes = scu.store(receiver.node, "MODALITY", [noise, Object().write(tmp_path)])
    assert [outcome.status for outcome in outcomes] == [0xC000, 0x0000]


def test_the_same_bytes_again_are_heard_again_and_leave_the_file_alone(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    with receiving(tmp_path / "in") as receiver:
        scu.store(receiver.node, "MODALITY", [path])
        before = receiver.heard[0].path.stat()
        (again,) = scu.store(receiver.node, "MODALITY", [path])
        after = receiver.heard[1].path.stat()
    assert again.status == 0x0000
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_bytes_under_the_same_uid_take_its_place(tmp_path: Path) -> None:
    first = Object()
    second = Object(first.sop_instance_uid, pixel_bytes=600)
    path = second.write(tmp_path)
    with receiving(tmp_path / "in") as receiver:
        outcomes = scu.store(receiver.node, "MODALITY", [first.write(tmp_path), path])
    assert [outcome.status for outcome in outcomes] == [0, 0]
    assert encoded(receiver.heard[0].path) == encoded(path)


def test_the_count_is_declared_only_where_the_object_says_it(tmp_path: Path) -> None:
    series = element(0x00201002, "IS", "21")
    concatenated = element(0x00209163, "US", struct.pack("<H", 4))
    objects = [
        Object(after=series),
        Object(after=concatenated),
        Object(),
        Object(after=element(0x00201002, "IS", "")),
    ]
    with receiving(tmp_path / "in") as receiver:
        scu.store(receiver.node, "MODALITY", [one.write(tmp_path) for one in objects])
    assert [instance.declared_count for instance in receiver.heard] == [21, 4, None, None]


def test_stored_instances_come_back_after_a_restart_without_what_is_unfinished(tmp_path: Path) -> None:
    objects = [Object(), Object(series_uid="1.2.9"), Object(after=element(0x00201002, "IS", "3"))]
    with receiving(tmp_path / "in") as receiver:
        scu.store(receiver.node, "SCANNER1", [one.write(tmp_path) for one in objects])
    unfinished = tmp_path / "in" / "1.2.9" / "0123456789abcdef.part"
    unfinished.write_bytes(b"half")
    (tmp_path / "in" / "1.2.9" / "1.2.dcm").write_bytes(b"a damaged disk")
    back = {instance.sop_instance_uid: instance for instance in stored_instances(tmp_path / "in")}
    assert remove_unfinished(tmp_path / "in") == 1
    assert not unfinished.exists()
    assert {instance.association_id for instance in back.values()} == {RECOVERED}
    for heard in receiver.heard:
        found = back[heard.sop_instance_uid]
        assert (found.series_uid, found.path, found.size_bytes) == (heard.series_uid, heard.path, heard.size_bytes)
        assert (found.calling_aet, found.declared_count) == ("SCANNER1", heard.declared_count)
    assert len(back) == 3


def test_the_senders_order_decides_and_lossy_comes_last(tmp_path: Path) -> None:
    lossy = "1.2.840.10008.1.2.4.50"
    assert preferred([lossy, DEFLATED, IMPLICIT, "1.2.3"]) == [DEFLATED, IMPLICIT, lossy]
    orders = ([DEFLATED, IMPLICIT], [IMPLICIT, DEFLATED], [lossy, IMPLICIT], [lossy])
    with receiving(tmp_path) as receiver:
        for proposed in orders * 2:  # what is kept of the first round is not changed by it
            with associated(receiver.node, build_context(MR, proposed)) as association:
                assert association.accepted_contexts[0].transfer_syntax == [preferred(proposed)[0]]


def test_accepted_sockets_send_without_nagles_delay(tmp_path: Path) -> None:
    options: list[int] = []

    def heard(_: Instance) -> None:
        (association,) = receiver.scp._standing
        options.append(association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with receiving(tmp_path / "in", heard) as receiver:
        scu.store(receiver.node, "MODALITY", [Object().write(tmp_path)])
    assert options == [1]


def test_nested_sequences_of_undefined_length_are_walked_over() -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end, last = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    sequence = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
    uid = element(0x0020000E, "UI", "9.9.9")
    nested = sequence + item + sequence + item + uid + end + last + uid + end + last
    head = read_head(Object(between=nested).data_set, EXPLICIT_LITTLE)
    assert head.series_uid == Object().series_uid
    deep = (sequence + item) * 5000
    with pytest.raises(HeadUnreadable, match="nested"):
        read_head(Object(between=deep).data_set, EXPLICIT_LITTLE)


@given(st.data())
def test_no_bytes_whatever_break_the_reading_of_a_head(data: st.DataObject) -> None:
    content = bytearray(Object("1.2.3").data_set[:200])
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    syntax = data.draw(st.sampled_from(sorted(LOSSLESS_SYNTAXES)))
    try:
        head = read_head(bytes(content), syntax)
    except HeadUnreadable:
        return
    assert is_uid(head.series_uid) and is_uid(head.sop_instance_uid)


def test_a_deflated_bomb_is_not_inflated_whole() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    zeros = element(0x00080008, "OB", bytes(64 << 20))
    with pytest.raises(HeadUnreadable):
        read_head(packer.compress(zeros) + packer.flush(), "1.2.840.10008.1.2.1.99")
