"""What is asked of an archive to pull from, and what follows from its answers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.retrieve import FoundSeries, find_series, find_studies, move, moving
from dicom_nodes.wado import retrieve_series
from service.pull import REFUSED_FOR_ALL, Pace
from tests.conformance.statement import pairs, rows, section, spelt
from tests.dicom_nodes.dicomweb import Answer, dicomweb
from tests.dicom_nodes.peers import answering

MR = "1.2.840.10008.5.1.4.1.1.4"
SERIES = FoundSeries("1.2.4", "1.2.3", "MR", 1)


def test_what_a_pull_asks_for_is_what_is_said() -> None:
    asked: list[Any] = []

    def on_request(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event)
        if event.event is evt.EVT_C_MOVE:
            yield None, None  # type: ignore[misc]  # the destination is not known
        yield 0x0000, None

    with answering([(evt.EVT_C_FIND, on_request), (evt.EVT_C_MOVE, on_request)]) as node:
        find_studies(node, "SAGITTAL", {"PatientID": "Müller"})
        find_series(node, "SAGITTAL", "1.2.3", {"Modality": "MR"})
        with moving(node, "SAGITTAL") as association, pytest.raises(Refused, match="0xA801"):
            move(association, node, "SAGITTAL", SERIES)
    said = section("4.2.5 PULL")
    levels = {row[0]: set(re.findall(r"\b[A-Z][A-Za-z]+(?=,| \()", row[1])) for row in rows(said, 2)}
    studies, series, moved = (set(event.identifier.dir()) - {"QueryRetrieveLevel"} for event in asked)
    assert studies - {"PatientID", "SpecificCharacterSet"} == {"StudyInstanceUID"} <= levels["STUDY"]
    assert series == levels["SERIES"] and asked[0].identifier.SpecificCharacterSet == "ISO_IR 192"
    assert f"SERIES, {', '.join(sorted(moved, reverse=True))}" in pairs(said)["identifier"]
    assert asked[2].request.MoveDestination == "SAGITTAL"
    assert (asked[2].request.Priority, pairs(said)["priority of the move"]) == (2, "low")


def test_the_classes_of_a_pull_and_its_pace_are_what_is_said() -> None:
    said, pace = section("4.2.5 PULL"), Pace()
    for key, uid in (
        ("SOP Class", StudyRootQueryRetrieveInformationModelFind),
        ("SOP Class, to move", StudyRootQueryRetrieveInformationModelMove),
    ):
        name = UID(uid).name
        assert pairs(said)[key] == f"{name}, {uid}"
        assert f"| {name} |" in section("1 Overview")
    assert (pace.attempts, pace.rest_seconds, pace.at_most) == (3, 10.0, 1)
    assert "three times at most in one run, after 10 and 20 s" in said


def test_what_follows_from_an_answer_to_a_move_is_as_is_said() -> None:
    said = {row[0]: row[1] for row in rows(section("4.2.5 PULL"), 2)}
    later = {key for key, what in said.items() if what == "asked for again" and re.match("[0-9A-F]{4}", key)}
    (ends,) = (key for key, what in said.items() if what.startswith("the command ends"))
    assert {int(status, 16) for status in re.findall("[0-9A-F]{4}", ends)} == REFUSED_FOR_ALL
    counted = {"0000", "B000", "FE00"}
    assert counted <= set(re.findall("[0-9A-F]{4}", " ".join(said)))
    for status in (0x0000, 0xB000, 0xFE00, 0xA701, 0xA702, 0xA801, 0xA900, 0x0122, 0x0124, 0xC001):
        word = f"{status:04X}"
        outcome = "again" if any(word in key for key in later) else "counted" if word in counted else "refused"
        assert how_a_move_ends(status) == outcome, word


def how_a_move_ends(status: int) -> str:
    """What becomes of a series whose C-MOVE an archive answers so."""

    def on_move(_event: Any) -> Iterator[Any]:
        yield "127.0.0.1", receiver.port, {"contexts": [build_context(MR)]}
        yield 1
        yield status, None

    with answering([]) as receiver, answering([(evt.EVT_C_MOVE, on_move)]) as node:
        try:
            with moving(node, "SAGITTAL") as association:
                move(association, node, "SAGITTAL", SERIES)
        except Unreachable:
            return "again"
        except Refused:
            return "refused"
    return "counted"


def test_what_a_dicomweb_archive_answers_has_the_consequence_that_is_said(tmp_path: Path) -> None:
    said = pairs(section("4.2.5 PULL"))
    (key,) = (key for key in said if key.startswith("408,"))
    listed, _, never = key.partition(";")[0].partition(" but ")
    later = spelt(listed.replace(", and ", ", ")) - spelt(never.replace(" and ", ", "))
    for status in (404, 408, 409, 421, 422, 423, 424, 425, 429, 500, 501, 503, 505, 507, 599):
        with dicomweb(Answer(status=status)) as service, pytest.raises((Unreachable, Refused)) as failed:
            retrieve_series(service.url, "1.2.3", "1.2.4", tmp_path)
        assert (failed.type is Unreachable) is (status in later), status
