"""How a DICOMweb service is spoken to (PS3.18): its address and the site's files in, an HTTP client out.

Nothing is sent anywhere but to the address of the site: redirects are not followed, and neither proxies of the
environment nor credentials in a .netrc are used (`trust_env=False`), lest what a shell happens to have set decide
where a patient's images and results go.
"""

import re
import ssl
from pathlib import Path

import httpx

from dicom_nodes.errors import Refused

_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


def web_client(
    url: str, accept: str, timeout_seconds: float, authorization: Path | None, ca: Path | None
) -> httpx.Client:
    """A client for the service at `url`, which reads `authorization` and `ca` now.

    Raises Refused where the address or one of the two files cannot be used.
    """
    peer = named(url)
    if peer != url:
        raise Refused(
            peer, None, "`url` in site.toml has credentials or a query; credentials go into `authorization`"
        )
    headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "Sagittal"}
    if authorization is not None:
        headers["Authorization"] = _credentials(peer, authorization)
    verify = _trusted(peer, ca) if url.lower().startswith("https:") else True
    return httpx.Client(
        headers=headers, timeout=timeout_seconds, verify=verify, trust_env=False, follow_redirects=False
    )


def named(url: str) -> str:
    """An address as messages call it: without credentials and query."""
    return re.sub(r"(?<=//)[^/?#]*@", "", re.split(r"[?#]", url)[0])


def cause(error: httpx.RequestError) -> str:
    """Why a request got no answer, for a person."""
    if isinstance(error, httpx.TimeoutException):
        return f"not answered in time ({str(error) or type(error).__name__})"
    said = str(error) or type(error).__name__
    return f"{said}; which certificates to trust says `ca` in site.toml" if "CERTIFICATE" in said else said


def _credentials(peer: str, authorization: Path) -> str:
    """The first line of the file, which no message repeats."""
    try:
        with authorization.open(encoding="utf-8-sig") as file:
            value = file.readline().strip()
    except OSError as error:
        raise Refused(peer, None, f"cannot read {authorization} (`authorization`): {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(peer, None, f"{authorization} (`authorization`) is no text") from error
    if not _HEADER_VALUE.fullmatch(value):
        fault = "its first line is no value of the header Authorization, as: Bearer abc123"
        raise Refused(peer, None, f"{authorization} (`authorization`): {fault}")
    return value


def _trusted(peer: str, ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError too
        fault = error.strerror or "no certificates in PEM"
        raise Refused(peer, None, f"cannot read {ca} (`ca`): {fault}") from error
