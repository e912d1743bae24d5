"""The Store Transaction, against a real Orthanc and a stand-in for every other answer that a service may give."""

import json
import shutil
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_nodes.deliver import retryable
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.store_answer import HttpAnswer, outcome_of, read_module
from dicom_nodes.stow import store
from dicom_nodes.types import StoreOutcome
from tests.dicom_nodes.dicomweb import (
    HTML,
    XML,
    Answer,
    Request,
    certificate,
    dicomweb,
    in_json,
    in_xml,
    module,
)
from tests.dicom_nodes.peers import Object, encoded
from tests.dicom_nodes.test_reports import finished, written
from tests.orthanc.server import DICOMWEB, free_ports, missing, orthanc

US, OTHER = "2.25.1", "2.25.2"
PEER = "https://archive/rs"
needs_orthanc = pytest.mark.skipif(
    bool(missing()) or not DICOMWEB.exists(), reason=f"not installed: {missing() or 'its DICOMweb plugin'}"
)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # nested data take their time
Encode = Callable[[Dataset], bytes]


# ── the request ─────────────────────────────────────────────────────────────────────────────────────────────


@needs_orthanc
def test_orthanc_gives_back_the_data_sets_that_were_stored_even_when_stored_twice(tmp_path: Path) -> None:
    paths = written(finished(tmp_path / "source"), tmp_path)
    made = [paths["seg"], paths["sr"]]
    with orthanc(tmp_path / "orthanc") as server:
        for _ in range(2):
            outcomes = store(server.url("dicom-web"), made)
            assert [(each.stored, each.status, each.comment) for each in outcomes] == [(True, 0x0000, "")] * 2
        for path, outcome in zip(made, outcomes, strict=True):
            (instance,) = server.post("tools/lookup", outcome.sop_instance_uid.encode())
            back = tmp_path / "back.dcm"
            back.write_bytes(server.get_bytes(f"instances/{instance['ID']}/file"))
            assert encoded(back) == encoded(path)
        with pytest.raises(Refused, match=r"HTTP 404 .*`url` in site\.toml"):
            store(server.url("dicomweb"), made)


def test_each_object_goes_in_a_request_of_its_own_as_it_lies_on_disk(tmp_path: Path) -> None:
    paths = [Object().write(tmp_path) for _ in range(3)]
    with dicomweb() as service:
        outcomes = store(f"{service.url}/", paths)
    assert [request.part for request in service.received] == [path.read_bytes() for path in paths]
    assert [outcome.sop_instance_uid for outcome in outcomes] == [request.uid for request in service.received]
    assert {request.path for request in service.received} == {"/dicom-web/studies"}
    headers = service.received[0].headers
    assert headers["Accept"].startswith("application/dicom+json")
    assert "Transfer-Encoding" not in headers and "Authorization" not in headers


