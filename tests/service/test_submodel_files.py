"""A wrong file of a sub-model is answered with its name, the line, the key and what is allowed."""

from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError
from service.submodel import SHIPPED, load_submodels, site_submodels

WORDING = (SHIPPED / "mrannotator-shoulder-knee.toml").read_text(encoding="utf-8")
WRONG = [
    # what is replaced, by what, the line's text, what the error says
    ('name = "knee"', 'nmae = "knee"', 'nmae = "knee"', "protocol.2.nmae: is not a known key; known: name, planes"),
    ('planes = ["coronal"]', 'planes = ["frontal"]', '["frontal"]', "'axial', 'sagittal' or 'coronal'"),
    ("keep = [1, 2, 3, 4]\n", "keep = [1, 2, 99]\n", "", "keep has [99]; allowed are the labels 1, 2, 3"),
    ('orientation = "LAS"', 'orientation = "LAX"', '"LAX"', "one each of L or R, A or P, S or I"),
    (
        "rgb = [115, 215, 125]",
        "rgb = [115, 215, 991]",
        "991",
        "label.2.rgb.3: Input should be less than or equal to 255",
    ),
    ("rgb = [115, 215, 125]\n", "", "", "label.2.rgb: is missing; known: value, name, category, type"),
    ("value = 3\n", "value = 2\n", "", "label value 2 stands twice"),
    ("minimum_slices = 12", "minimum_slices = 0", "minimum_slices = 0", "greater than or equal to 1"),
    ("least = 50, most = 220", "least = 500, most = 220", "least = 500", "least (500) is greater than most (220)"),
    (
        'laterality = "left"',
        'laterality = "sinister"',
        '"sinister"',
        "'right', 'left' or 'bilateral', but is 'sinister'",
    ),
    ('side = "labels"', 'side = "labels', "", "not valid TOML"),
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
    text = WORDING.replace("rgb = [115, 215, 125]\n", "", 1)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_submodels([tmp_path])
    headers = [number for number, each in enumerate(text.splitlines(), 1) if each == "[[label]]"]
    assert f"line {headers[1]}: label.2.rgb" in str(caught.value)


def test_a_file_of_the_site_replaces_the_shipped_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "knee.toml").write_text(
        WORDING.replace("trainers = [", "folds = [0, 1]\ntrainers = ["), encoding="utf-8"
    )
    found = {submodel.name: submodel for submodel in site_submodels(tmp_path.name, tmp_path.parent)}
    assert found.keys() == {each.name for each in load_submodels()}
    assert found["mrannotator-shoulder-knee"].network[0].folds == (0, 1)


def test_two_files_of_one_folder_may_not_have_the_same_name(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(WORDING, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"b\.toml: name: 'mrannotator-shoulder-knee' is taken"):
        load_submodels([tmp_path])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'submodel = "totalsegmentator-total-mr-fast"',
            'submodel = "total"',
            "crop.submodel: 'total'; allowed are amos",
        ),
        ('labels = ["liver"]', 'labels = ["livre"]', "crop.labels: totalsegmentator-total-mr-fast has no livre"),
    ],
)
def test_a_crop_that_names_what_is_not_there_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (SHIPPED / "totalsegmentator-liver-segments-mr.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=says):
        site_submodels(tmp_path.name, tmp_path.parent)


@pytest.mark.parametrize(
    ("name", "old", "new", "key"),
    [
        ("amos", "rgb = [205, 105, 75]", "rgb = [205, 105, 400]", "label.6.rgb.3"),
        (
            "totalsegmentator-body-mr",
            "resample_mm = [1.5, 1.5, 1.5]",
            "resample_mm = [1.5, 1.5, 0]",
            "resample_mm.3",
        ),
        (
            "mrsegmentator",
            'name = "chest", planes = [',
            'name = "chest", planes = ["skew", ',
            "protocol.6.planes.1",
        ),
    ],
)
def test_an_error_in_a_table_of_one_line_is_reported_at_that_line(
    tmp_path: Path, name: str, old: str, new: str, key: str
) -> None:
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").replace(old, new, 1)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    number = next(number for number, each in enumerate(text.splitlines(), 1) if new in each)
    with pytest.raises(ConfigurationError) as caught:
        load_submodels([tmp_path])
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}, line {number}: {key}: ")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        load_submodels([tmp_path / "absent"])


def test_a_sub_model_cannot_be_changed() -> None:
    submodel = next(each for each in load_submodels() if each.name == "mrannotator-spine")
    with pytest.raises(ValueError, match="frozen"):
        submodel.name = "other"
