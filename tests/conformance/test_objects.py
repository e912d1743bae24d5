"""The objects: attributes, codes, models and licences."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag

from dicom_nodes.attributes import WANTED
from dicom_nodes.encode import ENCODERS, rtstruct
from dicom_nodes.encode.identity import PHANTOM
from dicom_nodes.encode.rejection import Rejected, Rejection, encode_rejection
from dicom_nodes.encode.segments import LATERALITY
from dicom_nodes.encode.source import LOSSY, PATIENT_AND_STUDY, REQUIRED, SCANNER
from dicom_nodes.rejection import Title
from dicom_nodes.types import (
    Code,
    Edge,
    Finished,
    Laterality,
    Measurement,
    Predecessor,
    Reference,
)
from service.submodel import SIDES, load_submodels
from tests.conformance.statement import DOCUMENT, name_of, rows, section, sop_class_of
from tests.dicom_nodes import seg_sources as made
from tests.dicom_nodes import test_capture as pixels
from workers.install.convert import PHANTOM_LICENCE

NAMED = dict.fromkeys(re.findall(r"([A-Z][A-Za-z0-9]+)\s\(([0-9A-F]{4},[0-9A-F]{4})\)", DOCUMENT))
NOTE = "rejection note"
LESION = Code("49755003", "SCT", "Morphologically Abnormal Structure")


def tags(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        yield f"{element.tag.group:04X},{element.tag.element:04X}"
        if element.VR == "SQ":
            for item in element.value:
                yield from tags(item)


def coded(dataset: Dataset) -> Iterator[Code]:
    """Every code of an object."""
    if "CodeValue" in dataset:
        yield Code(dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning)
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            yield from coded(item)


def finished(folder: Path, source: str) -> Finished:
    """A result with all that an object can say: a side, every edge and none, something that is no anatomy."""
    volume = pixels.SOURCES[source](folder)
    label_map = made.label_map(volume, 1, 2, 3, listed=(1, 2, 3, 90))
    first, *others = label_map.segments
    label_map = replace(label_map, segments=(first, replace(others[0], category=LESION), *others[1:]))
    edges = {1: tuple(Edge), 2: (), 3: ()}
    measured = tuple(Measurement(value, 20.5, 3.25, 0.5, 4, 0, 4, edges[value]) for value in edges)
    return Finished(label_map, volume, made.identity(Laterality.RIGHT), measured, ("islands: here",))


def every_object(folder: Path, source: str) -> Mapping[str, Dataset]:
    """One of each kind, each in the place of an older one, and a rejection note."""
    of = finished(folder / "source", source)
    segs = [ENCODERS["seg"](of, ())]
    objects = {}
    for kind, encode in ENCODERS.items():
        refers = segs if kind == "sr" else []
        older = Predecessor(sop_class_of(kind), "1.2.3", "1.2.4")
        objects[kind] = encode(replace(of, predecessor=older), refers)
    like = folder / "seg.dcm"
    dcmwrite(like, objects["seg"])
    reference = Reference(str(objects["seg"].SOPClassUID), str(objects["seg"].SOPInstanceUID))
    rejected = (Rejected(reference, str(objects["seg"].SeriesInstanceUID)),)
    for title in Title:
        at = datetime(2026, 11, 21, 9, 30)  # noqa: DTZ001 -- site time, as DICOM has it
        objects[NOTE] = encode_rejection(Rejection("job", title, "why", at, rejected, like))
    return objects


def test_every_attribute_is_called_by_its_name() -> None:
    assert len(NAMED) > 100
    for keyword, tag in NAMED:
        assert keyword_for_tag(Tag("".join(tag.split(",")))) == keyword


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Dataset]:
    return every_object(tmp_path_factory.mktemp("objects"), "classic")


def undescribed(objects: Mapping[str, Dataset]) -> dict[str, list[str]]:
    said = {tag for _, tag in NAMED}
    found = {kind: sorted(set(tags(dataset)) - said) for kind, dataset in objects.items()}
    return {kind: missing for kind, missing in found.items() if missing}


def test_every_attribute_of_every_object_is_in_the_statement(objects: Mapping[str, Dataset]) -> None:
    assert undescribed(objects) == {}


def test_so_is_every_attribute_of_the_objects_of_a_multi_frame_source(tmp_path: Path) -> None:
    assert undescribed(every_object(tmp_path, "enhanced")) == {}


def test_the_objects_are_those_that_are_made(objects: Mapping[str, Dataset]) -> None:
    table = {row[0].strip('`"'): row[1:] for row in rows(section("8.1 "), 5)[1:]}
    assert set(table) == set(objects)
    for kind, (name, uid, number, head) in table.items():
        dataset = objects[kind]
        assert (name, uid) == (name_of(uid), dataset.SOPClassUID)
        added = int(number.partition(",")[0].strip("+ "))
        assert dataset.SeriesNumber == objects["seg"].SeriesNumber + added
        assert f"{dataset.SeriesDescription} ".startswith(head.strip("`") + " ")
    assert f"more than {rtstruct.MOST_POINTS} points" in section("8.1.3 ")


def test_every_attribute_that_is_copied_is_in_the_statement() -> None:
    said = {keyword for keyword, _ in NAMED}
    assert said >= {*PATIENT_AND_STUDY, *SCANNER, *LOSSY}
    always = section("8.1 ").partition("always there: ")[2].partition(". *Source*")[0]
    assert set(re.findall(r"([A-Za-z]+) \(", always)) == REQUIRED - {"PositionReferenceIndicator"}


def test_the_codes_are_those_that_are_written(objects: Mapping[str, Dataset]) -> None:
    (segment,) = made.segments(1)
    written = {code for dataset in objects.values() for code in coded(dataset)} - {segment.type, segment.category}
    labels = [label for submodel in load_submodels() for label in submodel.label]
    written |= {label.category.code for label in labels} | {*LATERALITY.values()} | {title.code for title in Title}
    written |= {*SIDES.values()}
    terms = section("8.4 ")
    assert {Code(*code) for code in re.findall(r'\(([^\s,()]+), (\w+), "([^"]+)"\)', terms)} == written
    assert {label.type.code.scheme for label in labels} == {"SCT"}


def test_the_private_attributes_are_those_that_are_read() -> None:
    read = {each for each in WANTED.values() if each.is_private and each.element > 0xFF}  # creators aside
    private = {f"{each.group:04X},{each.element:04X}" for each in read}
    table = "".join("".join(row) for row in rows(section("8.2 "), 3))
    assert private and set(re.findall(r"\((\w{4},\w{4})\)", table)) == private


def test_the_models_and_their_licences_are_those_of_the_sub_models() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows(section("8.3 "), 4) if row[0].startswith("`")}
    assert table == {
        each.name: (each.source, each.licence, "to be accepted" if each.accept_licence else "")
        for each in load_submodels()
        if each.protocol
    }
    assert PHANTOM in section("8.3 ") and PHANTOM in section("8.1 ")
    assert PHANTOM_LICENCE.startswith("Apache-2.0 ")
