"""Query and retrieve as a user of an archive (PS3.4 C, Study Root): keys in, studies and series out; C-MOVE.

What an archive answers is held against the keys once more: nodes exist that ignore a key they do not know and
answer with all they have. Identifiers stay out of logs and messages but for UIDs.
"""

import fnmatch
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.part10 import is_uid
from dicom_nodes.scu import associated, matches, named
from dicom_nodes.types import Node

Keys = Mapping[str, str]
"""Matching keys of a query by DICOM keyword, as {"StudyDate": "20260101-20260131"} (PS3.4 C.2.2.2)."""

SUCCESS, PENDING, FAILED_IN_PART, CANCELLED = 0x0000, 0xFF00, 0xB000, 0xFE00
NO_MATCHES_COUNTED, NO_SUB_OPERATIONS, DESTINATION_UNKNOWN, MISMATCH = 0xA701, 0xA702, 0xA801, 0xA900
_MEANINGS = MappingProxyType(
    {
        0x0122: "SOP Class not supported",
        0x0124: "not authorized",
        NO_MATCHES_COUNTED: "out of resources: it cannot count the matches",
        NO_SUB_OPERATIONS: "out of resources: it cannot perform the sub-operations",
        DESTINATION_UNKNOWN: "the move destination is unknown to it",
        MISMATCH: "the identifier does not match the SOP Class",
    }
)
_LATER = frozenset({NO_MATCHES_COUNTED, NO_SUB_OPERATIONS})
_COMPARED = frozenset({"CS", "DA", "LO", "SH", "UI"})
"""Value representations whose matching is as plain as `fits` does it."""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series that an archive holds."""

    series_uid: str
    study_uid: str
    modality: str
    instances: int
    """NumberOfSeriesRelatedInstances (0020,1209), or counted at IMAGE level where the archive does not say."""


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """How the sub-operations of a C-MOVE ended (PS3.4 C.4.2.1.5 to C.4.2.1.9)."""

    status: int
    completed: int
    failed: int
    warning: int
    failed_uids: tuple[str, ...]
    """FailedSOPInstanceUIDList (0008,0058), as far as the archive gives it."""


class MoveNotAnswered(Unreachable):
    """The archive ended the association where it had to answer C-MOVE; some do so to a node they do not know."""


def find_studies(node: Node, calling_aet: str, keys: Keys, timeout_seconds: float = 60) -> tuple[str, ...]:
    """The StudyInstanceUIDs that match the keys, in the archive's order; what is no UID could not be filed here.

    Raises Unreachable; Refused also where the archive answers with a failure status.
    """
    query = _identifier("STUDY", {"StudyInstanceUID": "", **keys})
    with associated(node, calling_aet, [_FIND], timeout_seconds) as association:
        found = matches(association, node, query)
    uids = (_text(match, "StudyInstanceUID") for match in found if fits(match, keys))
    return tuple(dict.fromkeys(uid for uid in uids if is_uid(uid)))


def find_series(
    node: Node, calling_aet: str, study_uid: str, keys: Keys, timeout_seconds: float = 60
) -> tuple[FoundSeries, ...]:
    """The series of a study that match the keys, each with its number of instances; raises as `find_studies`."""
    asked = {"SeriesInstanceUID": "", "Modality": "", "NumberOfSeriesRelatedInstances": ""}
    keys = {"StudyInstanceUID": study_uid, **keys}
    with associated(node, calling_aet, [_FIND], timeout_seconds) as association:
        answers = matches(association, node, _identifier("SERIES", asked | dict(keys)))
        found = {_text(match, "SeriesInstanceUID"): match for match in answers if fits(match, keys)}
        return tuple(
            FoundSeries(
                uid, study_uid, _text(match, "Modality"), _instances(association, node, study_uid, uid, match)
            )
            for uid, match in found.items()
            if is_uid(uid)
        )


def move(
    association: Any,
    node: Node,
    destination_aet: str,
    series: FoundSeries,
    progress: Callable[[MoveOutcome], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> MoveOutcome:
    """Have the archive send a series to an AE title by C-MOVE; the outcome of its sub-operations.

    `association` comes from `moving`. `progress` is told the counts of each pending response; once `stop` is true
    C-CANCEL is sent, and the outcome has the status FE00. Raises Unreachable where the archive does not answer or
    is out of resources (A701, A702), MoveNotAnswered where it ends the association: try again later; Refused for
    every other failure, as A801 where it does not know the destination.
    """
    keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.series_uid}
    query, cancelled, pending, until = _identifier("SERIES", keys), False, False, _patience(association)
    try:
        for status, failed in association.send_c_move(query, destination_aet, _MOVE_CLASS, priority=2):
            if "Status" not in status and not pending and time.monotonic() < until:
                raise MoveNotAnswered(f"{named(node)}: it ended the association instead of answering C-MOVE")
            if "Status" not in status:
                raise Unreachable(f"{named(node)}: no answer to C-MOVE")
            outcome, pending = _outcome(status, failed), True
            if outcome.status != PENDING:
                return _ended(node, outcome, str(status.get("ErrorComment", "")))
            progress(outcome)
            if stop() and not cancelled:
                association.send_c_cancel(1, query_model=_MOVE_CLASS)
                cancelled = True
    except RuntimeError as error:  # pynetdicom: the association is no longer established
        raise Unreachable(f"{named(node)}: the association broke before C-MOVE") from error
    raise Unreachable(f"{named(node)}: no final answer to C-MOVE")


@contextmanager
def moving(node: Node, calling_aet: str, silent_seconds: float = 600) -> Iterator[Any]:
    """An association for `move`, on which the archive may be silent for so long: it may fetch from a slow store."""
    with associated(node, calling_aet, [_MOVE], _CONNECT_SECONDS) as association:
        association.dimse_timeout = association.network_timeout = silent_seconds
        yield association


def fits(match: Dataset, keys: Keys) -> bool:
    """Whether an answer is one that was asked for, as far as it says: single values, wildcards, lists, ranges.

    Letter case is let pass, and so is an attribute that the answer leaves out: an archive need not match every key.
    """
    return all(_fits(_values(match, keyword), keyword, wanted) for keyword, wanted in keys.items())


def _fits(values: Sequence[str], keyword: str, wanted: str) -> bool:
    vr = dictionary_VR(keyword)
    if not wanted or not values or vr not in _COMPARED:
        return True
    if vr == "DA" and "-" in wanted:
        first, _, last = wanted.partition("-")
        return any((first or value) <= value <= (last or value) for value in values)
    patterns = [pattern.replace("[", "[[]").casefold() for pattern in wanted.split("\\")]
    return any(fnmatch.fnmatchcase(value.casefold(), pattern) for value in values for pattern in patterns)


def _identifier(level: str, keys: Keys) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        values = value.split("\\") if "\\" in value else value
        # A range or a wildcard is no valid value of its VR.
        query.add(DataElement(keyword, dictionary_VR(keyword), values, validation_mode=IGNORE))
    if not all(value.isascii() for value in keys.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    return query


def _instances(association: Any, node: Node, study_uid: str, series_uid: str, match: Dataset) -> int:
    """What the archive says, or the number of its matches at IMAGE level: it need not say (PS3.4 C.3.4)."""
    said = _text(match, "NumberOfSeriesRelatedInstances")
    if said.isdecimal():
        return int(said)
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": ""}
    images = matches(association, node, _identifier("IMAGE", keys))
    return len({_text(image, "SOPInstanceUID") for image in images} - {""})


def _patience(association: Any) -> float:
    """Until when silence is no end, in the seconds of time.monotonic."""
    return time.monotonic() + float(association.dimse_timeout) - 1


def _outcome(status: Dataset, failed: Dataset | None) -> MoveOutcome:
    completed, bad, warning = (
        int(status.get(f"NumberOf{kind}Suboperations", 0) or 0) for kind in ("Completed", "Failed", "Warning")
    )
    uids = tuple(_values(failed, "FailedSOPInstanceUIDList")) if failed is not None else ()
    return MoveOutcome(int(status.Status), completed, bad, warning, uids)


def _ended(node: Node, outcome: MoveOutcome, comment: str) -> MoveOutcome:
    """The outcome of a C-MOVE that ended with its sub-operations done; raises for every other status."""
    if outcome.status in (SUCCESS, FAILED_IN_PART, CANCELLED):
        return outcome
    meaning = _MEANINGS.get(outcome.status, "unable to process" if outcome.status >> 12 == 0xC else "")
    said = ": ".join(filter(None, (meaning, comment)))
    if outcome.status in _LATER:
        raise Unreachable(f"{named(node)}: status 0x{outcome.status:04X}: {said}")
    raise Refused(named(node), outcome.status, said)


def _values(match: Dataset, keyword: str) -> list[str]:
    """The values of an attribute as text; none where it is absent or empty."""
    value = match.get(keyword)
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [str(one).strip() for one in many if one is not None and str(one).strip()]


def _text(match: Dataset, keyword: str) -> str:
    return next(iter(_values(match, keyword)), "")


_CONNECT_SECONDS = 30
_MOVE_CLASS = StudyRootQueryRetrieveInformationModelMove
_FIND = build_context(StudyRootQueryRetrieveInformationModelFind)
_MOVE = build_context(_MOVE_CLASS)
