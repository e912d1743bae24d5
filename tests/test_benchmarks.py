"""The table of the benchmarks: what a ratio means, when a goal is met, and that somebody gives every row."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.parts import PARTS, WORK, of_no_part
from benchmarks.table import Compare, Missing, Row, lines, markdown, notes, plain, read

ROOT = Path(__file__).parents[1]


def row(compare: Compare, ours: float, theirs: float, goal: float | None) -> Row:
    others = () if compare is Compare.ALONE else (theirs * 0.9, theirs, theirs * 3)
    return Row(4, "work", "s", (ours * 2, ours, ours * 0.5), "peer", others, compare, goal)


@pytest.mark.parametrize(
    ("compare", "ours", "theirs", "goal", "ratio", "met"),
    [
        (Compare.RATE, 90.0, 100.0, 0.9, 0.9, True),
        (Compare.RATE, 89.0, 100.0, 0.9, 0.89, False),
        (Compare.TIME, 2.0, 6.0, 3.0, 3.0, True),
        (Compare.TIME, 2.1, 6.0, 3.0, 6.0 / 2.1, False),
        (Compare.SHARE, 1.0, 10.0, 0.1, 0.1, True),
        (Compare.SHARE, 1.1, 10.0, 0.1, 0.11, False),
        (Compare.ALONE, 150.0, 0.0, 150.0, 150.0, True),
        (Compare.ALONE, 151.0, 0.0, 150.0, 151.0, False),
        (Compare.TIME, 1.0, 1.0, None, 1.0, None),
    ],
)
def test_medians_are_compared_and_the_goal_is_on_the_side_that_is_better(compare, ours, theirs, goal, ratio, met):
    one = row(compare, ours, theirs, goal)

    assert one.ratio == pytest.approx(ratio)
    assert one.met is met


@pytest.mark.parametrize("one", [row(Compare.SHARE, 1.0, 2.0, 0.4), Missing(12, "GPU", "no GPU on this machine")])
def test_what_is_written_as_json_is_read_again(one):
    assert read(json.loads(json.dumps(plain(one)))) == one


def test_a_missed_goal_and_a_missing_row_stay_in_the_table_with_their_reason():
    missed = Row(9, "queue", "series/s", (1.0,), "linear", (2.0,), Compare.RATE, 0.9, "the disk")
    measured = [Missing(12, "on a GPU", "no GPU on this machine"), missed]

    assert [cells[0] for cells in lines(measured)] == ["9", "12"]
    assert lines(measured)[0][-3:] == ("0.50×", "≥ 0.9×", "NO")
    assert notes(measured) == ["9: the disk"]
    assert "not measured: no GPU on this machine" in markdown(measured)
    assert "| 9 | queue | series/s | 1.00 / 1.00 / 1.00 | linear | 2.00 / 2.00 / 2.00 |" in markdown(measured)


def test_every_row_is_given_by_a_part_or_says_why_it_is_not_there():
    given = [number for part in PARTS for number in part.rows]

    assert sorted((*given, *(one.number for one in of_no_part()))) == sorted(WORK) == list(range(1, 13))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_is_a_module_that_gives_rows(part):
    spec = importlib.util.find_spec(part.module)

    assert spec is not None and spec.origin is not None
    assert "\ndef rows(full: bool) -> list[Measured]:\n" in Path(spec.origin).read_text()


def test_a_peer_that_is_not_installed_is_named_in_its_rows(tmp_path):
    away = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}  # where there is neither dcmtk nor anything else
    out = tmp_path / "table.json"

    command = [sys.executable, "-m", "benchmarks", "--only", "receive", "--json", str(out)]
    done = subprocess.run(command, env=away, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert all("dcmtk is not installed" in row["why"] for row in rows)
