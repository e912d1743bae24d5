"""A series and its study: which of several volumes runs, what the rest of the study tells, when it is awaited."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_nodes.types import Volume
from service.jobs import SeriesState
from service.routing.rules import Rule
from service.routing.series import SeriesDecision, SeriesVolumes, decide_series
from service.routing.settings import Routing
from service.submodel import load_submodels
from tests.service.test_route import GEOMETRY, make_volume

ROUTING = Routing(load_submodels(), otherwise=())
T2 = {"ScanningSequence": "SE", "SequenceName": "*tse2d1_17", "EchoTime": "101", "RepetitionTime": "4000"}
T1 = {"ScanningSequence": "SE", "SequenceName": "*tse2d1_3", "EchoTime": "11", "RepetitionTime": "600"}


def volume(uid: str, index: int = 1, geometry: str = "lumbar", name: str = "", **facts: str) -> Volume:
    made = make_volume(*GEOMETRY[geometry], facts)
    return replace(made, series_uid=uid, index=index, name=name)


def series(*volumes: Volume) -> SeriesVolumes:
    return SeriesVolumes(volumes[0].series_uid, volumes)


def shifted(one: Volume, millimetres: float) -> Volume:
    affine = one.affine.copy()
    affine[:3, 3] += millimetres
    return replace(one, affine=affine)


def per(scope: str, *best: str) -> Routing:
    values: Mapping[str, object] = {
        "name": "the one best",
        "when": {"body_part": "lumbar", "plane": "sagittal"},
        "run": "mrannotator-spine: lumbar",
        "one_per": scope,
        "best": best or ("T2", "most slices", "first"),
    }
    return replace(ROUTING, rules=(Rule.model_validate(values),))


# ── one of several volumes at one place ────────────────────────────────────────────────────────────────────────


def test_of_two_echoes_of_a_knee_one_runs_and_the_other_says_which_is_better() -> None:
    echoes = [
        volume("1", 1, "knee", "echo 1", BodyPartExamined="KNEE", EchoTime="6.3"),
        volume("1", 2, "knee", "echo 2", BodyPartExamined="KNEE", EchoTime="31"),
    ]
    decision = decide_series(series(*echoes), ROUTING)
    assert [index for index, *_ in decision.routes] == [1]
    assert decision.decided[1].passed_over == (
        "knee, by mrannotator-shoulder-knee: volume 1 (echo 1) is better: shortest echo",
    )
    assert "volume 1 (echo 1) is better: shortest echo" in decision.explanation


@pytest.mark.parametrize("parts", [("fat", "opposed phase", "in phase", "water"), ("opposed phase", "in phase")])
def test_of_the_parts_of_a_dixon_the_water_runs_or_else_the_image_in_phase(parts: tuple[str, ...]) -> None:
    volumes = [
        volume("1", number, "abdomen", part, BodyPartExamined="ABDOMEN", DixonPart=part, EchoTime="2.4")
        for number, part in enumerate(parts, start=1)
    ]
    ((index, *_),) = decide_series(series(*volumes), ROUTING).routes
    assert volumes[index - 1].name == parts[-1]


def test_volumes_at_different_places_all_run() -> None:
    first = volume("1", 1, "abdomen", "stack 1", BodyPartExamined="ABDOMEN")
    second = replace(shifted(first, 250.0), index=2, name="stack 2")
    assert len(decide_series(series(first, second), ROUTING).routes) == 2


# ── the one best of a study ────────────────────────────────────────────────────────────────────────────────────


def test_of_a_study_the_one_best_runs_and_the_others_name_it() -> None:
    t1, t2, coarse = (
        series(volume("1.1", BodyPartExamined="LSPINE", **T1)),
        series(volume("1.2", BodyPartExamined="LSPINE", **T2)),
        series(replace(volume("1.3", BodyPartExamined="LSPINE", **T2), shape=(11, 256, 256))),
    )
    decided = {
        each.series_uid: decide_series(each, per("study"), study=[s for s in (t1, t2, coarse) if s is not each])
        for each in (t1, t2, coarse)
    }
    assert [uid for uid, each in decided.items() if each.routes] == ["1.2"]
    assert decided["1.1"].state is SeriesState.UNROUTED
    assert "volume 1 of series 1.2 is better: T2" in decided["1.1"].summary
    assert "volume 1 of series 1.2 is better: most slices" in decided["1.3"].summary


def test_the_one_best_is_not_chosen_before_the_study_is_there() -> None:
    one = series(volume("1.1", BodyPartExamined="LSPINE", **T1))
    decision = decide_series(one, per("study"), settled=False)
    assert (decision.state, decision.routes) == (SeriesState.WAITING, ((1, "mrannotator-spine", "lumbar", ""),))
    assert "the best of them is wanted" in decision.summary


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_in_which_series_come_does_not_change_which_is_best(order: list[int]) -> None:
    """Equal ones too: the UID decides, not the time."""
    study = [series(volume(f"1.{n}", BodyPartExamined="LSPINE", **(T1 if n == 3 else T2))) for n in range(4)]
    shuffled = [study[n] for n in order]
    winners = [
        each.series_uid
        for each in shuffled
        if decide_series(each, per("study"), study=[s for s in shuffled if s is not each]).routes
    ]
    assert winners == ["1.0"]


def test_a_right_and_a_left_knee_of_one_study_are_both_the_best() -> None:
    rule = Rule(name="one per side", run="mrannotator-shoulder-knee: knee", one_per="study", best="most slices")
    routing = replace(ROUTING, rules=(rule,))
    right, left = (
        series(volume(f"1.{side}", geometry="knee", BodyPartExamined="KNEE", Laterality=side)) for side in "RL"
    )
    assert len(decide_series(right, routing, study=[left]).routes) == 1
    assert len(decide_series(left, routing, study=[right]).routes) == 1


# ── the other series of the study as a witness ─────────────────────────────────────────────────────────────────


def nameless(**facts: str) -> SeriesVolumes:
    return series(volume("1.9", SeriesDescription="t2 sag", **T2, **facts))


def named(uid: str, text: str) -> SeriesVolumes:
    return series(volume(uid, SeriesDescription=text, **T1))


def test_a_series_that_names_no_body_part_waits_for_its_study() -> None:
    decision = decide_series(nameless(), ROUTING, settled=False)
    assert decision.state is SeriesState.WAITING
    assert decision.summary == "waits for the other series of its study: no body part is named"


def test_a_series_that_names_no_body_part_takes_that_of_its_study() -> None:
    decision = decide_series(nameless(), ROUTING, study=[named("1.1", "t1 sag LWS"), nameless()])
    assert decision.routes == ((1, "mrannotator-spine", "lumbar", ""),)
    assert "other series of the study" in decision.explanation


def test_a_level_of_the_spine_is_taken_from_the_study_where_only_the_spine_is_named() -> None:
    alone = decide_series(nameless(BodyPartExamined="SPINE"), ROUTING)
    assert alone.routes == ()
    assert "only spine is named" in alone.summary
    with_study = decide_series(nameless(BodyPartExamined="SPINE"), ROUTING, study=[named("1.1", "LWS t1")])
    assert with_study.routes == ((1, "mrannotator-spine", "lumbar", ""),)


@pytest.mark.parametrize(
    "others",
    [
        [("1.1", "t1 sag LWS"), ("1.2", "t1 sag HWS")],  # they name different ones
        [("1.1", "t1 sag Schulter")],  # a shoulder is served in coronal slices
        [("1.1", "t1 sag")],  # they name none
    ],
)
def test_a_study_that_does_not_agree_or_does_not_fit_names_nothing(others: list[tuple[str, str]]) -> None:
    assert decide_series(nameless(), ROUTING, study=[named(*each) for each in others]).routes == ()


def test_a_series_that_names_its_body_part_is_not_changed_by_its_study() -> None:
    own = series(volume("1.9", SeriesDescription="t2 sag LWS", **T2))
    alone = decide_series(own, ROUTING)
    assert decide_series(own, ROUTING, study=[named("1.1", "t1 sag HWS")]) == alone
    assert decide_series(own, ROUTING, settled=False).state is SeriesState.ROUTED


def test_what_a_rule_of_the_site_skips_waits_for_nothing() -> None:
    routing = replace(ROUTING, rules=(Rule(name="none of these", skip="not wanted"),))
    decision = decide_series(nameless(), routing, settled=False)
    assert (decision.state, decision.summary) == (SeriesState.UNROUTED, 'rule "none of these": not wanted')


def test_what_a_rule_holds_is_held_whatever_the_site_does_with_doubts() -> None:
    routing = replace(ROUTING, rules=(Rule(name="look first", hold="a person looks"),), doubtful="unrouted")
    assert decide_series(nameless(), routing, settled=False).state is SeriesState.HELD


def test_a_localizer_waits_for_nothing() -> None:
    localizer = series(volume("1.9", SeriesDescription="localizer"))
    assert decide_series(localizer, ROUTING, settled=False).state is SeriesState.UNROUTED


# ── held or unrouted ───────────────────────────────────────────────────────────────────────────────────────────


def contradiction(routing: Routing) -> SeriesDecision:
    facts = {"BodyPartExamined": "LSPINE", "SeriesDescription": "t2 sag cervical"}
    return decide_series(series(volume("1", geometry="cervical", **facts)), routing)


def test_a_contradiction_is_held_or_unrouted_as_the_site_says_with_the_disagreement_named() -> None:
    assert contradiction(ROUTING).state is SeriesState.HELD
    assert contradiction(replace(ROUTING, doubtful="unrouted")).state is SeriesState.UNROUTED
    assert "names lumbar (LSPINE); but" in contradiction(ROUTING).summary


def test_a_site_may_let_a_few_witnesses_be_contradicted_by_the_others() -> None:
    facts = {
        "BodyPartExamined": "LSPINE", "ProtocolName": "HWS", "SeriesDescription": "t2 sag cervical",
        "StudyDescription": "MR HWS",
    }  # fmt: skip
    one = series(volume("1", geometry="cervical", **facts))
    assert decide_series(one, ROUTING).state is SeriesState.HELD
    assert "confidence 0.80, 0.9 is asked for" in decide_series(one, replace(ROUTING, least_confidence=0.9)).summary
    decision = decide_series(one, replace(ROUTING, least_confidence=0.8))
    assert decision.routes == ((1, "mrannotator-spine", "cervical", ""),)
    assert "body part: cervical (confidence 0.80)" in decision.explanation


def test_what_is_only_silent_is_unrouted() -> None:
    assert decide_series(nameless(), ROUTING).state is SeriesState.UNROUTED


@settings(max_examples=25, deadline=None)
@given(
    st.permutations(range(3)), st.dictionaries(st.sampled_from(["DeviceSerialNumber", "PixelBandwidth"]), st.text())
)
def test_neither_the_order_of_volumes_nor_an_unrelated_tag_changes_the_outcome(
    order: list[int], more: dict[str, str]
) -> None:
    echoes = [volume("1", n, "knee", f"echo {n}", BodyPartExamined="KNEE", EchoTime=f"{8 * n}") for n in (1, 2, 3)]
    marked = [replace(each, facts=MappingProxyType({**each.facts, **more})) for each in echoes]
    shuffled = [marked[n] for n in order]
    assert sorted(decide_series(series(*shuffled), ROUTING).routes) == [
        (1, "mrannotator-shoulder-knee", "knee", "")
    ]


def test_the_record_is_plain_and_says_everything() -> None:
    record = decide_series(series(volume("1", BodyPartExamined="LSPINE", **T2)), ROUTING).record()
    (one,) = record["volumes"]
    assert (record["state"], record["urgency"], one["plane"], one["confidence"]) == (
        "routed", "routine", "sagittal", 1.0,
    )  # fmt: skip
    assert {"rule": "mrannotator-spine lumbar", "matched": True, "failed": ""} in one["rules"]
    assert one["routes"] == [
        {
            "submodel": "mrannotator-spine",
            "protocol": "lumbar",
            "laterality": "",
            "rule": "mrannotator-spine lumbar",
        }
    ]
    assert np.allclose(one["coverage_mm"], [74.8, 300, 300])
