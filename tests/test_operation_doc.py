"""docs/operation.md names commands, options and keys that there are, and times that the code keeps."""

import re
import shlex
from pathlib import Path

import click
import pytest

from dicom_nodes.ending import ABORT_SECONDS, CLOSE_SECONDS, GRACE_SECONDS
from dicom_nodes.negotiation import ScpSettings
from service.attempts import SETBACKS_UNTIL_LAST
from service.cli import main
from service.config import Site
from service.deletion import ROUND_SECONDS
from service.doctor.parts import DEAD_LEASE_SECONDS
from service.doctor.stores import CLOCKS_APART_SECONDS
from service.later import LaterCommand
from service.leaps import AWAY_SECONDS, EVEN_SECONDS, LEAP_SECONDS
from service.ledger_rests import FAILURES_BEFORE_REST
from service.pull import Pace
from service.receiver import LAST_SECONDS
from service.removal import RECENT_SECONDS
from service.up import LEEWAY_SECONDS, LONGEST_PAUSE_SECONDS
from workers.stopping import LEAVE_SECONDS

TEXT = (Path(__file__).parents[1] / "docs" / "operation.md").read_text(encoding="utf-8")
ONE_LINE = " ".join(TEXT.split())
COMMANDS = dict.fromkeys(
    [*re.findall(r"^    (sagittal [^#\n]+)", TEXT, re.M), *re.findall(r"`(sagittal [^`]+)`", TEXT)]
)


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and what is left of them."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
        command = command.load() if isinstance(command, LaterCommand) else command
    return command, words


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one_with_these_options(line: str) -> None:
    command, words = command_of(shlex.split(line)[1:])
    assert not isinstance(command, click.Group), line
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_key_that_is_named_is_one_of_site_toml() -> None:
    named = set(re.findall(r"`(\w+_\w+)`", TEXT))
    tables = [
        kind for field in Site.model_fields.values() for kind in [field.annotation, *_inside(field.annotation)]
    ]
    keys = {key for table in tables for key in getattr(table, "model_fields", {})}
    assert named and named <= keys


def _inside(annotation: object) -> list[object]:
    return [*getattr(annotation, "__args__", ())]


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"After {ScpSettings('A', '', 0).idle_timeout_seconds:.0f} s without a byte" in TEXT
    assert f"up to {LONGEST_PAUSE_SECONDS:.0f} s, where it dies" in TEXT
    assert f"gone after `stop_seconds` and {LEAVE_SECONDS:.0f} s more" in ONE_LINE
    assert f"brought instances {GRACE_SECONDS:.0f} s to come to their end" in ONE_LINE
    assert f"within {ABORT_SECONDS + CLOSE_SECONDS:.0f} s more, however many" in ONE_LINE
    assert GRACE_SECONDS + ABORT_SECONDS + 2 * CLOSE_SECONDS + LAST_SECONDS < LEEWAY_SECONDS
    assert f"sent by another worker {2 * LEAVE_SECONDS:.0f} s later" in ONE_LINE
    assert f"leaps ahead by more than {LEAP_SECONDS / 60:.0f} minutes" in ONE_LINE
    assert (AWAY_SECONDS, EVEN_SECONDS) == (7 * 86400.0, 86400.0)
    assert f"from {DEAD_LEASE_SECONDS / 60:.0f} min on, of a worker that is behind" in ONE_LINE
    assert f"longer than `stop_seconds` and {LEEWAY_SECONDS:.0f} s." in ONE_LINE
    assert f"`sagittal doctor` warns from {CLOCKS_APART_SECONDS:.0f} s on" in TEXT
    assert f"more than {Pace().pause_above} jobs and series wait (`--pause-above`)" in TEXT
    assert (SETBACKS_UNTIL_LAST, FAILURES_BEFORE_REST) == (2, 3)
    assert "After two such losses" in TEXT and "After three failures in a row" in TEXT
    assert (ROUND_SECONDS, RECENT_SECONDS) == (300.0, 3600.0)
    assert "Every five minutes" in TEXT and "within the last hour" in TEXT
