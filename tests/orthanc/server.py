"""A real Orthanc for a test: a folder and its modalities in, a running server on loopback out.

    with orthanc(folder, modalities={"sagittal": Node("SAGITTAL", "127.0.0.1", port)}) as server:
        ... server.http_port, server.dicom_port, server.aet

Needs Debian's `orthanc` and a C compiler; `missing()` says what is absent.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_nodes.types import Node

AET = "ORTHANC"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_SHIM = Path(__file__).with_name("lobind.c")
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc."""

    aet: str
    http_port: int
    dicom_port: int
    process_id: int

    @property
    def node(self) -> Node:
        return Node(self.aet, "127.0.0.1", self.dicom_port)

    def url(self, path: str) -> str:
        """The address of a REST or `dicom-web/` path."""
        return f"http://127.0.0.1:{self.http_port}/{path.lstrip('/')}"

    def get(self, path: str) -> Any:
        """The JSON that a REST path answers with."""
        with urllib.request.urlopen(self.url(path), timeout=30) as answer:
            return json.load(answer)

    def get_bytes(self, path: str) -> bytes:
        """The bytes that a REST path answers with, as `instances/ID/file`."""
        with urllib.request.urlopen(self.url(path), timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def post(self, path: str, content: bytes | Mapping[str, Any]) -> Any:
        """The JSON that a POST answers with: bytes go as they are (`instances`), a mapping as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url(path), body), timeout=60) as answer:
            return json.load(answer)


def missing() -> str:
    """What this machine lacks to run Orthanc; empty if nothing."""
    return ", ".join(what for what in ("Orthanc", "gcc") if _found(what) is None)


def loopback_only(folder: Path) -> dict[str, str]:
    """An environment in which a C program that listens on every address listens on loopback instead."""
    library = folder / "lobind.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, _SHIM, "-ldl"], check=True)
    return os.environ | {"LD_PRELOAD": str(library)}


@contextmanager
def orthanc(
    folder: Path,
    modalities: Mapping[str, Node] | None = None,
    lua: str | None = None,
    settings: Mapping[str, Any] | None = None,
    aet: str = AET,
) -> Iterator[Orthanc]:
    """A running Orthanc with its database in `folder`, known `modalities`, a Lua script and further settings.

    RuntimeError with the log's end if it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, dicom_port = free_ports(2)
    configuration = _configuration(folder, http_port, dicom_port, aet, modalities or {}, lua) | dict(settings or {})
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration, indent=1))
    log = folder / "orthanc.log"
    environment = loopback_only(folder)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(_found("Orthanc")), str(path)], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        server = Orthanc(aet, http_port, dicom_port, process.pid)
        _wait_until_up(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _configuration(
    folder: Path, http_port: int, dicom_port: int, aet: str, modalities: Mapping[str, Node], lua: str | None
) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        "Name": aet,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": aet,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": True,
        "StableAge": 3,
        "DicomModalities": {name: [node.aet, node.host, node.port] for name, node in modalities.items()},
    }
    if DICOMWEB.exists():
        configuration |= {"Plugins": [str(DICOMWEB)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    if lua is not None:
        script = folder / "rules.lua"
        script.write_text(lua)
        configuration["LuaScripts"] = [str(script)]
    return configuration


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait_until_up(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            server.get("system")
            socket.create_connection(("127.0.0.1", server.dicom_port), timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")
