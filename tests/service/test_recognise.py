"""Recognising weights: every published network by its own content, and nothing else by it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.recognise import Content, contradiction, recognise
from service.submodel import Network, load_submodels

SUBMODELS = load_submodels()
NETWORKS = {network.name: network for submodel in SUBMODELS for network in submodel.network}

DATASETS = {
    # names as published; what is not here has none that is known
    "totalsegmentator-850": "Dataset850_TotalSegMRI_part1_organs_1088subj",
    "totalsegmentator-851": "Dataset851_TotalSegMRI_part2_muscles_1088subj",
    "totalsegmentator-852": "Dataset852_TotalSegMRI_total_3mm_1088subj",
    "totalsegmentator-853": "Dataset853_TotalSegMRI_total_6mm_1088subj",
    "totalsegmentator-855": "Dataset855_TotalSegMRI_appendicular_bones_1088subj",
    "totalsegmentator-856": "Dataset856_TotalSegMRI_face_1088subj",
    "totalsegmentator-857": "Dataset857_TotalSegMRI_thigh_shoulder_1088subj",
    "totalsegmentator-925": "Dataset925_MRI_tissue_subset_903subj",
    "totalsegmentator-756": "Dataset756_mri_vertebrae_1076subj",
    "totalsegmentator-597": "Dataset597_mri_body_139subj",
    "totalsegmentator-598": "Dataset598_mri_body_6mm_139subj",
    "totalsegmentator-576": "Dataset576_mri_liver_segments_120subj",
    "totalsegmentator-589": "Dataset589_ct_mri_liver_lesions_750subj",
    "totalsegmentator-730": "Dataset730_TotalSegmentatorMRI_part1_organs_495subj",
    "totalsegmentator-731": "Dataset731_TotalSegmentatorMRI_part2_muscles_495subj",
    "totalsegmentator-732": "Dataset732_TotalSegmentatorMRI_total_3mm_495subj",
    "totalsegmentator-733": "Dataset733_TotalSegmentatorMRI_total_6mm_495subj",
    "totalsegmentator-734": "Dataset734_TotalSegmentatorMRI_tissue_495subj",
    "totalsegmentator-737": "Dataset737_TotalSegmentatorMRI_face_495subj",
    "totalsegmentator-854": "Dataset854_TotalSegMRI_tissue_1088subj",
    "mrannotator-abdomen": "Dataset001_Abdomen",
    "mrannotator-shoulder-knee": "Dataset002_ShoulderKnee",
    "mrannotator-pelvis-prostate": "Dataset003_PelvisProstate",
    "mrannotator-spine": "Dataset004_Spine",
    "mrsegmentator": "Dataset011_unknown",
    "mrsegmentator-body-comp": "Dataset012_unknown",
    "amos": "Dataset219_AMOS2022_postChallenge_task2",
}


def content_of(name: str) -> Content:
    """What the published model says of itself, as far as it is known."""
    network = NETWORKS[name]
    count = len(network.labels)
    return Content(
        dataset_name=DATASETS[name],
        label_names=network.labels,
        label_values=tuple(range(1, count + 1)),
        channels=("MRI",),
        heads=count + 1,
        spacing_mm=network.spacing_mm or (3.0, 0.8, 0.8),
        configuration="3d_fullres",
        plans_name="nnUNetPlans",
        trainer=network.trainers[0],
        version_file=network.weights_version[0] if network.weights_version else None,
    )


def found(content: Content) -> str:
    recognition = recognise(content, SUBMODELS)
    assert recognition.reasons
    assert (recognition.network is None) is (recognition.submodel is None)
    return recognition.network.name if recognition.network else ""


def candidates(content: Content) -> set[str]:
    recognition = recognise(content, SUBMODELS)
    assert recognition.network is None
    return {network.name for network in recognition.candidates}


def twins(network: Network) -> set[str]:
    """Those whose label table is the same: only grid and witnesses tell them apart."""
    return {each.name for each in NETWORKS.values() if each.labels == network.labels}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_recognised_by_its_own_content(name: str) -> None:
    recognition = recognise(content_of(name), SUBMODELS)
    assert recognition.network == NETWORKS[name]
    assert recognition.submodel is not None
    assert name in {network.name for network in recognition.submodel.network}
    assert recognition.candidates == ()
    assert contradiction(content_of(name), NETWORKS[name]) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_whatever_the_witnesses_say_no_network_of_another_label_table_is_recognised(name: str) -> None:
    for other in NETWORKS:
        content = replace(
            content_of(name),
            dataset_name=DATASETS[other],
            trainer=NETWORKS[other].trainers[0],
            spacing_mm=content_of(other).spacing_mm,
        )
        named = {found(content)} - {""} or candidates(content)
        assert named <= twins(NETWORKS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_folder_names_prove_nothing(name: str) -> None:
    for other in NETWORKS:
        assert found(replace(content_of(name), folder_names=(DATASETS[other],))) == name


def test_the_reasons_say_what_agreed_and_what_else_would_have_fitted() -> None:
    recognition = recognise(content_of("totalsegmentator-850"), SUBMODELS)
    assert recognition.reasons == (
        "its 29 labels are exactly those of totalsegmentator-850",
        "spacing 1.5 mm agrees",
        "trainer nnUNetTrainer_2000epochs_NoMirroring agrees",
        "data set Dataset850_TotalSegMRI_part1_organs_1088subj agrees",
        "totalsegmentator-730 would fit as well, but for the data set and trainer",
    )


@pytest.mark.parametrize(("mm", "name"), [(3.0, "totalsegmentator-852"), (6.0, "totalsegmentator-853")])
def test_the_fast_and_the_fastest_total_mr_are_told_apart_by_spacing_alone(mm: float, name: str) -> None:
    content = replace(content_of("totalsegmentator-852"), spacing_mm=(mm, mm, mm), dataset_name="Dataset999_mine")
    assert found(content) == name


def test_a_spacing_that_is_nobodys_leaves_it_in_doubt() -> None:
    content = replace(content_of("totalsegmentator-852"), spacing_mm=(4.0, 4.0, 4.0))
    assert candidates(content) == {"totalsegmentator-852", "totalsegmentator-853"}
    assert "spacing 4 mm is not the 3 mm of totalsegmentator-852" in recognise(content, SUBMODELS).reasons


def test_the_order_of_axes_in_the_plans_does_not_matter() -> None:
    content = content_of("totalsegmentator-576")
    assert content.spacing_mm is not None
    z, y, x = content.spacing_mm
    assert found(replace(content, spacing_mm=(y, z, x))) == "totalsegmentator-576"


def test_tissue_types_old_and_new_are_told_apart_by_the_name_of_the_data_set_and_else_in_doubt() -> None:
    assert found(content_of("totalsegmentator-925")) == "totalsegmentator-925"
    nameless = replace(content_of("totalsegmentator-925"), dataset_name="Dataset123_tissue")
    assert candidates(nameless) == {"totalsegmentator-734", "totalsegmentator-925"}
    assert recognise(nameless, SUBMODELS).reasons[0] == (
        "it may be totalsegmentator-734 or totalsegmentator-925: its content does not tell for sure"
    )


def test_witnesses_that_contradict_each_other_leave_it_in_doubt() -> None:
    content = replace(content_of("totalsegmentator-850"), trainer=NETWORKS["totalsegmentator-730"].trainers[0])
    assert candidates(content) == {"totalsegmentator-850", "totalsegmentator-730"}


def test_another_trainer_under_the_published_name_leaves_it_in_doubt() -> None:
    """It may have mirrored, and then mixes left and right."""
    content = replace(content_of("totalsegmentator-756"), trainer="nnUNetTrainer")
    assert candidates(content) == {"totalsegmentator-756"}
    assert (
        "trainer nnUNetTrainer is not the nnUNetTrainer_DASegOrd0_NoMirroring of totalsegmentator-756"
        in recognise(content, SUBMODELS).reasons
    )


def test_the_weights_of_mrsegmentator_that_mixed_left_and_right_are_not_taken_for_todays() -> None:
    content = replace(content_of("mrsegmentator"), trainer="nnUNetTrainer", version_file=None)
    assert candidates(content) == {"mrsegmentator"}


@pytest.mark.parametrize("number", [730, 731, 732, 733, 734, 737, 854])
def test_an_old_table_is_recognised_as_obsolete_with_what_to_get_instead(number: int) -> None:
    recognition = recognise(content_of(f"totalsegmentator-{number}"), SUBMODELS)
    assert recognition.network is not None and recognition.network.obsolete
    assert "is obsolete: " in recognition.reasons[-1]
    assert "instead" in recognition.reasons[-1]


def test_numbered_labels_are_recognised_by_their_count_and_a_witness() -> None:
    """An early training of MRSegmentator wrote {"1": 1, "2": 2, ...} into dataset.json."""
    numbers = tuple(str(value) for value in range(1, 41))
    content = replace(content_of("mrsegmentator"), label_names=numbers)
    assert found(content) == "mrsegmentator"
    assert recognise(content, SUBMODELS).reasons[0] == (
        "its 40 labels are only numbered, and mrsegmentator has as many"
    )
    mute = replace(content, trainer="nnUNetTrainer", version_file=None)
    assert candidates(mute) == {"mrsegmentator"}


def test_numbered_labels_that_several_could_have_are_in_doubt() -> None:
    """The abdomen, the segments of the liver and the appendicular bones are eight each; 001 is anybody's number."""
    numbers = tuple(f"label_{value}" for value in range(1, 9))
    content = Content("Dataset007_mine", numbers, tuple(range(1, 9)), ("MRI",), 9, None, "", "", "nnUNetTrainer")
    eight = {"totalsegmentator-576", "totalsegmentator-855", "mrannotator-abdomen"}
    assert candidates(content) == eight
    assert candidates(replace(content, dataset_name="Dataset001_mine")) == {"mrannotator-abdomen"}


