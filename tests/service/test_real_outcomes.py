"""The real data by folder, series and file; the truth beside each is tests/real_outcomes.toml, written by hand."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dicom_nodes.errors import Rule
from dicom_nodes.headers import Headers, read_headers
from dicom_nodes.types import Plane, Volume
from dicom_nodes.volumes import SeriesContent, find_volumes
from service.routing.kinds import kind_of
from service.routing.route import RouteDecision, decide
from service.routing.settings import Routing
from service.submodel import load_submodels
from tests import real_data

ALL_INSTALLED = Routing(tuple(load_submodels()))
MRANNOTATOR_ALONE = Routing(
    ALL_INSTALLED.known,
    able=frozenset(each.name for each in ALL_INSTALLED.known if each.system == "MRAnnotator"),
)


@dataclass(frozen=True)
class ExpectedVolumes:
    """Volumes of a series that are alike."""

    slices: int
    plane: Plane
    kind: tuple[str, ...]
    """Each is words joined by " | ", of which one must apply."""
    count: int = 1


@dataclass(frozen=True)
class Outcome:
    """One entry of real_outcomes.toml; its head says what the keys mean."""

    folder: str
    note: str
    uid: str = ""
    files: tuple[str, ...] = ()
    volumes: tuple[ExpectedVolumes, ...] = ()
    refused: tuple[Rule, ...] = ()
    body_part: str | None = None
    route: str = ""
    otherwise: tuple[str, ...] = ()
    because: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The folder's files; only those of the group where this is one."""
        paths = real_data.files(self.folder)
        return (
            [path for path in paths if any(path.match(pattern) for pattern in self.files)] if self.files else paths
        )


def _outcome(entry: dict[str, Any]) -> Outcome:
    """An entry as it stands in the file; unknown keys, planes and rules are errors."""
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    volumes = tuple(
        ExpectedVolumes(**{**each, "plane": Plane(each["plane"]), "kind": tuple(each["kind"])})
        for each in lists.get("volumes", ())
    )
    return Outcome(
        **{**entry, **lists, "volumes": volumes, "refused": tuple(Rule(each) for each in lists.get("refused", ()))}
    )


OUTCOMES = [
    _outcome(entry)
    for entry in tomllib.loads((Path(__file__).parents[1] / "real_outcomes.toml").read_text("utf-8"))["series"]
]
WITH_VOLUMES = [each for each in OUTCOMES if each.volumes]


def title(outcome: Outcome) -> str:
    alike = [each for each in OUTCOMES if each.folder == outcome.folder]
    return outcome.folder if len(alike) == 1 else f"{outcome.folder} {alike.index(outcome) + 1}"


@cache
def content_of(outcome: Outcome) -> SeriesContent:
    """What the program finds in the outcome's series, from all files of the folder, or in its group of files."""
    headers = read_headers(outcome.paths)
    if outcome.uid:
        headers = Headers(
            tuple(each for each in headers.read if each.series_uid == outcome.uid), headers.unreadable
        )
    return find_volumes(headers)


def volumes_of(outcome: Outcome) -> list[tuple[ExpectedVolumes, Volume]]:
    """Every volume found, beside what is expected of it; skips a refused series where that is right too."""
    found = sorted(content_of(outcome).volumes, key=lambda volume: volume.index)
    if not found and outcome.refused:
        pytest.skip("refused, which is right too: there is no volume to look at")
    expected = [each for each in outcome.volumes for _ in range(each.count)]
    return list(zip(expected, found, strict=True))


def routes(decision: RouteDecision) -> list[str]:
    return [
        f"{route.submodel} {route.protocol}{f' {route.laterality.value}' if route.laterality else ''}"
        for route in decision.routes
    ]


def said(decision: RouteDecision) -> str:
    return "\n".join((*decision.reasons, decision.summary)).casefold()


@real_data.needed
def test_every_folder_of_the_real_data_has_an_expected_outcome_and_every_outcome_its_folder() -> None:
    assert {each.folder for each in OUTCOMES} == set(real_data.folders())


@real_data.needed
@pytest.mark.parametrize("folder", sorted({each.folder for each in OUTCOMES}))
def test_every_series_or_file_of_a_folder_has_exactly_one_expected_outcome(folder: str) -> None:
    expected = [each for each in OUTCOMES if each.folder == folder]
    if expected[0].files:
        claimed = [path for each in expected for path in each.paths]
        assert sorted(claimed) == real_data.files(folder)
    else:
        headers = read_headers(real_data.files(folder))
        assert not headers.unreadable
        assert sorted(each.uid for each in expected) == sorted({each.series_uid for each in headers.read})


@real_data.needed
@pytest.mark.parametrize("outcome", OUTCOMES, ids=title)
def test_the_volumes_of_the_real_series_are_those_that_a_person_sees(outcome: Outcome) -> None:
    content = content_of(outcome)
    expected = [(each.slices, each.plane) for each in outcome.volumes for _ in range(each.count)]
    found = [(volume.shape[0], volume.plane) for volume in content.volumes]
    assert sorted(found) == (sorted(expected) if found or not outcome.refused else []), content.explain()


@real_data.needed
@pytest.mark.parametrize("outcome", OUTCOMES, ids=title)
def test_what_becomes_no_volume_is_refused_for_the_right_reason(outcome: Outcome) -> None:
    content = content_of(outcome)
    rules = {error.rule for error in content.left_out}
    assert rules <= set(outcome.refused), content.explain()
    assert rules or content.volumes, "nothing is said at all"


@real_data.needed
@pytest.mark.parametrize("outcome", WITH_VOLUMES, ids=title)
def test_the_kind_of_a_real_volume_is_what_its_header_and_its_pixels_show(outcome: Outcome) -> None:
    for expected, volume in volumes_of(outcome):
        kind = kind_of(volume)
        names = kind.names | {kind.purpose}
        wrong = [each for each in expected.kind if names.isdisjoint(each.split(" | "))]
        assert not wrong, (volume.name, wrong, kind)
        assert kind.suited == ("anatomy" in expected.kind), kind


@real_data.needed
@pytest.mark.parametrize("outcome", WITH_VOLUMES, ids=title)
def test_the_body_part_of_a_real_volume_is_the_one_that_its_header_names(outcome: Outcome) -> None:
    for _, volume in volumes_of(outcome):
        agreed = decide(volume, ALL_INSTALLED).body_part.agreed
        assert agreed[:1] == ((outcome.body_part,) if outcome.body_part else ())


@real_data.needed
@pytest.mark.parametrize("outcome", WITH_VOLUMES, ids=title)
def test_a_real_volume_goes_where_it_belongs_and_nowhere_else(outcome: Outcome) -> None:
    for _, volume in volumes_of(outcome):
        decision = decide(volume, MRANNOTATOR_ALONE)
        assert routes(decision) == ([outcome.route] if outcome.route else []), decision.reasons
        if not outcome.route:
            assert any(word.casefold() in said(decision) for word in outcome.because), decision.summary


@real_data.needed
@pytest.mark.parametrize("outcome", WITH_VOLUMES, ids=title)
def test_a_trunk_system_takes_only_what_it_may_take(outcome: Outcome) -> None:
    for _, volume in volumes_of(outcome):
        decision = decide(volume, ALL_INSTALLED)
        if outcome.route:
            assert routes(decision) == [outcome.route], decision.reasons
        else:
            assert ({route.protocol for route in decision.routes} or {""}) <= set(outcome.otherwise), (
                decision.reasons
            )
            assert not any(route.submodel.startswith("mrannotator") for route in decision.routes)