def test_an_object_is_never_held_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = Object(pixel_bytes=40 << 20).write(tmp_path)
    tracemalloc.start()
    with dicomweb(Answer(503, reads_bytes=path.stat().st_size)) as service, pytest.raises(Unreachable, match="503"):
        store(service.url, [path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_no_proxy_or_credential_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    with dicomweb() as service:
        (outcome,) = store(service.url, [Object().write(tmp_path)])
    assert outcome.stored and "Authorization" not in service.received[0].headers


# ── what it answers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "encode", [in_json, in_xml, partial(in_xml, namespace="")], ids=["json", "xml", "bare xml"]
)
@pytest.mark.parametrize(
    ("http", "answer", "status", "stored", "again"),
    [
        (200, module(stored={US: None}), 0x0000, True, None),
        (200, module(stored={OTHER: None, US: None}), 0x0000, True, None),
        (202, module(stored={US: 0xB000}), 0xB000, True, None),
        (202, module(stored={US: 0xB006}), 0xB006, True, None),
        (202, module(stored={US: 0xB007}), 0xB007, True, None),
        (202, module(stored={US: 1}), 0x0000, True, None),
        (202, module(failed={US: 0xA700}), 0xA700, False, True),
        (202, module(failed={US: 0x0122}, stored={OTHER: None}), 0x0122, False, False),
        (200, module(failed={US: 0x0110}), 0x0110, False, True),
        (202, module(failed={"": 0xC000}), 0xC000, False, False),
        (202, module(stored={US: None}, failed={"": 0xC000}), 0x0000, True, None),
        (202, module(stored={OTHER: None}), 0x0110, False, True),
        (409, module(failed={US: 0xA700}), 0xA700, False, True),
        (409, module(failed={US: 0xA7FF}), 0xA7FF, False, True),
        (409, module(failed={US: 0xA900}), 0xA900, False, False),
        (409, module(failed={US: 0xC122}), 0xC122, False, False),
        (409, module(failed={US: 0x0124}), 0x0124, False, False),
        (409, module(failed={US: 0x0213}), 0x0213, False, True),
        (409, module(failed={US: 0x0111}), 0x0000, True, None),
        (409, module(failed={US: 45070}), 0x0000, True, None),
        (409, module(failed={US: 45071}), 0xB00F, False, True),
        (409, module(failed={US: None}), 0x0110, False, True),
        (409, module(failed={US: 0x0000}), 0x0110, False, True),
        (409, module(failed={US: 0xB000}), 0x0110, False, True),
        (400, module(failed={"": 0xC000}), 0xC000, False, False),
        (503, module(failed={US: 0xA700}), 0xA700, False, True),
    ],
)
def test_what_the_data_set_says_of_the_object_decides(
    encode: Encode, http: int, answer: Dataset, status: int, stored: bool, again: bool | None
) -> None:
    outcome = outcome_of(PEER, US, HttpAnswer(http, "", encode(answer)))
    assert (outcome.sop_instance_uid, outcome.status, outcome.stored) == (US, status, stored)
    assert again is None or retryable(outcome.status) is again
    assert stored or outcome.comment


def test_an_object_that_is_there_already_is_stored_and_the_record_says_so(tmp_path: Path) -> None:
    def duplicate(request: Request) -> Answer:
        return Answer(409, in_json(module(failed={request.uid: 45070})))

    with dicomweb(duplicate) as service:
        (outcome,) = store(service.url, [Object().write(tmp_path)])
    assert outcome.stored
    assert outcome.comment == "FailureReason 0xB00E: an object with this UID was there already"


@pytest.mark.parametrize(("encode", "media_type"), [(in_json, "application/json"), (in_xml, XML)])
def test_a_partial_answer_comes_over_the_wire_in_either_encoding(
    tmp_path: Path, encode: Encode, media_type: str
) -> None:
    def half(request: Request) -> Answer:
        kept = len(service.received) == 1
        answer = module(stored={request.uid: 0xB000}) if kept else module(failed={request.uid: 0xA900})
        return Answer(202, encode(answer), media_type)

    with dicomweb(half) as service:
        outcomes = store(service.url, [Object().write(tmp_path) for _ in range(2)])
    assert [outcome.status for outcome in outcomes] == [0xB000, 0xA900]
    assert outcomes[1].comment == "data set does not match SOP Class"


def test_a_data_set_that_is_wrapped_in_a_list_is_read_too() -> None:
    wrapped = b"[" + in_json(module(failed={US: 0xA700})) + b"]"
    assert outcome_of(PEER, US, HttpAnswer(409, "Conflict", wrapped)).status == 0xA700


def test_what_is_said_of_attributes_is_told_without_the_values_that_it_quotes() -> None:
    answer = module(failed={US: 0xA900})
    attribute = Dataset()
    attribute.ErrorComment = '(0010,0010) - Content "Proband^Anna" does not validate VR PN'
    answer.FailedSOPSequence[0].FailedAttributesSequence = [attribute]
    comment = outcome_of(PEER, US, HttpAnswer(409, "Conflict", in_json(answer))).comment
    assert "(0010,0010)" in comment and "does not validate VR PN" in comment
    assert "Anna" not in comment


@pytest.mark.parametrize("content", [b"", b"OK", b"{}", b"null", b"<html><body>fine</body></html>", b"\xff\xfe"])
def test_without_a_data_set_the_http_status_decides_and_the_comment_says_so(content: bytes) -> None:
    assert outcome_of(PEER, US, HttpAnswer(200, "OK", content)) == StoreOutcome(
        US, 0x0000, "HTTP 200 OK, without a data set"
    )
    accepted = outcome_of(PEER, US, HttpAnswer(202, "Accepted", content))
    assert not accepted.stored and retryable(accepted.status), "taken, but nobody said that it is stored"
    assert "may not be stored" in accepted.comment
    broken = outcome_of(PEER, US, HttpAnswer(500, "Internal Server Error", content))
    assert not broken.stored and retryable(broken.status)


@pytest.mark.parametrize(
    ("http", "advice"),
    [
        (400, "fault with the request"),
        (401, "credentials are missing or not valid"),
        (403, "may not store here"),
        (404, "no such address"),
        (405, "is `url` in site"),
        (406, "neither in DICOM JSON nor in XML"),
        (409, "gave no reason"),
        (413, "too large"),
        (415, "does not take multipart"),
        (418, "HTTP 418"),
        (501, "does not offer the Store Transaction"),
    ],
)
def test_a_service_that_takes_no_such_request_is_refusing_and_says_what_to_do(
    tmp_path: Path, http: int, advice: str
) -> None:
    page = Answer(http, b"<!DOCTYPE html><html><body>No.</body></html>", HTML)
    with dicomweb(page) as service, pytest.raises(Refused, match=advice) as refused:
        store(service.url, [Object().write(tmp_path)])
    assert str(refused.value).startswith(f"{service.url} refused: HTTP {http}")
    assert refused.value.status is None


@pytest.mark.parametrize("http", [408, 424, 429, 502, 503, 504, 507, 599])
def test_a_service_that_cannot_now_is_tried_again(tmp_path: Path, http: int) -> None:
    with (
        dicomweb(Answer(http, b"<html>later</html>", HTML)) as service,
        pytest.raises(Unreachable, match=str(http)),
    ):
        store(service.url, [Object().write(tmp_path)])


def test_redirects_are_not_followed_and_their_credentials_not_told(tmp_path: Path) -> None:
    with dicomweb() as elsewhere:
        location = elsewhere.url.replace("//", "//user:secret@") + "/studies?token=secret"
        with dicomweb(Answer(307, headers={"Location": location})) as service, pytest.raises(Refused) as refused:
            store(service.url, [Object().write(tmp_path)])
    assert elsewhere.received == []
    assert f"redirects to {elsewhere.url}/studies: correct `url`" in str(refused.value)
    assert "secret" not in str(refused.value)


@UNHURRIED
@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda j: json.dumps(j).encode())
)
def test_no_answer_breaks_the_reading_of_it(content: bytes) -> None:
    assert outcome_of(PEER, US, HttpAnswer(200, "OK", content)).status == 0x0000


