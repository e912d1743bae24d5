"""A site, its ledger's clock, and a client of its web pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dicom_nodes.types import Node
from service.config import Site, read_site
from service.ledger import Ledger
from service.site_template import site_toml
from service.web.server import make_app
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1_795_000_000.0)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    path = tmp_path / "site.toml"
    path.write_text(site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "192.0.2.10", 104),)))
    return read_site(path)


@pytest.fixture
def client(ledger: Ledger, site: Site) -> Iterator[TestClient]:
    with TestClient(make_app(ledger, site)) as client:
        yield client
