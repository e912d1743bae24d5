"""What becomes of a finding is the site's to say, by its name; else contradictions hold and the rest marks."""

from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Node
from service.config import Checks, read_site
from service.findings import CONTRADICTIONS, MEANINGS, Action, Finding, FindingName, holding, joined
from service.site_template import site_toml

GOOD = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "192.0.2.10", 104),))
LEAK = Finding(FindingName.LEAK, "liver (1500.0 mL) reaches the right edge over 20.0 cm2")
SIDE = Finding(FindingName.SIDE, "kidney_right lies 90 mm to the left of kidney_left")
FEW = Finding(FindingName.FEW, "spleen has 3 voxels")


def checks_of(folder: Path, table: str) -> Checks:
    path = folder / "site.toml"
    path.write_text(f"{GOOD}\n[checks]\n{table}\n")
    return read_site(path).checks


def test_without_a_word_contradictions_are_held_and_the_rest_is_marked() -> None:
    becomes = Checks().becomes
    assert set(becomes) == set(FindingName) == set(MEANINGS)
    assert {name for name, action in becomes.items() if action is Action.HOLD} == CONTRADICTIONS
    assert set(becomes.values()) == {Action.HOLD, Action.MARK}


def test_the_word_on_contradictions_is_theirs_alone(tmp_path: Path) -> None:
    becomes = checks_of(tmp_path, 'contradiction = "deliver"').becomes
    assert {name for name, action in becomes.items() if action is Action.DELIVER} == CONTRADICTIONS
    assert becomes[FindingName.VOLUME] is Action.MARK


def test_a_finding_that_is_named_becomes_what_is_said_whatever_holds_for_the_others(tmp_path: Path) -> None:
    becomes = checks_of(
        tmp_path, 'contradiction = "deliver"\npolicy = { side = "hold", leak = "hold", few = "deliver" }'
    ).becomes
    assert [becomes[name] for name in (FindingName.SIDE, FindingName.LEAK, FindingName.FEW, FindingName.ORDER)] == [
        Action.HOLD, Action.HOLD, Action.DELIVER, Action.DELIVER
    ]  # fmt: skip
    assert holding((LEAK, SIDE, FEW), becomes) == (LEAK, SIDE)


def test_what_is_marked_holds_nothing() -> None:
    becomes = Checks().becomes
    assert holding((LEAK, FEW), becomes) == ()


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ('policy = { isles = "mark" }', "there is no finding isles; allowed are little, side, both_sides, "),
        ('policy = { islands = "drop" }', "'deliver', 'mark' or 'hold'"),
    ],
)
def test_a_finding_or_an_action_that_is_not_known_is_refused_with_line_and_what_is_allowed(
    tmp_path: Path, policy: str, says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checks_of(tmp_path, policy)
    line = (tmp_path / "site.toml").read_text().splitlines().index(policy) + 1
    assert f"line {line}: checks.policy" in str(refused.value)
    assert says in str(refused.value)


def test_faults_of_one_sort_are_one_evidence_that_tells_how_many_more_there_are() -> None:
    assert joined(["a", "b"]) == "a; b"
    assert joined(["a", "b", "c", "d"], 2) == "a; b; and 2 more"
