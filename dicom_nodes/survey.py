"""A node and what we would send it in; out: whether it answers, and what it takes, nothing being stored."""

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import associated
from dicom_nodes.types import Node
from dicom_nodes.web_client import cause, web_client
from dicom_nodes.web_client import named as named_url


@dataclass(frozen=True, slots=True)
class Survey:
    """What a node accepted on one association."""

    echoed: bool
    """It answered C-ECHO with Success."""
    takes: Mapping[str, frozenset[str]]
    """Transfer Syntax UIDs by SOP Class UID, for each class that it takes in any that was proposed."""

    def takes_ours(self, sop_class_uid: str) -> bool:
        """Whether it takes a class in Explicit VR Little Endian, in which our objects are."""
        return str(ExplicitVRLittleEndian) in self.takes.get(sop_class_uid, frozenset())


def survey(node: Node, calling_aet: str, sop_class_uids: Sequence[str], timeout_seconds: float = 10) -> Survey:
    """Propose Verification and each SOP Class in each uncompressed little endian syntax, on one association.

    A presentation context for each pair (PS3.8 9.3.2.2), so that every answer is about one. Raises Unreachable;
    Refused where it rejects the association.
    """
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    pairs = [build_context(uid, syntax) for uid in dict.fromkeys(sop_class_uids) for syntax in syntaxes]
    takes: dict[str, set[str]] = {}
    with associated(node, calling_aet, [build_context(Verification), *pairs], timeout_seconds) as association:
        for context in association.accepted_contexts:
            takes.setdefault(str(context.abstract_syntax), set()).add(str(context.transfer_syntax[0]))
        verifies = takes.pop(str(Verification), None) is not None
        echoed = verifies and association.send_c_echo().get("Status") == 0x0000
    return Survey(echoed, {uid: frozenset(syntaxes) for uid, syntaxes in takes.items()})


# ── DICOMweb ────────────────────────────────────────────────────────────────────────────────────────────────


def search_status(
    url: str, study_uid: str, timeout_seconds: float = 10, authorization: Path | None = None, ca: Path | None = None
) -> int:
    """The HTTP status with which a DICOMweb service answers a search for one study (QIDO-RS, PS3.18 10.6).

    What it found is not read. Raises Refused and Unreachable as `stow.store`.
    """
    client = web_client(url, "application/dicom+json", timeout_seconds, authorization, ca)
    query = {"StudyInstanceUID": study_uid, "limit": "1"}
    try:
        with client, client.stream("GET", f"{url.rstrip('/')}/studies", params=query) as answer:
            return answer.status_code
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Refused(named_url(url), None, f"`url` in site.toml is no address of HTTP: {error}") from error
    except httpx.RequestError as error:
        raise Unreachable(f"{named_url(url)}: {cause(error)}") from error


def certificate_days(url: str, timeout_seconds: float = 10, ca: Path | None = None) -> float:
    """In how many days the TLS certificate of a service ends; negative where it has.

    Raises Unreachable where no connection is to be had or the certificate is not trusted, OSError where `ca` cannot
    be read.
    """
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    host, port = parts.hostname or "", parts.port or 443
    try:
        with (
            socket.create_connection((host, port), timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            certificate = connection.getpeercert() or {}
    except OSError as error:
        raise Unreachable(f"{named_url(url)}: {getattr(error, 'verify_message', '') or error}") from error
    return days_until(str(certificate["notAfter"]))


def trusted_days(ca: Path) -> list[float]:
    """In how many days each authority in a file of certificates (PEM) ends; OSError where it cannot be read."""
    context = ssl.create_default_context(cafile=ca)
    return [days_until(str(each["notAfter"])) for each in context.get_ca_certs()]


def days_until(not_after: str) -> float:
    """Days from now until the end of a certificate, as OpenSSL writes it."""
    return (ssl.cert_time_to_seconds(not_after) - time.time()) / 86400
