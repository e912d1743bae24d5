"""Store Transaction of DICOMweb (STOW-RS, PS3.18 10.5): files in, what the service answered out.

Each object goes in a request of its own, read from disk as it is sent; to where alone, `web_client.py` says.
"""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import httpx

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.part10 import read_file_header
from dicom_nodes.store_answer import HttpAnswer, outcome_of
from dicom_nodes.types import StoreOutcome
from dicom_nodes.web_client import cause, named, web_client

_ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"
_META_BYTES = 64 << 10
_BLOCK_BYTES = 256 << 10
_MOST_ANSWER_BYTES = 1 << 20
"""An answer on one object has some hundred bytes; of a longer one only the HTTP status counts."""


def store(
    url: str,
    paths: Sequence[Path],
    timeout_seconds: float = 60,
    authorization: Path | None = None,
    ca: Path | None = None,
) -> tuple[StoreOutcome, ...]:
    """Store Part 10 files, exactly as encoded on disk, at the DICOMweb service `url`; one outcome for each path.

    `authorization` is a file whose first line is the value of the HTTP header Authorization, read anew at each
    call; `ca` a file of certificates to trust, in PEM, in place of the machine's. `timeout_seconds` is the longest
    that the service may be silent. Raises Refused or Unreachable as `store_answer.outcome_of`, Refused also where
    a file of the site cannot be read, Unreachable where the connection is not to be had, breaks or is not
    trusted; then all may be sent again: what is there already counts as stored.
    """
    peer, client = named(url), web_client(url, _ACCEPT, timeout_seconds, authorization, ca)
    address = f"{url.rstrip('/')}/studies"
    with client:
        return tuple(_store_one(client, peer, address, path, timeout_seconds) for path in paths)


def _store_one(client: httpx.Client, peer: str, address: str, path: Path, timeout_seconds: float) -> StoreOutcome:
    with path.open("rb") as file:
        meta, _ = read_file_header(file.read(_META_BYTES))
        file.seek(0)
        try:
            answer = _post(client, address, file, timeout_seconds)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Refused(peer, None, f"`url` in site.toml is no address of HTTP: {error}") from error
        except httpx.RequestError as error:
            raise Unreachable(f"{peer}: {cause(error)}") from error
    return outcome_of(peer, meta[0x00020003], answer)


def _post(client: httpx.Client, address: str, file: BinaryIO, timeout_seconds: float) -> HttpAnswer:
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(len(head) + os.fstat(file.fileno()).st_size + len(tail)),
    }
    with client.stream("POST", address, content=_multipart(head, file, tail), headers=headers) as answer:
        content = _content(answer, time.monotonic() + timeout_seconds)
        location = named(answer.headers.get("Location", ""))
        return HttpAnswer(answer.status_code, answer.reason_phrase, content, location)


def _multipart(head: bytes, file: BinaryIO, tail: bytes) -> Iterator[bytes]:
    """One object as multipart/related (PS3.18 8.6.1.2)."""
    yield head
    while block := file.read(_BLOCK_BYTES):
        yield block
    yield tail


def _content(answer: httpx.Response, until: float) -> bytes:
    content = bytearray()
    for block in answer.iter_bytes():
        content += block
        if len(content) > _MOST_ANSWER_BYTES:
            return b""
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the answer does not come to its end")
    return bytes(content)