@UNHURRIED
@given(st.dictionaries(st.sampled_from(["00081198", "00081199", "00081197", "00081155"]), st.recursive(
    st.none() | st.integers() | st.sampled_from([US, "272", "x"]) | st.just({"vr": "US"}),
    lambda inner: st.fixed_dictionaries({"vr": st.just("SQ"), "Value": st.lists(inner, max_size=2)})
    | st.dictionaries(st.sampled_from(["00081155", "00081197"]), inner),
)))  # fmt: skip
def test_no_data_set_breaks_the_reading_of_it(answer: dict[str, object]) -> None:
    assert outcome_of(PEER, US, HttpAnswer(200, "OK", json.dumps(answer).encode())).sop_instance_uid == US


def test_an_answer_nested_without_end_or_with_entities_is_no_data_set() -> None:
    assert read_module(b"[" * 100_000) is None
    assert read_module(b'{"00081198":{"Value":[' * 2000 + b"1" + b"]}}" * 2000) is None
    bomb = b'<!DOCTYPE a [<!ENTITY b "cccccccccc"><!ENTITY d "&b;&b;">]><NativeDicomModel>&d;</NativeDicomModel>'
    assert read_module(bomb) is None


# ── the connection ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_service_that_is_down_is_unreachable(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/dicom-web"
    with pytest.raises(Unreachable, match=f"{url}: .*refused"):
        store(url, [Object().write(tmp_path)], timeout_seconds=5)


