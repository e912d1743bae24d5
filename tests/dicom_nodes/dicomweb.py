"""A DICOMweb service as a stand-in that answers Store and Retrieve as it is told, over real sockets."""

import json
import re
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

JSON, XML, HTML = "application/dicom+json", "application/dicom+xml", "text/html"


@dataclass(frozen=True)
class Request:
    """What came in one request."""

    path: str
    headers: Mapping[str, str]
    part: bytes
    """The one Part 10 file in it."""

    @property
    def uid(self) -> str:
        return str(dcmread(DicomBytesIO(self.part), stop_before_pixels=True).SOPInstanceUID)


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int = 200
    content: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    reads_bytes: int | None = None
    """How much of the body is read before the connection is closed; None for all of it."""
    breaks: bool = False
    """Close the connection without an answer, or, with content, in the midst of it."""


Responder = Callable[[Request], Answer]


def module(
    stored: Mapping[str, int | None] | None = None, failed: Mapping[str, int | None] | None = None
) -> Dataset:
    """A Store Instances Response Module: UIDs with their WarningReason or FailureReason."""
    answer = Dataset()
    answer.RetrieveURL = "https://archive/studies/1"
    sequences = (("ReferencedSOPSequence", stored, "WarningReason"), ("FailedSOPSequence", failed, "FailureReason"))
    for keyword, uids, reason_keyword in sequences:
        items = []
        for uid, reason in (uids or {}).items():
            items.append(Dataset())
            if uid:
                items[-1].ReferencedSOPInstanceUID = uid
            if reason is not None:
                setattr(items[-1], reason_keyword, reason)
        if items:
            setattr(answer, keyword, items)
    return answer


def in_json(answer: Dataset) -> bytes:
    return answer.to_json().encode()


def in_xml(answer: Dataset, namespace: str = ' xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"') -> bytes:
    """The Native DICOM Model (PS3.19 A.1) of a data set."""

    def attributes(node: Mapping[str, Any]) -> str:
        return "".join(
            f'<DicomAttribute tag="{tag}" vr="{each["vr"]}">{"".join(map(value, each.get("Value", ())))}'
            "</DicomAttribute>"
            for tag, each in node.items()
        )

    def value(content: Any) -> str:
        if isinstance(content, dict):
            return f'<Item number="1">{attributes(content)}</Item>'
        return f'<Value number="1">{content}</Value>'

    inner = attributes(json.loads(answer.to_json()))
    return f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel{namespace}>{inner}</NativeDicomModel>'.encode()


def all_stored(request: Request) -> Answer:
    return Answer(content=in_json(module(stored={request.uid: None})))


@dataclass
class Service:
    """A running stand-in."""

    url: str = ""
    answer: Responder = all_stored
    received: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    """Set when it stops; what answers slowly waits for it."""


@contextmanager
def dicomweb(
    answer: Responder | Answer = all_stored, certificate: Path | None = None, port: int = 0
) -> Iterator[Service]:
    """A service that answers so; with a certificate (and its key in the same file), by TLS."""
    service = Service(answer=(lambda _: answer) if isinstance(answer, Answer) else answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:
            expected = int(self.headers["Content-Length"])
            early = service.answer(Request(self.path, dict(self.headers), b"")) if _is_blind(service) else None
            if early is not None and early.reads_bytes is not None:
                left = min(early.reads_bytes, expected)
                while left and (block := self.rfile.read(min(left, 64 << 10))):
                    left -= len(block)
            else:
                body = self.rfile.read(expected)
                service.received.append(Request(self.path, dict(self.headers), _part(dict(self.headers), body)))
            self._reply(early or service.answer(service.received[-1]))

        def do_GET(self) -> None:
            service.received.append(Request(self.path, dict(self.headers), b""))
            self._reply(service.answer(service.received[-1]))

        def _reply(self, reply: Answer) -> None:
            if reply.breaks and not reply.content:
                self._reset()
                return
            self.send_response(reply.status)
            for name, content in reply.headers.items():
                self.send_header(name, content)
            self.send_header("Content-Type", reply.media_type)
            self.send_header("Content-Length", str(len(reply.content) + 10 * reply.breaks))
            self.end_headers()
            self.wfile.write(reply.content)
            self.close_connection = reply.breaks or reply.reads_bytes is not None

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is part of the play."""

    server = Server(("127.0.0.1", port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    service.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield service
    finally:
        service.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _is_blind(service: Service) -> bool:
    """Whether the answer does not depend on the request, so that it can be given before that is read."""
    return getattr(service.answer, "__name__", "") == "<lambda>"


def _part(headers: Mapping[str, str], body: bytes) -> bytes:
    boundary = re.fullmatch(
        r'multipart/related; type="application/dicom"; boundary=([0-9a-f]+)', headers["Content-Type"]
    )
    assert boundary is not None, headers["Content-Type"]
    mark = b"--" + boundary[1].encode()
    opening, closing = mark + b"\r\nContent-Type: application/dicom\r\n\r\n", b"\r\n" + mark + b"--\r\n"
    assert body.startswith(opening) and body.endswith(closing)
    return body[len(opening) : -len(closing)]


def certificate(folder: Path, name: str = "127.0.0.1") -> Path:
    """A self-signed certificate and its key in one file, made by openssl."""
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    kind = "IP" if name[0].isdigit() else "DNS"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}", "-days", "2"]
    subprocess.run([*command, *subject, "-keyout", key, "-out", made], check=True, capture_output=True)
    both = folder / "server.pem"
    both.write_bytes(key.read_bytes() + made.read_bytes())
    return both
