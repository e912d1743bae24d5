"""The shipped sub-models against what is published of them, and what a wrong file is answered."""

from collections import Counter
from typing import Any, cast

import pytest
from pydicom.sr import _concepts_dict
from pydicom.sr.codedict import codes

from dicom_nodes.types import Laterality, Plane
from service.routing.vocabulary import shipped_vocabulary
from service.submodel import Network, SubModel, load_submodels

BY_NAME = {submodel.name: submodel for submodel in load_submodels()}


def names(submodel: str, protocol: str, laterality: Laterality | None = None) -> list[str]:
    return [segment.name for segment in BY_NAME[submodel].segments(protocol, laterality)]


def of_system(system: str) -> dict[str, int]:
    """How many structures each sub-model of a system finds, variants left out."""
    found = (each for each in BY_NAME.values() if each.system == system and not each.variant_of)
    return {each.name.removeprefix("totalsegmentator-"): len(each.label) for each in found}


MRANNOTATOR = {
    name: submodel for name, submodel in BY_NAME.items() if submodel.system == "MRAnnotator"
}  # fmt: skip


def test_four_sub_models_of_mrannotator_with_44_labels_serve_the_eight_protocols() -> None:
    assert of_system("MRAnnotator") == {
        "mrannotator-abdomen": 8,
        "mrannotator-shoulder-knee": 10,
        "mrannotator-pelvis-prostate": 4,
        "mrannotator-spine": 22,
    }
    planes = {protocol.name: protocol.planes for each in MRANNOTATOR.values() for protocol in each.protocol}
    assert planes == {
        "abdomen": (Plane.AXIAL,),
        "pelvis": (Plane.CORONAL,),
        "prostate": (Plane.AXIAL,),
        "shoulder": (Plane.CORONAL,),
        "knee": (Plane.SAGITTAL,),
        "cervical": (Plane.SAGITTAL,),
        "thoracic": (Plane.SAGITTAL,),
        "lumbar": (Plane.SAGITTAL,),
    }
    assert {submodel.orientation for submodel in MRANNOTATOR.values()} == {"LAS"}


def test_the_paper_of_totalsegmentator_mri_counts_80_structures_in_five_sub_models() -> None:
    found = of_system("TotalSegmentator MRI")
    paper = ["total-mr", "appendicular-bones-mr", "face-mr", "thigh-shoulder-muscles-mr", "tissue-types-mr"]
    assert [found[name] for name in paper] == [50, 8, 1, 18, 3]
    structures = {label.name for name in paper for label in BY_NAME[f"totalsegmentator-{name}"].label}
    assert len(structures) == 80
    others = {"vertebrae-mr": 25, "body-mr": 2, "liver-segments-mr": 8, "liver-lesions-mr": 1, "before-2-5": 0}
    assert {name: count for name, count in found.items() if name not in paper} == others


def test_mrsegmentator_has_40_structures_and_10_of_body_composition_and_amos_15() -> None:
    assert of_system("MRSegmentator") == {"mrsegmentator": 40, "mrsegmentator-body-comp": 10}
    assert of_system("AMOS") == {"amos": 15}


def test_each_system_sees_the_volume_turned_as_its_authors_turn_it() -> None:
    turned = {submodel.system: submodel.orientation for submodel in BY_NAME.values()}
    assert turned == {"MRAnnotator": "LAS", "MRSegmentator": "LPS", "TotalSegmentator MRI": "RAS", "AMOS": "RAS"}


def test_the_two_halves_of_total_mr_are_merged_to_the_values_of_the_one_at_3_mm() -> None:
    total, fast = BY_NAME["totalsegmentator-total-mr"], BY_NAME["totalsegmentator-total-mr-fast"]
    organs, muscles = total.network
    assert total.values_of(organs) == tuple(range(30))
    assert total.values_of(muscles) == (0, *range(30, 51))
    assert fast.values_of(fast.network[0]) == tuple(range(51))
    assert (total.label[29].name, total.label[49].name) == ("humerus_left", "brain")


