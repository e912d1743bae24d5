"""The tables of header sets: nearly all are routed right, and none to a wrong sub-model."""

import pytest

from service.routing.route import decide
from service.routing.settings import Routing
from service.submodel import load_submodels
from tests.routing.table import Row, is_right, is_wrong, outcome, rows

ROUTING = Routing(load_submodels())
ROWS = rows()
LEAST_RIGHT = 0.98


def found(row: Row) -> str:
    return outcome(decide(row.volume, ROUTING))


def told(row: Row) -> str:
    return f"{row.name}: {row.truth!r}, and it goes to {found(row)!r}: {decide(row.volume, ROUTING).summary}"


@pytest.mark.parametrize("table", sorted({row.table for row in ROWS}))
def test_no_header_set_goes_to_a_wrong_sub_model(table: str) -> None:
    wrong = [told(row) for row in ROWS if row.table == table and is_wrong(found(row), row.truth)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("table", sorted({row.table for row in ROWS}))
def test_nearly_all_header_sets_are_routed_right(table: str) -> None:
    mine = [row for row in ROWS if row.table == table]
    missed = [told(row) for row in mine if not is_right(found(row), row.truth)]
    assert len(missed) <= (1 - LEAST_RIGHT) * len(mine), "\n".join(missed)


def test_there_are_many_header_sets_in_twelve_languages() -> None:
    assert len(ROWS) >= 600
    assert len({row.table for row in ROWS}) >= 12
