"""Volumes by headers and geometry alone; the truth beside each is from naming habits, not from the rules."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_nodes.headers import read_headers
from dicom_nodes.types import Laterality, Plane, Volume
from dicom_nodes.volumes import find_volumes
from service.routing.route import RouteDecision, decide
from service.routing.settings import Routing
from service.routing.vocabulary import first_word, plain_words
from service.submodel import load_submodels
from tests.real_data import files as real_files

ROUTING = Routing(load_submodels(), otherwise=())

AXES = {
    # columns, rows and slices run toward these (L, P, S)
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
# plane, slices, pitch mm, field of view mm: as these protocols are planned
GEOMETRY = {
    "abdomen": ("axial", 36, 6.0, 380),
    "pelvis": ("coronal", 32, 5.5, 400),
    "prostate": ("axial", 26, 3.3, 200),
    "shoulder": ("coronal", 22, 3.3, 160),
    "knee": ("sagittal", 30, 3.3, 160),
    "cervical": ("sagittal", 15, 3.3, 240),
    "thoracic": ("sagittal", 17, 3.6, 360),
    "lumbar": ("sagittal", 17, 4.4, 300),
}


def make_volume(
    plane: str, slices: int, pitch_mm: float, field_mm: float, facts: Mapping[str, str], middle_x: float = 0.0
) -> Volume:
    shape, pixel = (slices, 256, 256), field_mm / 256
    affine = np.eye(4)
    affine[:3, :3] = np.array(AXES[plane]).T * (pixel, pixel, pitch_mm)
    affine[:3, 3] = (middle_x, 0, 0) - affine[:3, :3] @ (127.5, 127.5, (slices - 1) / 2)
    return Volume("1.2", "1.1", "1.3", 1, "", (), affine, shape, Plane(plane), 0.0, MappingProxyType(dict(facts)))


def decide_as(geometry: str, **facts: str) -> RouteDecision:
    return decide(make_volume(*GEOMETRY[geometry], facts), ROUTING)


def outcome(decision: RouteDecision) -> str:
    """Protocol, and the side where there is one; empty if unrouted."""
    if not decision.routes:
        return ""
    (route,) = decision.routes
    return f"{route.protocol} {route.laterality.value}" if route.laterality else route.protocol


HABITS = [
    # geometry, BodyPartExamined, ProtocolName, SeriesDescription, StudyDescription, truth
    ("knee", "KNEE", "pd_tse_fs_sag", "pd_tse_fs_sag", "MR Knie rechts", "knee R"),
    ("knee", "KNEE", "pd_tse_fs_sag", "pd_tse_fs_sag", "MR Kniegelenk nativ li", "knee L"),
    ("knee", "", "KNEE", "Sag PD FSE", "MRI LT KNEE W/O CONTRAST", "knee L"),
    ("knee", "", "Knee/Clinical", "SAG PD FS", "MR KNEE RT WO", "knee R"),
    ("knee", "EXTREMITY", "PDW_SPAIR_SAG", "PDW_SPAIR_SAG", "IRM du genou gauche", "knee L"),
    ("knee", "KNEE", "PDW_TSE_SAG", "PDW_TSE_SAG", "RM RODILLA DERECHA SIN CONTRASTE", "knee R"),
    ("knee", "KNEE", "DP SAG", "DP SAG", "RM RODILLA SIN CONTRASTE", "knee"),
    ("knee", "KNEE", "DP SAG FAT SAT", "DP SAG FAT SAT", "RM GINOCCHIO DX", "knee R"),
    ("knee", "KNEE", "dp_sag", "dp_sag", "RM Joelho Esquerdo", "knee L"),
    ("knee", "LEG", "pd_sag", "pd_sag", "MRI knie links", "knee L"),
    ("knee", "KNEE", "pd_sag", "pd_sag", "MR Knie beidseits", "knee"),
    ("knee", "KNEE", "pd_sag_re", "pd_sag_re", "MR Knie bds.", "knee R"),
    ("knee", "KNEE", "t1sagknee", "", "", "knee"),
    ("knee", "KNEE", "", "", "MRI KNEE re-scan", "knee"),
    ("knee", "", "", "SAG PD L KNEE", "", "knee L"),
    ("knee", "KNEE", "pd_sag", "pd_sag", "RM RODILLA DER", "knee R"),
    ("knee", "KNEE", "pd_sag", "pd_sag", "IRM genou, Dr Dupont", "knee"),
    ("knee", "KNEE", "pd_sag", "pd_sag", "MR Knie links, rechts der Isar", "knee L"),
    ("knee", "KNEE", "pd_sag", "pd_sag", "MRI KNEE Dx pain", "knee"),
    ("shoulder", "SHOULDER", "pd_tse_fs_cor", "pd_tse_fs_cor", "MR Schulter rechts", "shoulder R"),
    ("shoulder", "SHOULDER", "pd_cor", "pd_cor", "MR der linken Schulter", "shoulder L"),
    ("shoulder", "SHOULDER", "pd_cor", "pd_cor", "MRT der Schulter", "shoulder"),
    ("shoulder", "", "SHOULDER", "Obl Cor T2 FS", "MRI SHOULDER LEFT W/O", "shoulder L"),
    ("shoulder", "", "PDW_SPAIR_COR", "PDW_SPAIR_COR", "IRM épaule droite", "shoulder R"),
    ("shoulder", "UPPEREXTREMITY", "DP COR", "DP COR", "RM HOMBRO IZQ", "shoulder L"),
    ("shoulder", "", "", "cor dp", "RM SPALLA SX", "shoulder L"),
    ("shoulder", "", "", "cor dp", "RM Ombro Direito", "shoulder R"),
    ("shoulder", "", "", "cor pd", "MRI schouder rechts", "shoulder R"),
    ("lumbar", "LSPINE", "t2_tse_sag_320", "t2_tse_sag_320", "MR LWS", "lumbar"),
    ("lumbar", "LSPINE", "L-SPINE WO", "Sag T2 FSE", "MRI LUMBAR SPINE W/O CONTRAST", "lumbar"),
    ("lumbar", "SPINE", "T2W_TSE_SAG", "T2W_TSE_SAG", "IRM rachis lombaire", "lumbar"),
    ("lumbar", "SPINE", "T2 SAG", "T2 SAG", "RM COLUMNA LUMBO-SACRA", "lumbar"),
    ("lumbar", "", "T2 SAG", "T2 SAG", "RM RACHIDE LOMBOSACRALE", "lumbar"),
    ("lumbar", "", "T2 SAG", "T2 SAG", "RM Coluna Lombar", "lumbar"),
    ("lumbar", "", "T2 SAG", "T2 SAG", "MRI LWK", "lumbar"),
    ("lumbar", "L-SPINE", "", "LWS_t2_tse_sag", "Lendenwirbelsäule nativ", "lumbar"),
    ("lumbar", "SPINE", "", "T2 SAG L/S SPINE", "", "lumbar"),
    ("cervical", "CSPINE", "t2_tse_sag", "t2_tse_sag", "MR HWS", "cervical"),
    ("cervical", "", "C-SPINE", "Sag T2 FRFSE", "MRI CERVICAL SPINE W & W/O", "cervical"),
    ("cervical", "NECK", "T2W_TSE_SAG", "T2W_TSE_SAG", "IRM rachis cervical", "cervical"),
    ("cervical", "SPINE", "t2 sag", "t2 sag", "RM COLUMNA CERVICAL", "cervical"),
    ("cervical", "SPINE", "t2 sag", "t2 sag", "MR Halswirbelsäule", "cervical"),
    ("cervical", "SPINE", "t2 sag", "t2 sag", "MR HALSWIRBELSAEULE", "cervical"),
    ("cervical", "SPINE", "t2 sag HWS", "t2 sag HWS", "MR HWS und BWS", "cervical"),
    ("cervical", "SPINE", "t2 sag", "C SPINE T2 SAG", "MR WHOLE SPINE", "cervical"),
    ("thoracic", "TSPINE", "t2_tse_sag", "t2_tse_sag", "MR BWS", "thoracic"),
    ("thoracic", "", "T-SPINE", "Sag T2 FSE", "MRI THORACIC SPINE", "thoracic"),
    ("thoracic", "CHEST", "T2W_TSE_SAG", "T2W_TSE_SAG", "IRM rachis dorsal", "thoracic"),
    ("thoracic", "", "t2 sag", "t2 sag", "RM columna dorsal", "thoracic"),
    ("thoracic", "", "t2 sag", "t2 sag", "Brustwirbelsäule", "thoracic"),
    ("abdomen", "ABDOMEN", "t2_haste_tra_bh", "t2_haste_tra_bh", "MR Oberbauch", "abdomen"),
    ("abdomen", "ABDOMEN", "LIVER", "Ax T2 FS", "MRI ABDOMEN W/O CONTRAST", "abdomen"),
    ("abdomen", "LIVER", "T2W_SSh_TRA", "T2W_SSh_TRA", "IRM hépatique", "abdomen"),
    ("abdomen", "", "T2 AX", "T2 AX", "RM ABDOMEN SUPERIOR", "abdomen"),
    ("abdomen", "", "t2 tra", "t2 tra", "RM addome superiore", "abdomen"),
    ("abdomen", "", "t2 tra", "t2 tra", "MR Leber KM", "abdomen"),
    ("pelvis", "PELVIS", "t1_tse_cor", "t1_tse_cor", "MR Becken", "pelvis"),
    ("pelvis", "ABDOMEN", "t1_tse_cor", "t1_tse_cor", "MR Becken nativ", "pelvis"),
    ("pelvis", "", "PELVIS", "Cor T1 FSE", "MRI PELVIS W/O CONTRAST", "pelvis"),
    ("pelvis", "", "T1W_COR", "T1W_COR", "IRM bassin", "pelvis"),
    ("pelvis", "", "t1 cor", "t1 cor", "RM BACINO", "pelvis"),
    ("prostate", "PROSTATE", "t2_tse_tra", "t2_tse_tra", "", "prostate"),
    ("prostate", "PELVIS", "t2_tse_tra", "t2_tse_tra", "mpMRT Prostata", "prostate"),
    ("prostate", "ABDOMEN", "T2 AX", "T2 AX SMALL FOV", "RM PRÓSTATA", "prostate"),
    ("prostate", "", "PROSTATE", "Ax T2 FSE", "MRI PROSTATE W/WO", "prostate"),
    ("prostate", "", "T2W_TSE_TRA", "T2W_TSE_TRA", "IRM prostatique", "prostate"),
    ("prostate", "", "t2 tra", "t2 tra prostaat", "MRI bekken", "prostate"),
    ("pelvis", "", "t1 cor", "t1 cor", "MR Becken/Hüfte", "pelvis"),
]


@pytest.mark.parametrize(("geometry", "body_part", "protocol", "series", "study", "truth"), HABITS)
def test_a_volume_named_as_hospitals_name_it_goes_where_it_belongs(
    geometry: str, body_part: str, protocol: str, series: str, study: str, truth: str
) -> None:
    decision = decide_as(
        geometry,
        BodyPartExamined=body_part,
        ProtocolName=protocol,
        SeriesDescription=series,
        StudyDescription=study,
    )
    assert outcome(decision) == truth, "\n".join(decision.reasons)


NEVER = [
    # geometry, facts, part of the reason
    ("cervical", {"BodyPartExamined": "LSPINE", "SeriesDescription": "T2 sag cervical"}, "contradicts itself"),
    ("knee", {"BodyPartExamined": "KNEE", "StudyDescription": "MR OSG rechts"}, "contradicts itself"),
    ("pelvis", {"StudyDescription": "MR pelvis, cervical"}, "named alike"),
    ("prostate", {"BodyPartExamined": "PELVIS", "SeriesDescription": "t2_tse_tra"}, "axial"),
    ("knee", {"StudyDescription": "COLLEGE HOSPITAL MR"}, "no body part is named"),
    ("knee", {"BodyPartExamined": "LEG"}, "only leg is named, not knee"),
    (
        "lumbar",
        {"BodyPartExamined": "SPINE", "ProtocolName": "t2 sag"},
        "only spine is named, not cervical or lumbar or thoracic",
    ),
    (
        "lumbar",
        {"StudyDescription": "MRI CERVICAL AND LUMBAR SPINE"},
        "cervical and lumbar are named alike",
    ),
    ("lumbar", {"StudyDescription": "MR thorakolumbaler Übergang"}, "is against two levels of the spine"),
    ("abdomen", {"StudyDescription": "MRI ABDOMEN AND PELVIS"}, "only abdomen and pelvis is named"),
    ("abdomen", {"BodyPartExamined": "ABDOMEN", "SeriesDescription": "t2 tra Becken"}, "axial"),
    ("pelvis", {"BodyPartExamined": "HIP", "SeriesDescription": "t1 cor"}, "no sub-model serves hip"),
    ("lumbar", {"BodyPartExamined": "BRAIN", "SeriesDescription": "t1 sag"}, "no sub-model serves head"),
    ("prostate", {"StudyDescription": "MR Prostata, Z.n. Prostatektomie"}, "something else"),
    ("abdomen", {"BodyPartExamined": "ABDOMEN", "Modality": "CT"}, "no MR image"),
    ("knee", {"SeriesDescription": "localizer knee"}, "localizer"),
    ("knee", {"SeriesDescription": "3-plane loc", "BodyPartExamined": "KNEE"}, "localizer"),
    ("knee", {"BodyPartExamined": "KNEE", "ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"}, "localizer"),
    ("knee", {"BodyPartExamined": "KNEE", "ImageType": "DERIVED\\PRIMARY\\MPR\\NORM"}, "reformat"),
    ("knee", {"BodyPartExamined": "KNEE", "ImageType": "DERIVED\\SECONDARY\\OTHER"}, "secondary image"),
    ("knee", {"BodyPartExamined": "KNEE", "ImageType": "ORIGINAL\\PRIMARY\\P\\ND"}, "phase"),
    ("prostate", {"BodyPartExamined": "PROSTATE", "SeriesDescription": "ep2d_diff_b1400_ADC"}, "diffusion"),
    ("prostate", {"BodyPartExamined": "PROSTATE", "ImageType": "DERIVED\\PRIMARY\\DIFFUSION\\ADC"}, "diffusion"),
    ("prostate", {"BodyPartExamined": "PROSTATE", "DiffusionBValue": "800.0"}, "DiffusionBValue is 800.0"),
    ("abdomen", {"BodyPartExamined": "LIVER", "SeriesDescription": "MRCP MIP"}, "projection"),
    ("abdomen", {"BodyPartExamined": "ABDOMEN", "SeriesDescription": "gre_field_mapping"}, "field"),
    ("abdomen", {"BodyPartExamined": "ABDOMEN", "ProtocolName": "ACR-T1"}, "phantom"),
    ("abdomen", {"BodyPartExamined": "ABDOMEN", "StudyDescription": "QA weekly"}, "phantom"),
    ("knee", {"StudyDescription": "MR Knie rechts", "Laterality": "L"}, "contradicts itself on the side"),
    ("knee", {"StudyDescription": "MR Knie rechts", "SeriesDescription": "pd_sag_li"}, "on the side"),
    ("shoulder", {"StudyDescription": "MRI RIGHT SHOULDER", "SeriesDescription": "COR LEFT"}, "on the side"),
]


@pytest.mark.parametrize(("geometry", "facts", "reason"), NEVER)
def test_what_is_in_doubt_or_not_for_segmentation_is_unrouted_with_the_reason(
    geometry: str, facts: dict[str, str], reason: str
) -> None:
    decision = decide_as(geometry, **facts)
    assert decision.routes == ()
    assert reason in decision.summary


def test_a_b_value_of_0_as_some_scanners_write_it_everywhere_is_no_diffusion() -> None:
    assert outcome(decide_as("knee", BodyPartExamined="KNEE", DiffusionBValue="0.0")) == "knee"


def test_a_contradiction_names_both_witnesses_and_what_they_said() -> None:
    decision = decide_as("cervical", BodyPartExamined="LSPINE", SeriesDescription="T2 sag cervical")
    assert 'BodyPartExamined "LSPINE" names lumbar' in decision.summary
    assert 'SeriesDescription "T2 sag cervical" names cervical' in decision.summary


@pytest.mark.parametrize("protocol", GEOMETRY)
@pytest.mark.parametrize("plane", list(AXES))
def test_a_protocol_is_served_in_its_training_plane_alone(protocol: str, plane: str) -> None:
    trained, slices, pitch, field = GEOMETRY[protocol]
    names = {"cervical": "CSPINE", "thoracic": "TSPINE", "lumbar": "LSPINE"}
    body_part = names.get(protocol, protocol.upper())
    decision = decide(make_volume(plane, slices, pitch, field, {"BodyPartExamined": body_part}), ROUTING)
    assert outcome(decision) == (protocol if plane == trained else "")
    if plane != trained:
        assert f"the slices are {plane}, not {trained}" in decision.summary


@pytest.mark.parametrize(
    ("body_part", "plane", "slices", "pitch", "field", "reason"),
    [
        ("KNEE", "sagittal", 30, 3.3, 500, "field of view of 500 mm"),
        ("LSPINE", "sagittal", 17, 4.4, 600, "field of view of 600 mm"),
        ("ABDOMEN", "axial", 5, 6.0, 380, "its number of slices of 5 is not at least 12"),
        ("ABDOMEN", "axial", 36, 6.0, 180, "field of view of 180 mm"),
        ("PROSTATE", "axial", 60, 6.0, 380, "field of view of 380 mm"),
        ("KNEE", "sagittal", 30, 1.0, 160, "stack of slices of 30 mm"),
    ],
)
def test_a_volume_too_large_or_too_small_for_the_body_part_is_unrouted(
    body_part: str, plane: str, slices: int, pitch: float, field: float, reason: str
) -> None:
    decision = decide(make_volume(plane, slices, pitch, field, {"BodyPartExamined": body_part}), ROUTING)
    assert decision.routes == ()
    assert reason in decision.summary


@pytest.mark.parametrize("keyword", ["Laterality", "ImageLaterality", "FrameLaterality"])
@pytest.mark.parametrize(
    ("value", "side"), [("R", Laterality.RIGHT), ("L", Laterality.LEFT), ("B", None), ("U", None)]
)
def test_the_side_of_a_knee_comes_from_the_coded_laterality(
    keyword: str, value: str, side: Laterality | None
) -> None:
    decision = decide_as("knee", BodyPartExamined="KNEE", **{keyword: value})
    assert decision.routes[0].laterality is side


def test_a_knee_without_a_side_is_delivered_without_one_and_says_so() -> None:
    decision = decide_as("knee", BodyPartExamined="KNEE")
    assert decision.routes[0].laterality is None
    assert "side not stated: the segments carry no side" in decision.reasons


def test_a_shoulder_without_a_side_keeps_the_labels_of_both() -> None:
    decision = decide_as("shoulder", BodyPartExamined="SHOULDER")
    assert decision.routes[0].laterality is None
    assert "side not stated: both sides' labels are kept" in decision.reasons


def test_a_left_knee_that_lies_far_to_the_patients_right_is_unrouted() -> None:
    facts = {"BodyPartExamined": "KNEE", "Laterality": "L"}
    assert decide(make_volume(*GEOMETRY["knee"], facts, middle_x=+95), ROUTING).routes
    decision = decide(make_volume(*GEOMETRY["knee"], facts, middle_x=-95), ROUTING)
    assert decision.routes == ()
    assert "95 mm to the right" in decision.summary


def test_the_position_alone_never_states_a_side() -> None:
    decision = decide(make_volume(*GEOMETRY["knee"], {"BodyPartExamined": "KNEE"}, middle_x=-95), ROUTING)
    assert decision.routes[0].laterality is None


def test_every_witness_and_every_protocol_is_in_the_reasons() -> None:
    decision = decide_as("knee", BodyPartExamined="KNEE", ProtocolName="pd_sag", StudyDescription="MR Knie rechts")
    assert decision.reasons == (
        'BodyPartExamined "KNEE" names knee (KNEE)',
        'ProtocolName "pd_sag" names no body part that is known here',
        'StudyDescription "MR Knie rechts" names knee (knie)',
        "purpose anatomy: nothing speaks against it",
        'weighting PD: ProtocolName "pd_sag" has "pd"',
        "kind: PD",
        "body part: knee (confidence 1.00)",
        'StudyDescription "MR Knie rechts" says right',
        "mrannotator-abdomen abdomen: the body part is knee, not abdomen",
        "mrannotator-pelvis-prostate pelvis: the body part is knee, not pelvis",
        "mrannotator-pelvis-prostate prostate: the body part is knee, not prostate",
        "mrannotator-shoulder-knee shoulder: the body part is knee, not shoulder",
        "mrannotator-shoulder-knee knee: matched",
        "mrannotator-spine cervical: the body part is knee, not cervical",
        "mrannotator-spine thoracic: the body part is knee, not thoracic",
        "mrannotator-spine lumbar: the body part is knee, not lumbar",
        "routed: knee, right, by mrannotator-shoulder-knee",
    )


def test_of_the_pelvis_and_the_prostate_in_it_plane_and_field_of_view_choose() -> None:
    study = {"StudyDescription": "MR Becken/Prostata"}
    assert outcome(decide_as("prostate", **study)) == "prostate"
    assert outcome(decide_as("pelvis", **study)) == "pelvis"
    assert outcome(decide(make_volume("axial", 40, 5.0, 400, study), ROUTING)) == ""


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["StationName", "EchoTime", "Manufacturer", "ReceiveCoilName", "SeriesNumber"]),
        st.text(max_size=12),
    ),
    st.randoms(use_true_random=False),
)
def test_order_of_facts_and_facts_that_are_no_witness_change_nothing(more: dict[str, str], random: object) -> None:
    facts = {"BodyPartExamined": "KNEE", "StudyDescription": "MR Knie rechts", "ImageType": "ORIGINAL\\PRIMARY\\M"}
    items = [*facts.items(), *more.items()]
    random.shuffle(items)  # type: ignore[attr-defined]  # a random.Random
    assert decide_as("knee", **dict(items)) == decide_as("knee", **facts)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(GEOMETRY)), st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_a_decision_and_none_is_without_a_reason(geometry: str, series: str, study: str) -> None:
    decision = decide_as(geometry, SeriesDescription=series, StudyDescription=study)
    assert decision.summary
    assert decision.reasons


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("COLLEGE", "leg", False),
        ("Left_Leg", "leg", True),
        ("Hüftgelenk", "huft*", True),
        ("Hueftgelenk", "hüft*", True),
        ("MRKnee", "knee", True),
        ("t1sagknee", "knee", True),
        ("knee3d", "knee", True),
        ("L-SPINE", "l spine", True),
        ("T2 SPINE", "t spine", False),
        ("膝関節MRI", "膝", True),
        ("thoracolumbar", "lumbar", False),
    ],
)
def test_words_are_compared_whole_and_without_case_accents_and_glue(text: str, pattern: str, matches: bool) -> None:
    assert (first_word(plain_words(text), (pattern,)) is not None) is matches


@pytest.mark.parametrize(
    ("folder", "truths"),
    [
        ("prostate/px0001_t2_tra", ["prostate"]),
        ("prostate/px0001_t2_sag", [""]),
        ("prostate/px0001_t2_cor", [""]),
        ("prostate/px0001_adc", [""]),
        ("prostate/px0001_calc_b1000", [""]),
        ("prostate/px0001_dwi_b50_400_800", ["", "", ""]),
        ("prostate/px0001_loc_sag", [""]),
        ("prostate/px0001_localizer_3plane", None),
        ("phantom/hazen_philips_achieva_3t_t1", [""]),
        ("phantom/imagedata_cohort_p1", None),
        ("tricky/siemens_hfdr_t1_sag", [""]),
    ],
)
def test_real_series_are_routed_as_a_person_would(folder: str, truths: list[str] | None) -> None:
    """`truths` None: however many volumes there are, none is routed."""
    found = [outcome(decide(volume, ROUTING)) for volume in find_volumes(read_headers(real_files(folder))).volumes]
    assert found == ([""] * len(found) if truths is None else truths)
