"""What the doctor sees of a DICOMweb service with one thing planted that is wrong, and what it advises."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.destination import Destination
from service.doctor import web_nodes
from service.doctor.seen import Level
from tests.dicom_nodes.dicomweb import certificate
from tests.service.doctor.ground import ground, only, wrong


@pytest.mark.parametrize(
    ("status", "level", "advice"),
    [
        (200, Level.OK, ""),
        (204, Level.OK, ""),
        (401, Level.BAD, "authorization"),
        (302, Level.BAD, "url"),
        (404, Level.WARNING, "url"),
        (503, Level.BAD, "log"),
    ],
)
def test_a_dicomweb_service_is_judged_by_its_answer_to_a_search(
    tmp_path: Path, status: int, level: Level, advice: str
) -> None:
    with searched(status) as (url, asked):
        target = Destination(name="web", kind="stow", url=url)
        (seen,) = web_nodes.web_destination(ground(tmp_path), target)
    assert seen.level is level and advice in seen.advice
    assert "limit=1" in asked[0] and "StudyInstanceUID=" in asked[0]


def test_a_certificate_that_ends_soon_is_a_warning_and_an_untrusted_one_bad(tmp_path: Path) -> None:
    both = certificate(tmp_path)
    at = ground(tmp_path)
    with searched(200, both) as (url, _):
        target = Destination(name="web", kind="stow", url=url, ca="certificate.pem")
        found = wrong(web_nodes.web_destination(at, target))
        assert [each.level for each in found] == [Level.WARNING, Level.WARNING]
        assert "ends in 2 days" in found[0].saw and "Renew it" in found[0].advice
        untrusted = only(web_nodes.web_destination(at, target.model_copy(update={"ca": ""})))
    assert untrusted.level is Level.BAD and "`ca` in site.toml" in untrusted.saw


@contextmanager
def searched(status: int, both: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """A service that answers every search so, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not trust us is part of the play."""

    server = Server(("127.0.0.1", 0), Handler)
    if both is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if both else ''}://127.0.0.1:{server.server_address[1]}/dicom-web", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
