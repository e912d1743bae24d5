"""The container files without a container engine: they fit each other, the example site and the CLI."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml  # type: ignore[import-untyped]  # ships no type information
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SegmentationStorage, generate_uid
from pynetdicom import AE, evt

from dicom_nodes.types import Node
from service.cli import main
from service.config import Site, read_site
from tests.orthanc.server import missing, orthanc

ROOT = Path(__file__).parents[1]
OURS = ("receiver", "worker-inference", "worker-results", "web")

SERVICE_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init"),
    *("networks", "ports", "profiles", "restart", "security_opt", "stop_grace_period", "volumes"),
}
"""The keys of a service in the Compose Specification that this file uses; a new one is looked up there first."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


@pytest.fixture(scope="module")
def site() -> Site:
    return read_site(ROOT / "deploy" / "site" / "site.toml")


@pytest.fixture(scope="module")
def orthanc_settings() -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((ROOT / "deploy" / "orthanc" / "orthanc.json").read_text())
    return settings


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, continuation lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(instruction, rest) for instruction, rest in lines]


def parse(arguments: list[str]) -> dict[str, Any]:
    """The options of a command as the CLI understands them; raises click's UsageError where it does not."""
    command = main.commands[arguments[0]]
    return command.make_context(arguments[0], arguments[1:]).params