def test_auxiliary_labels_of_the_face_are_dropped() -> None:
    face = BY_NAME["totalsegmentator-face-mr"]
    assert face.network[0].labels == ("face", "brain", "liver")
    assert face.values_of(face.network[0]) == (0, 1, 0, 0)


def test_variants_differ_from_their_sub_model_as_their_authors_say() -> None:
    fast, split = BY_NAME["mrsegmentator-fast"], BY_NAME["mrsegmentator-split"]
    assert (fast.network[0].folds, fast.tile_step, fast.mirroring, fast.split_level) == ((0,), 0.8, False, 0)
    assert (split.network[0].folds, split.tile_step, split.mirroring, split.split_level) == (
        (0, 1, 2, 3, 4), 0.5, True, 1,
    )  # fmt: skip
    assert {
        name: BY_NAME[f"totalsegmentator-{name}"].resample_mm for name in ("total-mr-fast", "body-mr-fast")
    } == {
        "total-mr-fast": (3.0, 3.0, 3.0),
        "body-mr-fast": (6.0, 6.0, 6.0),
    }


def test_a_crop_names_a_sub_model_and_labels_that_there_are() -> None:
    crops = {name: submodel.crop for name, submodel in BY_NAME.items() if submodel.crop}
    assert set(crops) == {"totalsegmentator-liver-segments-mr", "totalsegmentator-liver-lesions-mr"}
    for crop in crops.values():
        assert set(crop.labels) <= {label.name for label in BY_NAME[crop.submodel].label}
        assert crop.margin_mm == 20


def test_licences_that_restrict_are_asked_for() -> None:
    asked = {
        name.removeprefix("totalsegmentator-") for name, submodel in BY_NAME.items() if submodel.accept_licence
    }
    paid = {"appendicular-bones-mr", "face-mr", "thigh-shoulder-muscles-mr", "tissue-types-mr"}
    assert asked == {*MRANNOTATOR, *paid}


def test_one_network_has_one_meaning_wherever_it_stands() -> None:
    networks: dict[str, Network] = {}
    for submodel in BY_NAME.values():
        for network in submodel.network:
            plain = network.model_copy(update={"folds": (0,)})
            assert networks.setdefault(network.name, plain) == plain


def test_a_sub_model_without_labels_is_refused_unless_it_is_obsolete() -> None:
    obsolete = BY_NAME["totalsegmentator-before-2-5"]
    assert obsolete.obsolete and not obsolete.protocol
    with pytest.raises(ValueError, match="a sub-model without labels finds nothing"):
        SubModel.model_validate(BY_NAME["mrannotator-spine"].model_dump() | {"label": (), "protocol": ()})


def test_label_values_are_1_to_n_in_the_order_of_the_published_tables() -> None:
    for submodel in BY_NAME.values():
        first = [value for network in submodel.network for value in submodel.values_of(network) if value]
        assert first == sorted(first)
        assert [label.value for label in submodel.label] == list(range(1, len(submodel.label) + 1))
    assert names("mrannotator-abdomen", "abdomen")[:3] == ["spleen", "kidney_right", "kidney_left"]
    spine = names("mrannotator-spine", "lumbar")
    assert (spine[0], spine[4], spine[5], spine[16], spine[17], spine[21]) == (
        "Vertebrae C3", "Vertebrae C7", "Vertebrae T1", "Vertebrae T12", "Vertebrae L1", "Vertebrae L5",
    )  # fmt: skip


