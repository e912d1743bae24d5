"""Several sub-models on one volume: which run, which serve, and what each says of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Laterality
from service.config import read_site
from service.routing.route import RouteDecision, decide
from service.routing.settings import Routing
from service.running import RUN_BY_DEFAULT, fault_of, submodels_to_run
from service.submodel import SubModel, load_submodels
from tests.service.test_config import GOOD, write
from tests.service.test_route import GEOMETRY, HABITS, make_volume

SUBMODELS = load_submodels()
EVERYTHING = tuple(submodel.name for submodel in SUBMODELS if submodel.protocol)
TOTAL, TISSUE = "totalsegmentator-total-mr", "totalsegmentator-tissue-types-mr"


def decide_as(geometry: str, running: Sequence[str], **facts: str) -> RouteDecision:
    return decide(make_volume(*GEOMETRY[geometry], facts), Routing(SUBMODELS, tuple(running), otherwise=()))


def routes(decision: RouteDecision) -> set[tuple[str, str]]:
    return {(route.submodel, route.protocol) for route in decision.routes}


def names(entries: Sequence[str]) -> list[str]:
    return [submodel.name for submodel in submodels_to_run(SUBMODELS, entries)]


def test_by_default_the_four_of_mrannotator_run() -> None:
    assert names(RUN_BY_DEFAULT) == [
        "mrannotator-abdomen", "mrannotator-pelvis-prostate", "mrannotator-shoulder-knee", "mrannotator-spine",
    ]  # fmt: skip


def test_a_pattern_chooses_no_variant_and_nothing_obsolete() -> None:
    assert names(["mrsegmentator*"]) == ["mrsegmentator", "mrsegmentator-body-comp"]
    chosen = names(["totalsegmentator-*"])
    assert TOTAL in chosen and "totalsegmentator-total-mr-fast" not in chosen
    assert "totalsegmentator-before-2-5" not in chosen


def test_a_variant_is_chosen_by_its_own_name() -> None:
    assert names(["totalsegmentator-total-mr-fast"]) == ["totalsegmentator-total-mr-fast"]


def test_two_entries_that_name_the_same_choose_it_once() -> None:
    assert names(["amos", "am*"]) == ["amos"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("mrseg", "no sub-model is called 'mrseg'; there are amos, mrannotator-abdomen"),
        ("nothing-*", "no sub-model is called 'nothing-*'"),
        ("totalsegmentator-before-2-5", "cannot be run: it is obsolete: "),
    ],
)
def test_an_entry_that_chooses_nothing_is_an_error_with_line_key_and_what_there_is(
    tmp_path: Path, entry: str, says: str
) -> None:
    text = GOOD.replace('# run = ["mrannotator-*"]', f'run = ["mrannotator-*", "{entry}"]')
    path = write(tmp_path, text)
    line = next(number for number, each in enumerate(text.splitlines(), 1) if each.startswith("run = "))
    with pytest.raises(ConfigurationError) as caught:
        read_site(path)
    assert str(caught.value).startswith(f"{path}, line {line}: models.run: ")
    assert says in str(caught.value)


def test_a_sub_model_without_a_protocol_cannot_be_run() -> None:
    helper = SUBMODELS[0].model_copy(update={"name": "helper", "protocol": ()})
    assert fault_of([helper], ["helper"]) == "'helper' cannot be run: it serves no protocol"


def test_a_site_reads_what_it_runs(tmp_path: Path) -> None:
    text = GOOD.replace('# run = ["mrannotator-*"]', 'run = ["amos", "mrsegmentator-fast"]')
    assert read_site(write(tmp_path, text)).models.run == ("amos", "mrsegmentator-fast")
    assert read_site(write(tmp_path, GOOD)).models.run == RUN_BY_DEFAULT


def test_every_sub_model_of_a_system_that_serves_the_protocol_gets_a_route() -> None:
    decision = decide_as("abdomen", [TOTAL, TISSUE], BodyPartExamined="ABDOMEN")
    assert routes(decision) == {(TOTAL, "abdomen"), (TISSUE, "abdomen")}
    assert decision.summary == f"abdomen, by {TISSUE}; abdomen, by {TOTAL}"
    assert f"{TOTAL} abdomen: matched" in decision.reasons
    assert f"{TISSUE} abdomen: matched" in decision.reasons


def test_all_systems_run_on_one_abdomen() -> None:
    run = ["mrannotator-*", "mrsegmentator", TOTAL, "amos"]
    decision = decide_as("abdomen", run, BodyPartExamined="ABDOMEN", StudyDescription="MR Leber")
    assert [route.submodel for route in decision.routes] == ["amos", "mrannotator-abdomen", "mrsegmentator", TOTAL]
    assert {route.protocol for route in decision.routes} == {"abdomen"}


def test_one_system_does_not_wait_for_another() -> None:
    """A sagittal abdomen is none that MRAnnotator was trained on; the others take any plane."""
    volume = make_volume("sagittal", 40, 6.0, 400, {"BodyPartExamined": "ABDOMEN"})
    decision = decide(volume, Routing(SUBMODELS, ("mrannotator-*", TOTAL), otherwise=()))
    assert routes(decision) == {(TOTAL, "abdomen")}
    assert "unrouted by MRAnnotator: abdomen is named, but the slices are sagittal" in "\n".join(decision.reasons)
    assert decision.summary == f"abdomen, by {TOTAL}"


def test_a_region_that_one_system_serves_is_still_not_served_by_the_other() -> None:
    decision = decide_as("pelvis", ["mrannotator-*", TOTAL], StudyDescription="MR Hüfte")
    assert routes(decision) == {(TOTAL, "hip")}
    assert "unrouted by MRAnnotator: no sub-model serves hip" in "\n".join(decision.reasons)


def test_within_a_system_the_innermost_protocol_wins() -> None:
    decision = decide_as("pelvis", [TOTAL, TISSUE], StudyDescription="MR Becken/Prostata")
    assert routes(decision) == {(TOTAL, "prostate"), (TISSUE, "prostate")}
    assert decision.summary == f"prostate, by {TISSUE}; prostate, by {TOTAL}"


@pytest.mark.parametrize(
    ("plane", "field_mm", "text", "protocol"),
    [
        ("axial", 380, "MRI ABDOMEN AND PELVIS", "abdomen and pelvis"),
        ("sagittal", 450, "MR HWS und LWS", "two levels of the spine"),
        ("sagittal", 450, "MRI CERVICAL AND LUMBAR SPINE", "two levels of the spine"),
    ],
)
def test_two_regions_named_alike_are_the_smallest_served_one_around_them(
    plane: str, field_mm: float, text: str, protocol: str
) -> None:
    volume = make_volume(plane, 30, 5.0, field_mm, {"StudyDescription": text})
    decision = decide(volume, Routing(SUBMODELS, ("mrannotator-*", TOTAL), otherwise=()))
    assert routes(decision) == {(TOTAL, protocol)}
    assert "unrouted by MRAnnotator: " in "\n".join(decision.reasons)


def test_the_words_of_sub_models_that_do_not_run_are_understood() -> None:
    """The words for a spine in French stand with MRAnnotator."""
    decision = decide_as("lumbar", ["totalsegmentator-vertebrae-mr"], StudyDescription="IRM rachis lombaire")
    assert routes(decision) == {("totalsegmentator-vertebrae-mr", "lumbar")}


def test_words_that_show_that_a_region_is_not_meant_hold_for_every_sub_model() -> None:
    decision = decide_as("prostate", [TOTAL], StudyDescription="MR Prostata, Z.n. Prostatektomie")
    assert decision.routes == ()
    assert "something else" in decision.summary


def test_where_nothing_serves_every_system_says_why() -> None:
    decision = decide_as("knee", ["mrannotator-*", "mrsegmentator"], BodyPartExamined="ANKLE")
    assert decision.routes == ()
    assert decision.summary == 'no sub-model serves ankle: BodyPartExamined "ANKLE" names ankle (ANKLE)'
    assert decision.reasons[-1] == f"unrouted: {decision.summary}"
    axial = make_volume("axial", 30, 3.3, 160, {"BodyPartExamined": "KNEE"})
    differing = decide(axial, Routing(SUBMODELS, ("mrannotator-*", "mrsegmentator"), otherwise=()))
    said = [reason.split(":")[0] for reason in differing.reasons if reason.startswith("unrouted")]
    assert said == ["unrouted by MRAnnotator", "unrouted by MRSegmentator", "unrouted"]


@pytest.mark.parametrize("facts", [{"SeriesDescription": "localizer knee"}, {"ImageType": "DERIVED\\SECONDARY"}])
def test_what_is_not_for_segmentation_is_so_for_all(facts: dict[str, str]) -> None:
    decision = decide_as("knee", EVERYTHING, BodyPartExamined="KNEE", **facts)
    assert decision.routes == ()


def test_a_contradiction_in_the_header_unroutes_every_system() -> None:
    decision = decide_as("cervical", EVERYTHING, BodyPartExamined="LSPINE", SeriesDescription="T2 sag cervical")
    assert decision.routes == ()
    assert "contradicts itself" in decision.summary


def test_the_side_of_a_knee_is_used_as_each_sub_model_has_sides() -> None:
    """total_mr knows left and right femora; the appendicular bones have no side of their own."""
    appendicular = "totalsegmentator-appendicular-bones-mr"
    decision = decide_as("knee", [TOTAL, appendicular], BodyPartExamined="KNEE", Laterality="R")
    assert routes(decision) == {(TOTAL, "knee"), (appendicular, "knee")}
    assert {route.laterality for route in decision.routes} == {Laterality.RIGHT}
    by_name = {submodel.name: submodel for submodel in SUBMODELS}
    total = {segment.name for segment in by_name[TOTAL].segments("knee", Laterality.RIGHT)}
    assert "femur_right" in total and "femur_left" not in total and "vertebrae" in total
    bones = by_name[appendicular].segments("knee", Laterality.RIGHT)
    assert {segment.laterality.meaning for segment in bones if segment.laterality} == {"Right"}


@pytest.mark.parametrize(("geometry", "body_part", "protocol", "series", "study", "truth"), HABITS)
def test_what_mrannotator_does_is_the_same_whatever_else_runs(
    geometry: str, body_part: str, protocol: str, series: str, study: str, truth: str
) -> None:
    facts = {
        "BodyPartExamined": body_part,
        "ProtocolName": protocol,
        "SeriesDescription": series,
        "StudyDescription": study,
    }
    alone = decide_as(geometry, RUN_BY_DEFAULT, **facts)
    beside = decide_as(geometry, [*RUN_BY_DEFAULT, *EVERYTHING], **facts)
    assert truth
    assert set(alone.routes) <= set(beside.routes)
    assert [route for route in beside.routes if route.submodel.startswith("mrannotator-")] == list(alone.routes)


@settings(max_examples=60, deadline=None)
@given(
    st.permutations([submodel.name for submodel in SUBMODELS if submodel.protocol]),
    st.integers(1, len(EVERYTHING)),
    st.sampled_from(HABITS),
)
def test_the_order_in_which_a_site_names_them_changes_nothing_and_all_of_one_system_agree(
    order: list[str], count: int, habit: tuple[str, str, str, str, str, str]
) -> None:
    geometry, body_part, protocol, series, study, _ = habit
    facts = {"BodyPartExamined": body_part, "ProtocolName": protocol, "SeriesDescription": series}
    first = decide_as(geometry, order[:count], **facts, StudyDescription=study)
    assert first == decide_as(geometry, sorted(order[:count]), **facts, StudyDescription=study)
    systems: dict[str, set[str]] = {}
    by_name: dict[str, SubModel] = {submodel.name: submodel for submodel in SUBMODELS}
    for route in first.routes:
        assert route.submodel in order[:count]
        systems.setdefault(by_name[route.submodel].system, set()).add(route.protocol)
    assert all(len(protocols) == 1 for protocols in systems.values())