def test_a_model_that_a_user_trained_on_amos_may_have_any_trainer_and_any_name() -> None:
    content = replace(content_of("amos"), trainer="nnUNetTrainerMine", dataset_name="Dataset500_ours")
    assert found(content) == "amos"


def test_our_own_spelling_of_a_misspelt_label_is_the_same_label() -> None:
    names = tuple(
        {"arota": "aorta", "postcava": "Inferior Vena Cava"}.get(each, each) for each in NETWORKS["amos"].labels
    )
    assert found(replace(content_of("amos"), label_names=names)) == "amos"


def test_left_and_right_at_each_others_values_are_another_table_whatever_its_name() -> None:
    names = list(NETWORKS["totalsegmentator-850"].labels)
    names[1], names[2] = names[2], names[1]
    content = replace(content_of("totalsegmentator-850"), label_names=tuple(names))
    recognition = recognise(content, SUBMODELS)
    assert (recognition.network, recognition.candidates) == (None, ())
    assert recognition.reasons[-1] == "the names are the same, but they stand at other values"
    assert contradiction(content, NETWORKS["totalsegmentator-850"]) == (
        "its label 2 is kidney_left, and that of totalsegmentator-850 is kidney_right"
    )


def test_of_an_unknown_table_the_nearest_is_named_with_what_differs() -> None:
    names = (*NETWORKS["mrannotator-abdomen"].labels[:-1], "stomach", "bowel")
    content = replace(
        content_of("mrannotator-abdomen"), label_names=names, label_values=tuple(range(1, 10)), heads=10
    )
    recognition = recognise(content, SUBMODELS)
    assert (recognition.network, recognition.candidates) == (None, ())
    assert recognition.reasons == (
        "its 9 labels are those of no known network",
        "nearest is mrannotator-abdomen: 7 of its 8 names are the same",
        "missing: pancreas",
        "besides: stomach, bowel",
    )


