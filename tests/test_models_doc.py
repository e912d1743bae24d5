"""docs/models.md names every sub-model that can run, with how much it finds, and those that need a licence."""

import re
from pathlib import Path

import pytest

from service.submodel import SubModel, load_submodels

DOCUMENT = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = {
    name: row for row in DOCUMENT.splitlines() for name in re.findall(r"^\| `([a-z0-9-]+)` \|", row)
}  # fmt: skip
RUNNABLE = [submodel for submodel in load_submodels() if submodel.protocol]


def test_every_sub_model_has_its_row_and_no_other_is_there() -> None:
    assert set(ROWS) == {submodel.name for submodel in RUNNABLE}


@pytest.mark.parametrize("submodel", RUNNABLE, ids=lambda each: each.name)
def test_a_row_names_the_networks(submodel: SubModel) -> None:
    if submodel.system == "TotalSegmentator MRI":
        for network in submodel.network:
            assert network.name.removeprefix("totalsegmentator-") in ROWS[submodel.name]
        licensed = "*licensed*" in ROWS[submodel.name]
        assert licensed is submodel.accept_licence


@pytest.mark.parametrize("name", ["totalsegmentator-total-mr", "mrsegmentator", "amos", "mrannotator-abdomen"])
def test_a_row_says_how_many_structures_there_are(name: str) -> None:
    (submodel,) = (each for each in RUNNABLE if each.name == name)
    assert f" {len(submodel.label)} " in ROWS[name]
