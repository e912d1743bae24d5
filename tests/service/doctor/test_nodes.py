"""What the doctor sees of the DICOM nodes with one thing planted that is wrong, and what it advises."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt

from dicom_nodes.types import Node
from service.doctor import nodes
from service.doctor.seen import Level
from tests.conftest import free_port
from tests.dicom_nodes.pacs import SEG, pacs
from tests.dicom_nodes.peers import answering
from tests.service.doctor.ground import ground, only, to, wrong

KOS = "1.2.840.10008.5.1.4.1.1.88.59"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SC = "1.2.840.10008.5.1.4.1.1.7.4"


def test_an_archive_that_answers_a_query_is_well_and_one_that_answers_with_others_is_not(tmp_path: Path) -> None:
    def nothing(_: Any) -> Iterator[tuple[int, None]]:
        yield 0x0000, None

    def refusing(_: Any) -> Iterator[tuple[int, None]]:
        yield 0xA900, None

    for handler, level in ((nothing, Level.OK), (refusing, Level.BAD)):
        with answering([(evt.EVT_C_FIND, handler)]) as node:
            query = f'\n[query]\naet = "{node.aet}"\nhost = "{node.host}"\nport = {node.port}\n'
            seen = list(nodes.query(ground(tmp_path, query)))
        assert max(each.level for each in seen) is level
        wrong(seen)


def test_a_destination_is_asked_in_one_association_for_all_that_it_is_to_get(tmp_path: Path) -> None:
    at = ground(tmp_path)
    with pacs(takes=(SEG, KOS)) as archive:
        assert not wrong(nodes.dicom_destination(at, to(archive.node)))
        report = only(nodes.dicom_destination(at, to(archive.node, outputs=("seg", "text"))))
        assert not archive.stored
    assert report.level is Level.BAD
    assert "does not take text" in report.saw and "outputs" in report.advice


def test_a_destination_with_auto_is_told_the_form_that_it_would_get(tmp_path: Path) -> None:
    at = ground(tmp_path)
    with pacs(takes=(SC, RTSTRUCT, KOS)) as archive:
        seen = list(nodes.dicom_destination(at, to(archive.node, outputs=("auto",))))
        refused = only(nodes.dicom_destination(at, to(archive.node, outputs=("labelmap",))))
    assert any("would send rtstruct" in each.saw for each in seen)
    assert "it takes rtstruct, capture" in refused.advice
    with pacs(takes=(KOS,)) as archive:
        none = only(nodes.dicom_destination(at, to(archive.node, outputs=("auto",))))
    assert none.level is Level.BAD and "takes none of seg, labelmap" in none.saw


def test_a_destination_without_commitment_is_bad_where_the_site_requires_it(tmp_path: Path) -> None:
    at = ground(tmp_path)
    with pacs(takes=(SEG, KOS), commits=False) as archive:
        assert not wrong(nodes.dicom_destination(at, to(archive.node)))
        assert only(nodes.dicom_destination(at, to(archive.node, commitment="require"))).level is Level.BAD


def test_a_destination_that_takes_no_rejection_note_is_a_warning(tmp_path: Path) -> None:
    with pacs() as archive:
        seen = only(nodes.dicom_destination(ground(tmp_path), to(archive.node)))
    assert seen.level is Level.WARNING and "Key Object Selection" in seen.advice


def test_a_node_that_is_down_and_one_that_does_not_know_us_are_told_apart(tmp_path: Path) -> None:
    at = ground(tmp_path)
    away = only(nodes.dicom_destination(at, to(Node("PACS", "127.0.0.1", free_port()))))
    assert "firewall" in away.advice
    with answering([], require_calling_aet=["SOMEBODY"]) as node:
        stranger = only(nodes.dicom_destination(at, to(node)))
    assert "add our AE title, SAGITTAL" in stranger.advice
    with answering([], require_called_aet=True) as node:
        misnamed = only(nodes.dicom_destination(at, to(replace(node, aet="OTHER"))))
    assert "Correct its `aet`" in misnamed.advice


def test_a_test_object_is_stored_where_it_is_asked_for_and_its_commitment_is_asked(tmp_path: Path) -> None:
    at = replace(ground(tmp_path), store_test_object=True)
    with pacs(takes=(SEG, KOS)) as archive:
        seen = list(nodes.dicom_destination(at, to(archive.node)))
        again = list(nodes.dicom_destination(at, to(archive.node)))
    assert not wrong([*seen, *again])
    assert len(set(archive.stored)) == 1, "the same object each time"
    assert any("committed to it" in each.saw for each in seen)
    assert any("stays there" in each.saw and "SAGITTAL^DOCTOR" in each.saw for each in seen)
    with pacs(takes=(SEG, KOS), store=lambda _: 0xA900) as archive:
        refused = only(nodes.dicom_destination(at, to(archive.node)))
    assert refused.level is Level.BAD and "A900" in refused.saw


@pytest.mark.parametrize("kind", ["seg", "labelmap", "rtstruct", "capture", "text", "sheet"])
def test_a_test_object_can_be_made_of_every_kind(tmp_path: Path, kind: str) -> None:
    made = nodes.specimen(tmp_path, kind, "SAGITTAL")
    assert made.sop_class_uid == nodes.CLASS_OF[kind]