def test_a_table_without_a_familiar_name_is_not_likened_to_anything() -> None:
    content = replace(content_of("mrannotator-abdomen"), label_names=tuple("abcdefgh"))
    assert recognise(content, SUBMODELS).reasons[-1].startswith("not one has a name that is known here: a, b, c")


CT = [
    ("totalsegmentator-925", "Dataset481_tissue_1559subj"),
    ("totalsegmentator-576", "Dataset570_ct_liver_segments"),
    ("totalsegmentator-855", "Dataset304_appendicular_bones_ext_1559subj"),
    ("totalsegmentator-597", "Dataset299_body_1559subj"),
]


@pytest.mark.parametrize(("name", "dataset"), CT)
def test_a_model_for_ct_is_refused_though_its_labels_are_those_of_one_for_mr(name: str, dataset: str) -> None:
    content = replace(content_of(name), channels=("CT",), dataset_name=dataset)
    recognition = recognise(content, SUBMODELS)
    assert (recognition.network, recognition.candidates) == (None, ())
    assert recognition.reasons == (
        'it is a model for CT: its channel is called "CT", and the models here are for MR',
    )
    assert (contradiction(content, NETWORKS[name]) or "").startswith("it is a model for CT")


def test_a_published_model_that_was_trained_on_both_may_call_its_channel_ct() -> None:
    assert found(replace(content_of("totalsegmentator-850"), channels=("CT",))) == "totalsegmentator-850"


