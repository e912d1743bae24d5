"""What several of the circle's tests deliver to."""

from collections.abc import Iterator

import pytest

from tests.circle.site import Archive, archive


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive that the tests of one module share."""
    with archive(tmp_path_factory.mktemp("pacs")) as running:
        yield running
