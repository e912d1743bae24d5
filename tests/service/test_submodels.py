"""The shipped sub-models against what is published of them, and what a wrong file is answered."""

from collections import Counter
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Laterality, Plane
from service.submodel import SHIPPED, SubModel, load_submodels, site_submodels
from service.vocabulary import shipped_vocabulary

BY_NAME = {submodel.name: submodel for submodel in load_submodels()}

WORDING = (SHIPPED / "mrannotator-shoulder-knee.toml").read_text(encoding="utf-8")


def names(submodel: str, protocol: str, laterality: Laterality | None = None) -> list[str]:
    return [segment.name for segment in BY_NAME[submodel].segments(protocol, laterality)]


def test_four_sub_models_with_44_labels_serve_the_eight_protocols() -> None:
    assert {name: len(submodel.label) for name, submodel in BY_NAME.items()} == {
        "mrannotator-abdomen": 8,
        "mrannotator-shoulder-knee": 10,
        "mrannotator-pelvis-prostate": 4,
        "mrannotator-spine": 22,
    }
    planes = {protocol.name: protocol.planes for each in BY_NAME.values() for protocol in each.protocol}
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
    assert {submodel.orientation for submodel in BY_NAME.values()} == {"LAS"}


def test_label_values_are_1_to_n_in_the_order_of_the_published_tables() -> None:
    for submodel in BY_NAME.values():
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
    labels = {label.name: label for submodel in BY_NAME.values() for label in submodel.label}
    for name, code in expected.items():
        assert (labels[name].type.value, labels[name].type.scheme) == (code.value, "SCT"), name
    assert {label.category.value for label in labels.values()} == {codes.SCT.AnatomicalStructure.value}


def test_a_label_that_is_named_after_a_side_has_that_sides_code() -> None:
    sides = {"right": codes.SCT.Right, "left": codes.SCT.Left}
    for submodel in BY_NAME.values():
        for protocol in submodel.protocol:
            for segment in submodel.segments(protocol.name, None):
                side = segment.name.rsplit("_", 1)[-1]
                if side in sides:
                    assert segment.laterality is not None
                    assert segment.laterality.value == sides[side].value


def test_colours_of_a_sub_model_are_told_apart() -> None:
    for submodel in BY_NAME.values():
        assert max(Counter(label.rgb for label in submodel.label).values()) == 1


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


WRONG = [
    # what is replaced, by what, the line's text, what the error says
    ('name = "knee"', 'nmae = "knee"', 'nmae = "knee"', "protocol.2.nmae: is not a known key; known: name, planes"),
    ('planes = ["coronal"]', 'planes = ["frontal"]', '["frontal"]', "'axial', 'sagittal' or 'coronal'"),
    ("keep = [1, 2, 3, 4]\n", "keep = [1, 2, 99]\n", "", "keep has [99]; allowed are the labels 1, 2, 3"),
    ('orientation = "LAS"', 'orientation = "LAX"', '"LAX"', "one each of L or R, A or P, S or I"),
    (
        "rgb = [229, 253, 91]",
        "rgb = [229, 253, 991]",
        "991",
        "label.2.rgb.3: Input should be less than or equal to 255",
    ),
    ("rgb = [229, 253, 91]\n", "", "", "label.2.rgb: is missing; known: value, name, category, type"),
    ("value = 3\n", "value = 2\n", "", "label value 2 stands twice"),
    ("minimum_slices = 12", "minimum_slices = 0", "minimum_slices = 0", "greater than or equal to 1"),
    ("least = 50, most = 220", "least = 500, most = 220", "least = 500", "least (500) is greater than most (220)"),
    (
        'laterality = "left"',
        'laterality = "sinister"',
        '"sinister"',
        "'right', 'left' or 'bilateral', but is 'sinister'",
    ),
    ("folds = [0]", "folds = [0", "", "not valid TOML"),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), WRONG)
def test_a_wrong_file_is_answered_with_its_name_the_line_the_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, line: str, says: str
) -> None:
    assert old in WORDING
    text = WORDING.replace(old, new, 1)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_submodels([tmp_path])
    assert says in str(caught.value)
    assert str(tmp_path / "mine.toml") in str(caught.value)
    if line:
        number = next(number for number, each in enumerate(text.splitlines(), 1) if line in each)
        assert f"mine.toml, line {number}:" in str(caught.value)


def test_a_missing_key_is_reported_at_its_own_table(tmp_path: Path) -> None:
    text = WORDING.replace("rgb = [229, 253, 91]\n", "", 1)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_submodels([tmp_path])
    headers = [number for number, each in enumerate(text.splitlines(), 1) if each == "[[label]]"]
    assert f"line {headers[1]}: label.2.rgb" in str(caught.value)


def test_a_file_of_the_site_replaces_the_shipped_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "knee.toml").write_text(WORDING.replace("folds = [0]", "folds = [0, 1]"), encoding="utf-8")
    found = {submodel.name: submodel for submodel in site_submodels(tmp_path.name, tmp_path.parent)}
    assert found.keys() == BY_NAME.keys()
    assert found["mrannotator-shoulder-knee"].folds == (0, 1)


def test_two_files_of_one_folder_may_not_have_the_same_name(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(WORDING, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"b\.toml: name: 'mrannotator-shoulder-knee' is taken"):
        load_submodels([tmp_path])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        load_submodels([tmp_path / "absent"])


def test_a_sub_model_cannot_be_changed() -> None:
    submodel: SubModel = BY_NAME["mrannotator-spine"]
    with pytest.raises(ValueError, match="frozen"):
        submodel.name = "other"