def test_mrsegmentator_may_call_its_channel_ct_where_a_witness_speaks_for_it() -> None:
    content = replace(content_of("mrsegmentator"), channels=("CT",))
    assert found(content) == "mrsegmentator"
    mute = replace(content, trainer="nnUNetTrainer", version_file=None)
    assert found(mute) == ""
    assert "it is a model for CT" in recognise(mute, SUBMODELS).reasons[0]


@pytest.mark.parametrize(
    ("at", "name"),
    [(2, "Niere_left"), (2, "kidney L"), (3, "kidney r"), (10, "pulmo right"), (27, "arteria (LEFT)")],
)
def test_nobody_can_call_a_left_structure_a_right_one_however_it_is_spelt(at: int, name: str) -> None:
    names = list(NETWORKS["totalsegmentator-850"].labels)
    names[at - 1] = name
    content = replace(content_of("totalsegmentator-850"), label_names=tuple(names))
    fault = contradiction(content, NETWORKS["totalsegmentator-850"])
    assert (
        fault
        == f"its label {at} is {name}, and that of totalsegmentator-850 is "
        + (NETWORKS["totalsegmentator-850"].labels[at - 1])
    )


def test_a_table_in_other_words_can_be_named_by_a_person() -> None:
    names = tuple(f"Struktur {'links' if 'left' in each else ''}{at}" for at, each in enumerate(
        NETWORKS["totalsegmentator-850"].labels
    ))  # fmt: skip
    content = replace(content_of("totalsegmentator-850"), label_names=names)
    assert found(content) == ""
    assert contradiction(content, NETWORKS["totalsegmentator-850"]) is None


WRONG = [
    ({"channels": ("T1", "T2")}, "it wants 2 input channels (T1, T2)"),
    ({"channels": ()}, "it wants 0 input channels"),
    ({"heads": 9}, "dataset.json has 22 labels and the background, its checkpoints have a head of 9 channels"),
    ({"label_values": tuple(range(2, 24))}, "its label values are 2, 3, 4, 5, 6, 7 and 16 more and not 1, 2, 3"),
    ({"label_names": (), "label_values": (), "heads": 1}, "its label values are none and not 1, 2, 3"),
]


@pytest.mark.parametrize(("changed", "reason"), WRONG)
def test_what_can_be_no_model_of_ours_is_refused_by_recognition_and_against_any_word(
    changed: dict[str, tuple[str, ...]], reason: str
) -> None:
    content = replace(content_of("mrannotator-spine"), **changed)  # type: ignore[arg-type]  # each of its own type
    recognition = recognise(content, SUBMODELS)
    assert (recognition.network, recognition.candidates) == (None, ())
    assert reason in recognition.reasons[0]
    assert reason in (contradiction(content, NETWORKS["mrannotator-spine"]) or "")


@pytest.mark.parametrize("name", NETWORKS)
def test_nobody_can_call_a_content_a_network_with_another_number_of_labels(name: str) -> None:
    for other in NETWORKS.values():
        if len(other.labels) != len(NETWORKS[name].labels):
            fault = contradiction(content_of(name), other)
            assert fault is not None and f"and {other.name} has {len(other.labels)}" in fault


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(NETWORKS)),
    st.sampled_from([" ", "_", "-", "  "]),
    st.sampled_from([str.upper, str.title]),
)
def test_case_spaces_and_underscores_make_no_difference(
    name: str, glue: str, written: Callable[[str], str]
) -> None:
    content = content_of(name)
    names = (written(glue.join(label.replace("_", " ").split())) for label in content.label_names)
    assert found(replace(content, label_names=tuple(names))) == name


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(max_size=8), max_size=12),
    st.lists(st.text(max_size=4), max_size=2),
    st.integers(0, 14),
    st.text(max_size=12),
)
def test_no_content_breaks_recognition_and_none_is_without_a_reason(
    names: list[str], channels: list[str], heads: int, dataset: str
) -> None:
    values = tuple(range(1, len(names) + 1))
    content = Content(dataset, tuple(names), values, tuple(channels), heads, None, "", "", "")
    assert recognise(content, SUBMODELS).reasons
    for network in NETWORKS.values():
        contradiction(content, network)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(sorted(NETWORKS)))
def test_no_permuted_label_table_is_taken_for_the_published_one(data: st.DataObject, name: str) -> None:
    content = content_of(name)
    permuted = replace(content, label_names=tuple(data.draw(st.permutations(content.label_names))))
    if permuted != content:
        assert found(permuted) == ""
        assert contradiction(permuted, NETWORKS[name]) is not None