def test_compose_uses_only_keys_of_the_specification(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {"services", "networks", "volumes"}
    for service in compose["services"].values():
        assert set(service) <= SERVICE_KEYS


def test_everything_that_compose_refers_to_exists(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            check = services[needed].get("healthcheck", {})
            assert how["condition"] == "service_started" or (check.get("test") and not check.get("disable")), name
        for network in service.get("networks", []):
            assert network == "default" or network in compose["networks"]
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"]
    used = {v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if not v.startswith(".")}
    assert used == set(compose["volumes"])


@pytest.mark.parametrize("client", [("docker", "compose"), ("docker-compose",)], ids=" ".join)
def test_the_compose_client_accepts_the_file(client: tuple[str, ...]) -> None:
    if shutil.which(client[0]) is None or subprocess.run([*client, "version"], capture_output=True).returncode:
        pytest.skip(f"no `{' '.join(client)}` on this machine")
    command = [*client, "--file", str(ROOT / "compose.yaml"), "--profile", "try", "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_commands_in_the_containers_are_those_of_the_cli(compose: dict[str, Any]) -> None:
    parsed = {name: parse(compose["services"][name]["command"]) for name in OURS}
    assert {str(params["site_file"]) for params in parsed.values()} == {"/etc/sagittal/site.toml"}
    assert [parsed[name]["role"] for name in OURS if "role" in parsed[name]] == ["inference", "results"]
    with pytest.raises(click.UsageError):
        parse(["worker", "--role", "nonsense"])


def test_the_example_site_fits_the_containers(compose: dict[str, Any], site: Site) -> None:
    services = compose["services"]
    redis, ledger = urlsplit(site.storage.redis), urlsplit(site.storage.ledger)
    assert redis.hostname in services and ledger.hostname in services
    postgres = services[ledger.hostname]["environment"]
    assert (ledger.username, ledger.path[1:]) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    assert ledger.password is None and redis.password is None
    assert {destination.host for destination in site.destination} <= set(services)
    assert f"{site.receive.port}:{site.receive.port}" in services["receiver"]["ports"]
    assert services["web"]["ports"] == [f"127.0.0.1:{site.web.port}:{site.web.port}"]
    assert site.receive.host == site.web.host == "0.0.0.0"
    for name in OURS:
        assert f"data:{site.folder}" in services[name]["volumes"]
        assert services[name]["environment"]["PGPASSWORD"] == postgres["POSTGRES_PASSWORD"]
        assert {"backend"} <= set(services[name]["networks"])


def test_only_the_receiver_is_published_beyond_this_machine(compose: dict[str, Any]) -> None:
    published = {
        (name, port)
        for name, service in compose["services"].items()
        for port in service.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert published == {("receiver", "11112:11112")}
    assert compose["networks"]["backend"] == {"internal": True}
    assert compose["services"]["worker-inference"]["networks"] == ["backend"]


def test_orthanc_and_the_example_site_know_each_other(site: Site, orthanc_settings: dict[str, Any]) -> None:
    receive, (destination,) = site.receive, site.destination
    assert orthanc_settings["DicomModalities"] == {"sagittal": [receive.aet, "receiver", receive.port]}
    assert (orthanc_settings["DicomAet"], orthanc_settings["DicomPort"]) == (destination.aet, destination.port)
    assert orthanc_settings["OverwriteInstances"]  # a result that is sent again is the same result


def test_the_viewer_asks_where_the_archive_answers(orthanc_settings: dict[str, Any]) -> None:
    viewer = (ROOT / "deploy" / "ohif" / "app-config.js").read_text()
    roots = dict(re.findall(r"(wadoUriRoot|qidoRoot|wadoRoot): '([^']+)'", viewer))
    web = orthanc_settings["DicomWeb"]
    assert roots == {
        "wadoUriRoot": web["WadoRoot"], "qidoRoot": web["Root"].rstrip("/"), "wadoRoot": web["Root"].rstrip("/"),
    }  # fmt: skip
    nginx = (ROOT / "deploy" / "ohif" / "nginx.conf").read_text()
    location = re.search(r"location ~ (\S+) \{\s*proxy_pass (\S+);", nginx)
    assert location is not None and location[2] == f"http://orthanc:{orthanc_settings['HttpPort']}"
    assert all(re.search(location[1], path) for path in (*roots.values(), "/dicom-web/studies", "/wado?x=1"[:5]))
    assert not re.search(location[1], "/viewer")


def test_the_image_copies_what_exists_and_what_the_context_lets_in() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    sources = [part for how, rest in dockerfile() if how == "COPY" for part in rest.split()[:-1]]
    assert sorted(sources) == sorted(let_in)
    for source in sources:
        assert (ROOT / source).exists()
    # Whatever the build reads beside the packages has to be there too.
    project = (ROOT / "pyproject.toml").read_text()
    for named in re.findall(r'^(?:readme|license-files) = \[?"([^"]+)"', project, re.M):
        assert any(fnmatch.fnmatch(source, named) for source in sources)


def test_the_image_installs_in_one_command_and_runs_as_nobody_special() -> None:
    steps = dockerfile()
    installs = [rest for how, rest in steps if how == "RUN" and "pip install" in rest]
    assert len(installs) == 1 and installs[0].count("pip install") == 1
    words = shlex.split(installs[0])
    assert words[words.index("-c") + 1] == "constraints.txt"
    extras = re.fullmatch(r"\.\[(\w+)\]", words[-1])
    assert extras is not None and f"\n{extras[1]} = [" in (ROOT / "pyproject.toml").read_text()
    last = dict(steps)
    assert last["USER"] == "sagittal"
    assert json.loads(last["ENTRYPOINT"]) == ["sagittal"]
    assert 'sagittal = "service.cli:main"' in (ROOT / "pyproject.toml").read_text()
    assert str(parse(json.loads(last["CMD"]))["site_file"]) == "/etc/sagittal/site.toml"


def image(sop_class_uid: str, modality: str) -> bytes:
    """A Part 10 file with just enough in it for an archive to store it."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, generate_uid()
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "PHANTOM", "2.25.1", generate_uid()
    dataset.Modality = modality
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = DicomBytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return bytes(file.getvalue())


@contextmanager
def storage_scp(received: list[str]) -> Iterator[int]:
    """A node that stores nothing and notes the SOP Class of what came; gives its port."""

    def note(event: Any) -> int:
        received.append(str(event.request.AffectedSOPClassUID))
        return 0x0000

    ae = AE("SAGITTAL")
    for sop_class in (MRImageStorage, SegmentationStorage):
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, note)])
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@pytest.mark.skipif(bool(missing()), reason=f"needs a real Orthanc: no {missing()}")
def test_a_real_orthanc_takes_the_settings_and_sends_on_the_images_but_not_the_results(
    tmp_path: Path, orthanc_settings: dict[str, Any]
) -> None:
    places = ("StorageDirectory", "IndexDirectory", "HttpPort", "DicomPort", "DicomModalities", "LuaScripts")
    settings = {key: value for key, value in orthanc_settings.items() if key not in places}
    settings |= {"StableAge": 1, "RemoteAccessAllowed": False}
    lua = (ROOT / "deploy" / "orthanc" / "autoroute.lua").read_text()
    received: list[str] = []
    with storage_scp(received) as port:
        known = {"sagittal": Node("SAGITTAL", "127.0.0.1", port)}
        with orthanc(tmp_path / "orthanc", known, lua, settings) as server:
            server.post("instances", image(SegmentationStorage, "SEG"))
            server.post("instances", image(MRImageStorage, "MR"))
            until = time.monotonic() + 30
            while not received and time.monotonic() < until:
                time.sleep(0.1)
            while not all(series["IsStable"] for series in server.get("series?expand")):
                assert time.monotonic() < until
                time.sleep(0.1)
            while any(job["State"] in ("Pending", "Running") for job in server.get("jobs?expand")):
                time.sleep(0.1)
    assert received == [MRImageStorage]
