"""Series as scanners really send them that the real data have no example of (tests/tricky_cases.py)."""

from pathlib import Path

import pytest

from dicom_nodes.headers import read_headers
from dicom_nodes.volumes import SeriesContent, find_volumes
from service.routing.kinds import kind_of
from service.routing.route import RouteDecision, decide
from service.routing.settings import Routing
from service.submodel import load_submodels
from tests.factories import save_all
from tests.tricky_cases import CASES, Case

ROUTING = Routing(tuple(load_submodels()))


@pytest.fixture(params=CASES, ids=lambda case: case.what)
def tricky(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Case, SeriesContent]:
    """A case, and what the program finds in its files."""
    case: Case = request.param
    return case, find_volumes(read_headers(save_all(case.make(), tmp_path)))


def outcome(decision: RouteDecision) -> str:
    """Protocols and side of the routes."""
    return ", ".join(
        dict.fromkeys(
            f"{route.protocol} {route.laterality.value}" if route.laterality else route.protocol
            for route in decision.routes
        )
    )


def test_a_tricky_series_holds_the_volumes_that_a_person_sees(tricky: tuple[Case, SeriesContent]) -> None:
    case, content = tricky
    assert sorted((volume.shape[0], volume.plane) for volume in content.volumes) == sorted(case.volumes), (
        content.explain()
    )
    assert {error.rule for error in content.left_out} <= set(case.refused), content.explain()
    assert bool(content.left_out) == bool(case.refused)


def test_a_tricky_series_goes_where_it_belongs_and_nowhere_else(tricky: tuple[Case, SeriesContent]) -> None:
    case, content = tricky
    reasons = [str(error) for error in content.left_out]
    for volume in content.volumes:
        decision = decide(volume, ROUTING)
        if "fat" not in volume.name:  # whether a fat image is segmented beside its water is a matter of taste
            assert outcome(decision) in case.route.split(" | "), (volume.name, decision.reasons)
        reasons.append(decision.summary)
    if case.said:
        assert all(any(word in reason for word in case.said) for reason in reasons), reasons


def test_the_kinds_in_a_tricky_series_are_those_that_its_headers_state(tricky: tuple[Case, SeriesContent]) -> None:
    case, content = tricky
    for expected, volume in zip(case.kinds, content.volumes, strict=bool(case.kinds)):
        kind = kind_of(volume)
        assert not kind.names.isdisjoint(expected.split(" | ")), (volume.name, kind)
