"""What a result must hold is data of the sub-models: all eight protocols have it, and nonsense is refused."""

import tomllib
from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError
from service.expectation import Toward, named
from service.submodel import SHIPPED, SubModel, load_submodels
from service.tomlfile import parse_toml

SPINE = SHIPPED / "mrannotator-spine.toml"
LADDER = 'order = [{ labels = ["Vertebrae *"], toward = "feet", unbroken = true, least_ml = 0.3 }]'
LUMBAR = 'expect = [{ labels = ["Vertebrae L*"], structures = 3, least_ml = 4 }]'


def refused(old: str, new: str) -> str:
    text = SPINE.read_text()
    assert text.count(old) == 1
    with pytest.raises(ConfigurationError) as error:
        parse_toml(text.replace(old, new), Path("mine.toml"), SubModel)
    return str(error.value)


def test_every_protocol_of_the_eight_says_what_it_must_show() -> None:
    ours = [submodel for submodel in load_submodels() if submodel.system == "MRAnnotator"]
    protocols = [protocol for submodel in ours for protocol in submodel.protocol]
    assert len(protocols) == 8
    assert all(protocol.expect for protocol in protocols)


def test_whatever_finds_single_vertebrae_says_in_which_order_they_lie() -> None:
    for submodel in load_submodels():
        levels = [label.name for label in submodel.label if label.name.lower().startswith("vertebrae_c") or
                  label.name.startswith("Vertebrae C")]  # fmt: skip
        assert any(order.unbroken for order in submodel.order) == bool(levels), submodel.name


def test_a_variant_expects_what_its_sub_model_does() -> None:
    by_name = {submodel.name: submodel for submodel in load_submodels()}
    fast = by_name["totalsegmentator-total-mr-fast"]
    assert fast.order == by_name["totalsegmentator-total-mr"].order != ()
    assert fast.serves("abdomen").expect == by_name["totalsegmentator-total-mr"].serves("abdomen").expect != ()


def test_patterns_name_labels_in_their_order_and_each_once() -> None:
    names = ("L1", "L2", "T12", "sacrum")
    assert named(("T*", "L*"), names) == ("T12", "L1", "L2")
    assert named(("*1*", "L1"), names) == ("L1", "T12")
    assert named(("C*",), names) == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            LUMBAR,
            LUMBAR.replace("Vertebrae L*", "vertebrae L*"),
            "lumbar: expect 1: 'vertebrae L*' names no label",
        ),
        (LUMBAR, LUMBAR.replace("= 3", "= 6"), "protocol lumbar: expect 1: 6 structures are wanted of 5"),
        (LUMBAR, LUMBAR.replace("least_ml = 4", "least_ml = 0"), "least_ml"),
        (LUMBAR, LUMBAR.replace("least_ml = 4", "most_ml = 4"), "most_ml"),
        (LADDER, LADDER.replace("feet", "caudal"), "'left', 'posterior', 'head', 'right', 'anterior' or 'feet'"),
        (LADDER, LADDER.replace("Vertebrae *", "Vertebrae L3"), "order 1: 2 structures are wanted of 1"),
    ],
)
def test_what_can_never_be_found_or_is_not_known_is_refused_with_what_is_allowed(
    old: str, new: str, says: str
) -> None:
    assert says in refused(old, new)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        (
            'presence = [{ labels = ["Vertebrae L6"], where = ["Vertebrae L5"] }]',
            "1: 'Vertebrae L6' names no label",
        ),
        ('presence = [{ labels = ["Vertebrae L5"], where = ["sacrum"] }]', "presence 1: 'sacrum' names no label"),
        (
            'junction = [{ base = "sacrum", labels = ["Vertebrae *"], toward = "head" }]',
            "1: 'sacrum' names no label",
        ),
    ],
)
def test_what_is_expected_beside_or_upon_a_label_that_is_not_there_is_refused(added: str, says: str) -> None:
    assert says in refused(LADDER, f"{LADDER}\n{added}")


def test_a_label_that_a_protocol_does_not_deliver_cannot_be_expected_of_it() -> None:
    text = (SHIPPED / "mrannotator-pelvis-prostate.toml").read_text()
    assert tomllib.loads(text)["protocol"][1]["keep"] == [4]
    wrong = text.replace('labels = ["prostate"], least_ml', 'labels = ["sacrum"], least_ml')
    with pytest.raises(ConfigurationError, match="'sacrum' names no label that is delivered; there are prostate"):
        parse_toml(wrong, Path("mine.toml"), SubModel)


@pytest.mark.parametrize(
    ("toward", "axis", "sign", "opposite"),
    [("left", 0, 1, "right"), ("posterior", 1, 1, "anterior"), ("head", 2, 1, "feet"), ("feet", 2, -1, "head")],
)
def test_directions_are_those_of_lps(toward: str, axis: int, sign: int, opposite: str) -> None:
    each = Toward(toward)
    assert (each.axis, each.sign, each.opposite) == (axis, sign, Toward(opposite))
