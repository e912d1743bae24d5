"""What the doctor sees of the whole site with one thing planted that is wrong, and what it advises."""

import json
import socket
import threading
import time
from pathlib import Path

from click.testing import CliRunner

from service.cli import main
from service.doctor.checks import CHECKS, ask_all, checks_of, examine
from service.doctor.seen import Check, Ground, Level, Seen, ok
from service.doctor_cli import lines
from tests.service.doctor.ground import ground, wrong


def test_a_site_of_which_nothing_answers_is_told_in_time(tmp_path: Path) -> None:
    """Every node is a socket that takes connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        port = silent.getsockname()[1]
        target = f'\n[query]\naet = "Q"\nhost = "127.0.0.1"\nport = {port}\n'
        target += f'\n[[destination]]\nname = "web"\nkind = "stow"\nurl = "https://127.0.0.1:{port}/dicom-web"\n'
        at = ground(tmp_path, target, port, redis=f'"redis://127.0.0.1:{port}/0"')
        began = time.monotonic()
        examined = examine(at.site_file, skip=["models"])
    assert time.monotonic() - began < 17
    levels = {each.name: each.level for each in examined}
    names = ("redis", "receiver", "web", "workers", "query node", "destination pacs", "destination web")
    assert {name: levels[name] for name in names} == dict.fromkeys(names, Level.BAD)


def test_a_check_that_hangs_or_breaks_stops_no_other(tmp_path: Path) -> None:
    over = threading.Event()

    def hangs(_: Ground) -> list[Seen]:
        over.wait(10)
        return []

    def breaks(_: Ground) -> list[Seen]:
        raise ValueError("a fault")

    checks = [Check("a", "parts", hangs), Check("b", "parts", breaks), Check("c", "parts", lambda _: [ok("well")])]
    hung, broken, well = ask_all(checks, ground(tmp_path), seconds=1.0)
    over.set()
    assert hung.level is Level.WARNING and "no answer" in hung.seen[0].saw
    assert broken.level is Level.BAD and "a fault" in broken.seen[0].saw
    assert well.seen == (ok("well"),)


def test_a_wrong_site_file_is_the_one_thing_that_is_told(tmp_path: Path) -> None:
    at = ground(tmp_path)
    at.site_file.write_text(at.site_file.read_text().replace("quiet_seconds", "quit_seconds"))
    done = CliRunner().invoke(main, ["doctor", "--site", str(at.site_file)])
    assert done.exit_code == 1
    assert "quit_seconds" in done.output and "1 bad" in done.output


def test_groups_are_skipped_and_every_destination_has_a_check(tmp_path: Path) -> None:
    site = ground(tmp_path).site
    assert [each.name for each in checks_of(site)][len(CHECKS) :] == ["destination pacs"]
    assert not [each for each in checks_of(site, ["nodes"]) if each.group == "nodes"]
    skip = [word for group in ("stores", "parts", "models", "nodes") for word in ("--skip", group)]
    said = CliRunner().invoke(main, ["doctor", "--json", "--site", str(site.home / "site.toml"), *skip])
    assert [each["check"] for each in json.loads(said.output)["checks"]][:2] == ["site", "folder"]


def test_a_well_site_is_a_line_a_check_and_verbose_a_line_for_all_that_was_seen(tmp_path: Path) -> None:
    skip = ["stores", "parts", "models", "nodes"]
    examined = examine(ground(tmp_path).site_file, skip)
    plain = list(lines(examined, verbose=False))
    assert sum(not line.startswith(" ") for line in plain) == sum(
        max(1, len(wrong(each.seen))) for each in examined
    )
    assert len(list(lines(examined, verbose=True))) >= len(plain)
    assert all(len(line) < 130 for line in plain)
