"""What the doctor sees of the machine with one thing planted that is wrong, and what it advises."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from service.doctor import machine
from service.doctor.seen import Level
from tests.service.doctor.ground import ground, only, wrong


def test_a_folder_is_tried_as_instances_are_written_and_nothing_of_the_trial_stays(tmp_path: Path) -> None:
    at = ground(tmp_path)
    for folder in (at.site.incoming, at.site.jobs):
        folder.mkdir(parents=True)
    assert not wrong(machine.folders(at))
    assert not [each for each in at.site.folder.rglob("*") if each.is_file()]


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="no file system here that nobody may write")
def test_a_folder_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    seen = only(machine.folders(ground(tmp_path, folder='"/proc/sys"')))
    assert seen.level is Level.BAD
    assert "cannot be written" in seen.saw and "Let user" in seen.advice


@pytest.mark.parametrize(
    ("kind", "ledger", "level"),
    [
        ("ext4", "", Level.OK),
        ("nfs4", "postgresql+psycopg://sagittal@db/sagittal", Level.WARNING),
        ("nfs4", "", Level.BAD),
        ("tmpfs", "", Level.BAD),
        ("overlay", "", Level.WARNING),
    ],
)
def test_the_kind_of_file_system_is_judged(tmp_path: Path, kind: str, ledger: str, level: Level) -> None:
    at = ground(tmp_path, ledger=f'"{ledger}"')
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:2 / {tmp_path} rw shared:1 - {kind} server:/export rw\n"
        f"3 1 0:3 / {tmp_path}-other rw - xfs /dev/sdb rw\n"
    )
    seen = list(machine.file_system(at, table))
    assert max(each.level for each in seen) is level
    wrong(seen)


def test_a_volume_with_less_free_than_the_marks_is_bad_and_says_what_senders_are_told(tmp_path: Path) -> None:
    disk = (
        "\n[disk]\nstop_free_percent = 99.7\nresume_free_percent = 99.8\nwarn_free_percent = 99.9\n"
        "stop_free_gb = 9e8\nresume_free_gb = 9.1e8\nwarn_free_gb = 9.2e8\n"
    )
    found = wrong(machine.space(ground(tmp_path, disk)))
    assert found and found[0].level is Level.BAD
    assert "A700" in found[0].saw and "sagittal storage" in found[0].advice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_the_doctor_says_when_it_asks_as_another_user_than_the_folders(tmp_path: Path) -> None:
    at = ground(tmp_path)
    at.site.folder.mkdir()
    assert "runs as root" in only(machine.user(at)).saw
    os.chown(at.site.folder, 1234, 1234)
    assert "user 1234" in only(machine.user(at)).saw


def test_too_few_open_files_for_the_associations_are_a_warning(tmp_path: Path) -> None:
    at = ground(tmp_path)
    receive = at.site.receive.model_copy(update={"max_associations": 10**9})
    many = replace(at, site=at.site.model_copy(update={"receive": receive}))
    assert "LimitNOFILE" in only(machine.open_files(many)).advice
    assert not wrong(machine.open_files(at))
