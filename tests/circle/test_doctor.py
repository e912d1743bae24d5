"""`sagittal doctor` beside a whole site that runs, with a real archive."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_nodes.types import Node
from tests.circle.site import running_site, wait_until
from tests.conftest import free_port
from tests.ledgers import on_postgresql
from tests.orthanc.server import missing, orthanc
from tests.postgresql import postgresql

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not here: {missing()}")
OF_THE_MACHINE = {"user", "file system", "free space", "clock", "open files"}
"""What a test run cannot decide."""


@pytest.fixture
def ledger() -> Iterator[dict[str, str]]:
    """Where a healthy site has it: on a PostgreSQL that flushes, which that of the other tests does not."""
    if not on_postgresql():
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder), free_port(), flushes=True) as server:
        yield {"ledger": f'"{server.url()}"'}


def test_a_healthy_site_is_well_and_a_test_object_is_stored_where_it_is_asked_for(
    tmp_path: Path, ledger: dict[str, str]
) -> None:
    port = free_port()
    with orthanc(tmp_path / "orthanc", {"sagittal": Node("SAGITTAL", "127.0.0.1", port)}) as server:
        query = f'\n[query]\naet = "{server.aet}"\nhost = "127.0.0.1"\nport = {server.dicom_port}\n'
        device = {"device": '"cpu"', "outputs": '["seg", "sr", "text", "sheet"]'}
        with running_site(tmp_path / "site", [server.node], query, port=port, **device, **ledger) as site:
            said = wait_until(lambda: _when_all_run(site.site_file), 120)
            again = doctor(site.site_file, "--store-test-object")
        levels = {each["check"]: each["level"] for each in said["checks"] if each["check"] not in OF_THE_MACHINE}
        assert levels.pop("models") == "warning", "phantom weights are not for clinical use"
        assert set(levels.values()) == {"ok"}, said
        stored = server.get("instances")
        assert len(stored) == 1, again
        tags = server.get(f"instances/{stored[0]}/simplified-tags")
        assert (tags["PatientID"], tags["Modality"]) == ("SAGITTAL^DOCTOR", "SEG")
        (destination,) = (each for each in again["checks"] if each["check"] == "destination orthanc")
        told = " ".join(seen["saw"] for seen in destination["seen"])
        assert "stays there" in told and tags["StudyInstanceUID"] in told
        assert "commit" in told


def _when_all_run(site_file: Path) -> dict | None:
    """What is seen once the workers have come up."""
    said = doctor(site_file)
    seen = {each["check"]: each["level"] for each in said["checks"]}
    return said if seen["workers"] == seen["web"] == "ok" else None


def doctor(site_file: Path, *arguments: str) -> dict:
    command = [sys.executable, "-m", "service", "doctor", "--json", "--site", str(site_file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert done.returncode == (1 if said["level"] == "bad" else 0)
    return said