def test_every_code_is_the_one_that_the_dictionary_has_for_that_structure() -> None:
    expected = {
        "kidney_left": codes.SCT.Kidney,
        "liver": codes.SCT.Liver,
        "inferior vena cava": codes.SCT.InferiorVenaCava,
        "patella": codes.SCT.Patella,
        "tibia": codes.SCT.Tibia,
        "scapula_left": codes.SCT.Scapula,
        "prostate": codes.SCT.Prostate,
        "sacrum": codes.SCT.Sacrum,
        "Vertebrae C3": codes.SCT.C3Vertebra,
        "Vertebrae T12": codes.SCT.T12Vertebra,
        "Vertebrae L5": codes.SCT.L5Vertebra,
    }
    labels = {label.name: label for submodel in MRANNOTATOR.values() for label in submodel.label}
    for name, code in expected.items():
        assert (labels[name].type.value, labels[name].type.scheme) == (code.value, "SCT"), name
    assert {label.category.value for label in labels.values()} == {codes.SCT.AnatomicalStructure.value}


DICTIONARY: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = cast(Any, _concepts_dict.concepts)
"""Scheme to keyword to code to its meaning and the context groups of PS3.16 that have it, as pydicom knows them."""

MEANINGS: dict[str, set[str]] = {}
"""Codes that stand in a context group, with every meaning that they have there."""
for entries in DICTIONARY["SCT"].values():
    for code, (meaning, groups) in entries.items():
        if groups:
            MEANINGS.setdefault(code, set()).add(meaning.casefold())

APPROXIMATE = {
    # names of labels whose code is in a context group and means more or less than the label
    "upper_femora", "pelvis", "hip_left", "hip_right", "left_hip", "right_hip", "infraspinatus", "torso_fat",
    "visceral_fat", "left_oblique_muscle", "right_oblique_muscle", "prostate_or_uterus",
}  # fmt: skip


def test_every_code_stands_in_a_context_group_and_exactly_those_that_do_not_or_mean_something_else_are_marked() -> (
    None
):
    for submodel in BY_NAME.values():
        for label in submodel.label:
            known = label.type.scheme == "SCT" and label.type.value in MEANINGS
            assert label.verified is (known and label.name not in APPROXIMATE), f"{submodel.name}: {label.name}"


def test_a_verified_code_has_a_meaning_that_the_dictionary_gives_it() -> None:
    labels = [label for submodel in BY_NAME.values() for label in submodel.label if label.verified]
    for label in labels:
        assert label.type.meaning.casefold() in MEANINGS[label.type.value], label.name


def test_a_code_has_one_meaning_in_all_tables() -> None:
    meanings: dict[str, set[str]] = {}
    for submodel in BY_NAME.values():
        for label in submodel.label:
            meanings.setdefault(label.type.value, set()).add(label.type.meaning)
    assert {code: each for code, each in meanings.items() if len(each) > 1} == {}


def test_categories_are_those_of_cid_7150() -> None:
    labels = [label for submodel in BY_NAME.values() for label in submodel.label]
    cid_7150 = {code.value: code.meaning for code in codes.CID7150.concepts.values()}
    used = {label.category.value: label.category.meaning for label in labels}
    assert used.keys() == {codes.SCT.AnatomicalStructure.value, codes.SCT.Tissue.value, "49755003"}
    assert used.items() <= cid_7150.items()


WRONG_ELSEWHERE = {
    # published with MRSegmentator: what the code really means
    "28273000": "bile duct", "244411005": "iliac vein", "113262008": "thoracic aorta", "91609006": "mandible",
    "72107004": "azygos vein", "110568007": "gastric vein", "22356005": "ilium",
}  # fmt: skip


def test_no_code_is_one_of_those_that_mrsegmentator_gives_to_other_structures() -> None:
    used = {label.type.value for submodel in BY_NAME.values() for label in submodel.label}
    assert used & WRONG_ELSEWHERE.keys() == set()


def test_plausible_volumes_keep_to_the_published_cut_offs_and_are_wide_elsewhere() -> None:
    cut_offs = {"spleen": 40, "right kidney": 50, "left kidney": 30, "liver": 100, "adrenal gland": 1}
    for submodel in BY_NAME.values():
        for label in submodel.label:
            if label.volume_ml:
                organ = label.type.meaning.lower()
                organ = f"{label.laterality} kidney" if organ == "kidney" else organ
                assert label.volume_ml.least == cut_offs.get(organ, label.volume_ml.least)
                assert label.volume_ml.most > 5 * label.volume_ml.least


