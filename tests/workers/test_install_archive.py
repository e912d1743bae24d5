"""Archives that are not what they say: nothing is written outside, and nothing is taken from them."""

import os
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from dicom_nodes.errors import ModelUnusable
from service.modelstore import ModelStore
from tests.workers.trained import submodel, write_model, zipped
from workers.install import archive
from workers.install.installing import install


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A zip that can be installed."""
    return zipped(write_model(tmp_path / "plain"), tmp_path / "published.zip")


def refused(source: Path, store: ModelStore, because: str) -> None:
    with pytest.raises(ModelUnusable, match=because):
        install(source, store, (submodel(),))
    assert store.installed() == ()
    assert [path for path in store.folder.rglob("*") if path.name != ".lock"] == []


def add(file: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    entry = zipfile.ZipInfo("placeholder")
    entry.filename = name
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr(entry, content)
    return file


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/../../outside", "/etc/outside", "C:/outside", "c:outside", "a\\..\\outside", "..", "a/.."],
)
def test_an_entry_that_would_leave_the_folder_condemns_the_archive(
    tmp_path: Path, good: Path, store: ModelStore, name: str
) -> None:
    refused(add(good, name), store, "would leave the folder")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_link_or_device_in_a_zip_condemns_it(good: Path, store: ModelStore, kind: int) -> None:
    refused(add(good, "fold_1/checkpoint_final.pth", b"/etc/passwd", kind | 0o777), store, "is a link or a device")


def test_a_link_or_a_pipe_in_a_folder_condemns_it(tmp_path: Path, store: ModelStore) -> None:
    plain = write_model(tmp_path / "linked")
    (plain / "dataset.json").rename(tmp_path / "elsewhere.json")
    (plain / "dataset.json").symlink_to(tmp_path / "elsewhere.json")
    refused(plain, store, r"dataset\.json: is a link")
    (plain / "dataset.json").unlink()
    os.mkfifo(plain / "dataset.json")
    refused(plain, store, r"dataset\.json: is no plain file")
    (plain / "dataset.json").unlink()
    (plain / "fold_1").symlink_to(plain / "fold_0")
    refused(plain, store, "fold_1: is a link")


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.999])
def test_a_zip_that_was_cut_off_is_refused(good: Path, store: ModelStore, part: float) -> None:
    content = good.read_bytes()
    good.write_bytes(content[: int(len(content) * part)])
    refused(good, store, "is no zip, or was cut off")


def test_something_else_than_a_zip_is_refused(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    refused(tmp_path / "model.tar.gz", store, "unpack it and name the folder")


def test_a_byte_that_changed_on_the_way_is_found(good: Path, store: ModelStore) -> None:
    with zipfile.ZipFile(good) as opened:
        entry = opened.getinfo("fold_0/checkpoint_final.pth")
        middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    content = bytearray(good.read_bytes())
    content[middle] ^= 0xFF
    good.write_bytes(content)
    refused(good, store, r"checkpoint_final\.pth cannot be unpacked .*download the archive again")


def test_an_encrypted_zip_is_refused(good: Path, store: ModelStore) -> None:
    content = bytearray(good.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(signature)
        flags = struct.unpack_from("<H", content, at + offset)[0]
        struct.pack_into("<H", content, at + offset, flags | 1)
    good.write_bytes(content)
    refused(good, store, "is encrypted")


def test_the_same_entry_twice_is_refused(good: Path, store: ModelStore) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        add(good, "plans.json", b"{}")
    refused(good, store, r"holds plans\.json twice")


def test_an_entry_that_shrinks_a_thousandfold_is_a_bomb(tmp_path: Path, good: Path, store: ModelStore) -> None:
    refused(add(good, "fold_1/checkpoint_final.pth", bytes(50 << 20)), store, "that is no model")


def test_an_archive_with_too_many_entries_is_refused(
    good: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_ENTRIES", 2)
    refused(good, store, "more than 2 entries")
    refused(good.with_name("plain"), store, "more than 2 files")


def test_more_than_the_disk_has_room_for_is_refused_before_anything_is_unpacked(
    good: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SPARE_BYTES", 1 << 60)
    refused(good, store, r"MiB are needed to install this, .* are free")


def test_an_entry_that_is_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    """The size in the directory is what the room on the disk was reckoned with."""
    file = tmp_path / "lying.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("plans.json", os.urandom(5000))
    content = bytearray(file.read_bytes())
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 24, 100)
    file.write_bytes(content)
    (tmp_path / "out").mkdir()
    with archive.opened(file) as opened_archive, pytest.raises(ModelUnusable, match="cannot be unpacked"):
        opened_archive.fetch([PurePosixPath("plans.json")], tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 100