def test_a_service_that_cannot_be_named_is_unreachable_and_an_address_that_is_none_refused(tmp_path: Path) -> None:
    path = Object().write(tmp_path)
    with pytest.raises(Unreachable, match=r"nowhere\.invalid"):
        store("http://nowhere.invalid/rs", [path], timeout_seconds=5)
    for url in ("ftp://archive/rs", "archive/rs", "http://archive:port/rs", "http://"):
        with pytest.raises(Refused, match="no address of HTTP"):
            store(url, [path])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(breaks=True),
        Answer(breaks=True, reads_bytes=1 << 20),
        Answer(breaks=True, content=b'{"00081199"'),
    ],
    ids=["before the answer", "in the midst of the request", "in the midst of the answer"],
)
def test_a_connection_that_breaks_is_tried_again(tmp_path: Path, answer: Answer) -> None:
    path = Object(pixel_bytes=16 << 20).write(tmp_path)
    with dicomweb(answer) as service, pytest.raises(Unreachable, match=service.url):
        store(service.url, [path], timeout_seconds=10)


def test_an_answer_that_comes_before_the_whole_object_is_heard(tmp_path: Path) -> None:
    path = Object(pixel_bytes=16 << 20).write(tmp_path)
    with dicomweb(Answer(413, reads_bytes=64 << 10)) as service, pytest.raises(Refused, match="too large"):
        store(service.url, [path], timeout_seconds=10)


def test_a_silent_service_is_tried_again(tmp_path: Path) -> None:
    def wait(_: Request) -> Answer:
        service.over.wait(10)
        return Answer(503)

    with dicomweb(wait) as service, pytest.raises(Unreachable, match="not answered in time"):
        store(service.url, [Object().write(tmp_path)], timeout_seconds=1.0)


@needs_openssl
def test_tls_is_spoken_with_whom_the_site_trusts_and_with_nobody_else(tmp_path: Path) -> None:
    path, server = Object().write(tmp_path), certificate(tmp_path)
    with dicomweb(certificate=server) as service:
        assert store(service.url, [path], ca=tmp_path / "certificate.pem")[0].stored
        with pytest.raises(Unreachable, match=r"(?i)certificate verify failed.*`ca` in site\.toml"):
            store(service.url, [path])
        for ca in (tmp_path / "absent.pem", tmp_path / "key.pem"):
            with pytest.raises(Refused, match=f"{ca.name}.*`ca`"):
                store(service.url, [path], ca=ca)
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other", "archive.example")
    with dicomweb(certificate=other) as service, pytest.raises(Unreachable, match=r"(?i)certificate"):
        store(service.url, [path], ca=tmp_path / "other" / "certificate.pem")


# ── credentials ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_credentials_are_read_at_each_sending(tmp_path: Path) -> None:
    path, authorization = Object().write(tmp_path), tmp_path / "token"
    with dicomweb() as service:
        for token in ("Bearer first", "Basic c2Vjb25kOg=="):
            authorization.write_text(f"{token}  \r\nnot this line\n", encoding="utf-8-sig")
            store(service.url, [path], authorization=authorization)
    assert [each.headers["Authorization"] for each in service.received] == ["Bearer first", "Basic c2Vjb25kOg=="]


@pytest.mark.parametrize(
    "content", [None, b"", b"\n Bearer x\n", b"Bearer se\x00cret\n", b"Bearer s\xc3\xa4cret", b"\xff"]
)
def test_credentials_that_cannot_be_used_are_named_by_their_file_and_never_told(
    tmp_path: Path, content: bytes | None
) -> None:
    authorization = tmp_path / "token"
    if content is not None:
        authorization.write_bytes(content)
    with dicomweb() as service, pytest.raises(Refused, match=r"token.*`authorization`") as refused:
        store(service.url, [Object().write(tmp_path)], authorization=authorization)
    assert service.received == []
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "secret", ["//user:secret@{}/rs", "//secret@{}/rs", "//{}/rs?key=secret", "//{}/rs#secret"]
)
def test_credentials_in_an_address_are_neither_used_nor_told(tmp_path: Path, secret: str) -> None:
    with dicomweb() as service, pytest.raises(Refused, match="go into `authorization`") as refused:
        address = service.url.removeprefix("http://").removesuffix("/dicom-web")
        store(f"http:{secret.format(address)}", [Object().write(tmp_path)])
    assert service.received == []
    assert "secret" not in str(refused.value)