def test_a_structure_that_several_sub_models_find_is_as_large_and_in_as_many_pieces_in_each() -> None:
    said: dict[tuple[str, str | None, str], set[str]] = {}
    for submodel in BY_NAME.values():
        for label in submodel.label:
            if label.type.meaning in ("Liver", "Spleen", "Kidney", "Pancreas", "Gallbladder", "Sacrum"):
                key = (label.type.value, label.laterality, label.type.meaning)
                said.setdefault(key, set()).add(f"{label.volume_ml!r} {label.pieces} {label.inside_mm}")
    assert len(said) == 7
    assert all(len(each) == 1 for each in said.values())


def test_every_structure_of_mrannotator_has_a_plausible_volume() -> None:
    found = [label for submodel in BY_NAME.values() if submodel.system == "MRAnnotator" for label in submodel.label]
    assert len(found) == 44
    assert all(label.volume_ml for label in found)


def test_a_label_that_is_named_after_a_side_has_that_sides_code() -> None:
    for submodel in BY_NAME.values():
        for label in submodel.label:
            named = {"right", "left"} & set(label.name.split("_"))
            if named:
                assert label.laterality == next(iter(named)), f"{submodel.name}: {label.name}"
            else:
                assert label.laterality in (None, "bilateral")


def test_colours_of_a_sub_model_are_told_apart() -> None:
    for submodel in BY_NAME.values():
        assert all(count == 1 for count in Counter(label.rgb for label in submodel.label).values())


@pytest.mark.parametrize(("laterality", "code"), [(Laterality.RIGHT, "24028007"), (Laterality.LEFT, "7771000")])
def test_a_knee_delivers_four_bones_with_the_stated_side(laterality: Laterality, code: str) -> None:
    segments = BY_NAME["mrannotator-shoulder-knee"].segments("knee", laterality)
    assert [segment.name for segment in segments] == ["femur", "patella", "fibula", "tibia"]
    assert {segment.laterality.value for segment in segments if segment.laterality} == {code}
    assert all(segment.laterality for segment in segments)


def test_a_knee_whose_side_is_not_stated_delivers_bones_without_a_side() -> None:
    segments = BY_NAME["mrannotator-shoulder-knee"].segments("knee", None)
    assert [segment.laterality for segment in segments] == [None] * 4


def test_a_shoulder_delivers_the_labels_of_its_own_side_and_both_if_none_is_stated() -> None:
    right = ["humerus_right", "clavicle_right", "scapula_right"]
    left = ["humerus_left", "clavicle_left", "scapula_left"]
    assert names("mrannotator-shoulder-knee", "shoulder", Laterality.RIGHT) == right
    assert names("mrannotator-shoulder-knee", "shoulder", Laterality.LEFT) == left
    assert names("mrannotator-shoulder-knee", "shoulder") == right + left


def test_pelvis_and_prostate_deliver_only_what_their_own_series_were_labelled_with() -> None:
    assert names("mrannotator-pelvis-prostate", "pelvis") == ["upper_femora", "pelvis", "sacrum"]
    assert names("mrannotator-pelvis-prostate", "prostate") == ["prostate"]


def test_a_protocol_that_a_sub_model_does_not_serve_has_no_segments() -> None:
    with pytest.raises(KeyError, match="mrannotator-spine does not serve knee"):
        BY_NAME["mrannotator-spine"].segments("knee", None)


def test_every_region_that_includes_another_names_one_that_exists() -> None:
    vocabulary = shipped_vocabulary()
    protocols = [protocol for submodel in BY_NAME.values() for protocol in submodel.protocol]
    known = {region.name for region in vocabulary.region} | {protocol.name for protocol in protocols}
    included = {inner for region in vocabulary.region for inner in region.includes}
    included |= {inner for protocol in protocols for inner in protocol.includes}
    assert included <= known
