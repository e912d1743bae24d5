"""Retrieve Transaction of DICOMweb (WADO-RS, PS3.18 10.4): a series in, its Part 10 files as they are kept there.

Every object is asked for in the transfer syntax that it is stored in (`transfer-syntax=*`), so that the archive
encodes nothing anew; to where alone a request goes, `web_client.py` says.
"""

from collections.abc import Iterator
from email.message import Message
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType

import httpx

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.multipart import MultipartBroken, part_contents
from dicom_nodes.part10 import HEAD_BYTES, HeadUnreadable, read_file_header, read_head
from dicom_nodes.web_client import cause, named, web_client

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_BLOCK_BYTES = 256 << 10
_REMEDIES = MappingProxyType(
    {
        401: "the credentials are missing or not valid: see the file `authorization` in site.toml",
        403: "these credentials may not retrieve: see its permissions and the file `authorization` in site.toml",
        404: "it holds no such series, or `url` in site.toml is not that of the DICOMweb service",
        406: "it does not give application/dicom in the transfer syntax that it keeps",
        410: "it holds the series no longer",
        501: "it does not offer the Retrieve Transaction",
    }
)
_LATER = frozenset({408, 421, 423, 425, 429})
_NEVER = frozenset({501, 505})


def retrieve_series(
    url: str,
    study_uid: str,
    series_uid: str,
    folder: Path,
    timeout_seconds: float = 60,
    authorization: Path | None = None,
    ca: Path | None = None,
) -> tuple[Path, ...]:
    """Write the instances of a series that the DICOMweb service `url` holds into `folder`; the files, in its order.

    `timeout_seconds` is the longest that the service may be silent; the other arguments are as in `stow.store`.
    Raises Refused where it gives no such series, or what comes is no DICOM or of another series; Unreachable where
    the connection is not to be had, breaks or is not trusted. Then what lies in the folder is not whole.
    """
    peer, client = named(url), web_client(url, _ACCEPT, timeout_seconds, authorization, ca)
    address = f"{url.rstrip('/')}/studies/{study_uid}/series/{series_uid}"
    try:
        with client, client.stream("GET", address) as answer:
            paths = tuple(_written(answer.iter_bytes(_BLOCK_BYTES), _boundary(peer, answer), folder))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Refused(peer, None, f"`url` in site.toml is no address of HTTP: {error}") from error
    except httpx.RequestError as error:
        raise Unreachable(f"{peer}: {cause(error)}") from error
    except MultipartBroken as error:
        raise Unreachable(f"{peer}: the answer broke off: {error}") from error
    for path in paths:
        _check(peer, path, series_uid)
    return paths


def _boundary(peer: str, answer: httpx.Response) -> str:
    """The delimiter of an answer that has instances; raises where it has none."""
    if answer.status_code not in (200, 206):
        raise _why_not(peer, answer)
    head = Message()
    head["Content-Type"] = answer.headers.get("Content-Type", "")
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/related" or not boundary:
        came = head.get_content_type()
        raise Refused(peer, None, f"it answers with {came}: is `url` in site.toml that of the DICOMweb service?")
    return boundary


def _why_not(peer: str, answer: httpx.Response) -> Refused | Unreachable:
    status = answer.status_code
    said = f"HTTP {status} {answer.reason_phrase}".strip()
    if status in _LATER or (status >= 500 and status not in _NEVER):
        return Unreachable(f"{peer}: {said}")
    if 300 <= status < 400:
        return Refused(peer, None, f"{said}: redirects are not followed; correct `url` in site.toml")
    return Refused(peer, None, ": ".join(filter(None, (said, _REMEDIES.get(status, "")))))


def _written(blocks: Iterator[bytes], boundary: str, folder: Path) -> Iterator[Path]:
    """Write each part into a file of its own, named by its number, and tell it once it is whole."""
    for number, pieces in groupby(part_contents(blocks, boundary), key=itemgetter(0)):
        path = folder / f"{number:06d}.dcm"
        with path.open("wb") as file:
            file.writelines(content for _, content in pieces)
        yield path


def _check(peer: str, path: Path, series_uid: str) -> None:
    """Raise Refused unless a file is DICOM and of this series."""
    with path.open("rb") as file:
        content = memoryview(file.read(HEAD_BYTES))
    try:
        meta, offset = read_file_header(content)
        head = read_head(content[offset:], meta.get(0x00020010, ""))
    except HeadUnreadable as error:
        raise Refused(peer, None, f"what came is no DICOM: {error}") from error
    if head.series_uid != series_uid:
        raise Refused(peer, None, f"it was asked for series {series_uid} and sent an instance of {head.series_uid}")
