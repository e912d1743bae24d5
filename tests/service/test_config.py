"""site.toml: what `init` writes is valid, and every mistake is named with file, line and key."""

import json
from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Node
from service.config import read_site
from service.site_template import site_toml

GOOD = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "192.0.2.10", 104),))


def write(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_what_init_writes_is_read_back_with_its_values(tmp_path: Path) -> None:
    site = read_site(write(tmp_path, GOOD))
    assert (site.receive.aet, site.receive.port) == ("SAGITTAL", 11112)
    assert site.destination[0].node == Node("PACS", "192.0.2.10", 104)
    assert site.folder == tmp_path / "data"
    assert site.ledger_url == f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite'}"


def test_two_destinations_with_one_ae_title_get_two_names(tmp_path: Path) -> None:
    nodes = (Node("PACS", "192.0.2.10", 104), Node("PACS", "192.0.2.11", 104))
    site = read_site(write(tmp_path, site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, nodes)))
    assert [d.name for d in site.destination] == ["pacs-1", "pacs-2"]


@pytest.mark.parametrize(
    ("wrong", "line_of", "says"),
    [
        ('quiet_second = 5.0', "quiet_second", "quiet_second: .*known"),
        ("quiet_seconds = -1", "quiet_seconds", "greater than 0"),
        ('quiet_seconds = "soon"', "quiet_seconds", "valid number"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, wrong: str, line_of: str, says: str) -> None:
    path = write(tmp_path, GOOD.replace("quiet_seconds = 5.0", wrong))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith(line_of))
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_site(path)
    assert str(caught.value).startswith(f"{path}, line {line}: assembly.")


@pytest.mark.parametrize("aet", ["", "SEVENTEEN_LETTERS", "BACK\\\\SLASH", " SPACE"])
def test_an_ae_title_that_dicom_does_not_allow_is_refused(tmp_path: Path, aet: str) -> None:
    with pytest.raises(ConfigurationError, match=r"receive\.aet"):
        read_site(write(tmp_path, GOOD.replace('"SAGITTAL"', f'"{aet}"')))


def test_a_site_without_a_destination_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="destination"):
        read_site(write(tmp_path, '[receive]\naet = "SAGITTAL"\n'))


def test_two_destinations_of_one_name_are_refused(tmp_path: Path) -> None:
    second = '\n[[destination]]\nname = "pacs"\naet = "OTHER"\nhost = "192.0.2.11"\nport = 104\n'
    with pytest.raises(ConfigurationError, match="pacs"):
        read_site(write(tmp_path, GOOD + second))


def test_a_missing_file_and_broken_toml_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_site(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="line 1"):
        read_site(write(tmp_path, "[receive\n"))


@pytest.mark.parametrize("outputs", [["sr"], ["sr", "text"], ["seg", "seg"], ["pdf"], []])
def test_outputs_that_cannot_be_are_refused(tmp_path: Path, outputs: list[str]) -> None:
    path = write(tmp_path, GOOD.replace('aet = "PACS"', f'aet = "PACS"\noutputs = {json.dumps(outputs)}'))
    with pytest.raises(ConfigurationError, match="outputs"):
        read_site(path)
