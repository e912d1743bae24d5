"""Storage SCP, C-ECHO and reports of storage commitment: associations in, durable files and `heard(Instance)` out.

A C-STORE is answered with Success after its file is flushed and renamed and `heard` has returned. Statuses are
those of PS3.4 Table B.2-1: A700 where this side lacks resources (the sender may try again), A900 where command and
data set contradict each other, C000 where the data set cannot be understood.
"""

import errno
import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.pdu_primitives import A_ABORT
from pynetdicom.sop_class import Verification

from dicom_nodes.command import StoreCommand
from dicom_nodes.commitment import Reported, answer_report, heard_as_user
from dicom_nodes.ending import abort_all, wait_for_release
from dicom_nodes.filing import file_instance, make_folder, note_release
from dicom_nodes.in_flight import DataSetInFlight, DataSetReceived
from dicom_nodes.listener import Listener, listener, prepare_pynetdicom
from dicom_nodes.negotiation import ScpSettings, storage_classes, supported
from dicom_nodes.part10 import Head, HeadUnreadable, is_uid, read_head
from dicom_nodes.types import AssociationEnded, Ending, Instance, InstanceRefused

OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PAUSE_SECONDS = 0.1
_LONGEST_COMMENT = 64  # ErrorComment (0000,0902) is LO
_TOO_MUCH = "too much in memory that is not on disk yet"
_DataSet = DataSetInFlight | DataSetReceived
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Association:
    """What is remembered of an association while it stands."""

    calling_aet: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    series_uids: set[str] = field(default_factory=set)
    refused: bool = False
    """Some object was answered with a failure."""
    aborted_by_peer: bool = False
    storing: bool = False
    ending: Ending | None = None
    """It ended while an instance was being stored; told when that is done."""


class _Refusal(Exception):
    """Why an object is answered with a failure status."""

    def __init__(self, status: int, comment: str, series_uid: str = "") -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.series_uid = series_uid


class StorageScp:
    """A Storage SCP that writes what it is sent below `folder` and tells three callables of it.

    `no_room(in_hand)` says why an instance cannot be taken now, empty where it can; `in_hand`: the association
    brought instances of its series before. `heard(Instance)` follows each durable file and precedes its Success; if
    it raises, the sender is told A700 and may send again. `ended(AssociationEnded)` comes once for each accepted
    association, after its last instance.
    `refused(InstanceRefused)` precedes each failure status. `reported(CommitmentReport)` precedes the answer to a
    report on what we asked another node to keep; without it none is taken. They are called from the association's
    own threads, one at a time.
    """

    straight = True
    """C-STOREs are taken from the socket; else by pynetdicom, with the same outcome and several times slower."""

    def __init__(
        self,
        settings: ScpSettings,
        folder: Path,
        heard: Callable[[Instance], None],
        ended: Callable[[AssociationEnded], None],
        refused: Callable[[InstanceRefused], None],
        reported: Reported | None = None,
        no_room: Callable[[bool], str] = lambda _in_hand: "",
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._heard, self._ended, self._refused, self._reported = heard, ended, refused, reported
        self._no_room = no_room
        self._sop_classes = (
            storage_classes(settings.other_storage) | settings.extra_sop_classes | {str(Verification)}
        )
        self._standing: dict[Any, _Association] = {}
        self._lock = threading.Lock()
        self._server: Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        if self._server is None:
            return self._settings.port
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to listen; OSError if the address cannot be had."""
        make_folder(self._folder)
        prepare_pynetdicom(self._settings)
        self._server = listener(self._settings, self._handlers())
        self._server.at_pause = self._notice_the_silent
        self._server.store = self._take if self.straight else None
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _PAUSE_SECONDS},
            name="storage-scp",
            daemon=True,
        )
        self._thread.start()

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Stop listening, let series that are being sent come to their end for so long, then abort what stands.

        An instance in hand is not answered any more then. Returns within the grace, `ABORT_SECONDS` and
        `CLOSE_SECONDS`; a thread that is still writing is left, and its association is not told of as ended.
        """
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        wait_for_release(self._under_way, grace_seconds)
        left = abort_all(self._server.active_associations, self._server.cut)
        if left:
            _log.warning("associations left in the middle of an instance", extra={"fields": {"number": len(left)}})
        self._server.close_the_ended()
        self._notice_the_silent()
        self._server = self._thread = None

    def _under_way(self) -> bool:
        """Whether an association stands that has brought instances, and may have more."""
        self._notice_the_silent()
        with self._lock:
            return any(each.storing or each.series_uids for each in self._standing.values())

    def _handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        hears = [] if self._reported is None else [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        return [
            *hears,
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, self._on_c_store),
            (evt.EVT_ACSE_RECV, self._on_acse_primitive),
            (evt.EVT_RELEASED, lambda event: self._end(event.assoc, Ending.RELEASED)),
            (evt.EVT_ABORTED, self._on_aborted),
        ]

    def _on_requested(self, event: Any) -> None:
        """Support what this peer proposes, in its own order: pynetdicom takes the acceptor's first match."""
        proposed: dict[str, list[str]] = {}
        for context in event.assoc.requestor.requested_contexts:
            if context.abstract_syntax in self._sop_classes:
                proposed.setdefault(context.abstract_syntax, []).extend(context.transfer_syntax)
        contexts = [supported(sop_class, tuple(dict.fromkeys(offered))) for sop_class, offered in proposed.items()]
        if self._reported:
            contexts.append(heard_as_user(event.assoc.requestor))
        event.assoc.acceptor.supported_contexts = [context for context in contexts if context is not None]

    def _on_report(self, event: Any) -> tuple[int, None]:
        assert self._reported is not None  # bound only where there is someone to tell
        return answer_report(event, self._reported)

    def _on_accepted(self, event: Any) -> None:
        association = _Association(calling_aet=event.assoc.requestor.ae_title.strip())
        with self._lock:
            self._standing[event.assoc] = association

    def _on_acse_primitive(self, event: Any) -> None:
        if isinstance(event.primitive, A_ABORT) and event.assoc in self._standing:
            self._standing[event.assoc].aborted_by_peer = True

    def _on_aborted(self, event: Any) -> None:
        """End what aborted in its own thread; aborted by `stop`, it may still be storing and is ended later."""
        if threading.current_thread() is event.assoc:
            self._end(event.assoc, Ending.LOST)

    def _end(self, assoc: Any, ending: Ending) -> None:
        with self._lock:
            association = self._standing.get(assoc)
            if association is None:
                return
            if association.storing:
                association.ending = association.ending or ending
                return
            del self._standing[assoc]
        if ending is Ending.LOST and association.aborted_by_peer:
            ending = Ending.ABORTED
        series_uids = frozenset(association.series_uids)
        if ending is Ending.RELEASED and not association.refused:
            self._note_release(series_uids)
        try:
            self._ended(AssociationEnded(association.id, association.calling_aet, ending, series_uids))
        except Exception:  # noqa: BLE001  the thread that listens comes here too, and must live on
            _log.exception("end of an association not recorded", extra={"association": association.id})

    def _note_release(self, series_uids: frozenset[str]) -> None:
        """Write down beside the files that their sender had no more to send: we may die before anyone is told."""
        with self._lock:
            others = {uid for standing in self._standing.values() for uid in standing.series_uids}
        for series_uid in series_uids - others:
            try:
                note_release(self._folder / series_uid)
            except OSError as error:  # what was received is durable all the same
                _log.error("release not noted", extra={"errno": error.errno, "reason": error.strerror})

    def _notice_the_silent(self) -> None:
        """End the associations whose thread is gone without an event: the promise of `ended` has no exception."""
        with self._lock:
            gone = [assoc for assoc in self._standing if not assoc.is_alive()]
        for assoc in gone:
            self._end(assoc, Ending.LOST)

    def _on_c_store(self, event: Any) -> int | Dataset:
        request = event.request
        command = StoreCommand(
            request.MessageID, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        )
        try:
            outcome = self._take(event.assoc, command, str(event.context.transfer_syntax), request.DataSet)
        finally:
            request.DataSet.done()
        status, comment = outcome or (OUT_OF_RESOURCES, "")
        return _failure(status, comment) if status else status

    def _take(
        self, assoc: Any, command: StoreCommand, transfer_syntax_uid: str, data_set: _DataSet
    ) -> tuple[int, str] | None:
        """Store a data set; the Status and ErrorComment to answer, or None where the association has ended."""
        with self._lock:
            association = self._standing.get(assoc)
            if association is None:
                return None
            association.storing = True
        try:
            return self._outcome(association, command, transfer_syntax_uid, data_set)
        finally:
            with self._lock:
                association.storing = False
            if association.ending:
                self._end(assoc, association.ending)

    def _outcome(
        self, association: _Association, command: StoreCommand, transfer_syntax_uid: str, data_set: _DataSet
    ) -> tuple[int, str]:
        try:
            instance = self._store(command, data_set, transfer_syntax_uid, association)
            association.series_uids.add(instance.series_uid)
            self._tell(instance)
        except _Refusal as refusal:
            association.refused = True
            told = command.sop_instance_uid, refusal.status, refusal.comment, refusal.series_uid
            self._refused(InstanceRefused(association.calling_aet, *told))
            return refusal.status, refusal.comment[:_LONGEST_COMMENT]
        return 0x0000, ""

    def _store(
        self, command: StoreCommand, received: _DataSet, transfer_syntax_uid: str, association: _Association
    ) -> Instance:
        data_set = received.getbuffer()
        if received.refused:
            raise _Refusal(OUT_OF_RESOURCES, _TOO_MUCH, _series_of(data_set, transfer_syntax_uid))
        head = _checked_head(command, data_set, transfer_syntax_uid)
        if full := self._no_room(head.series_uid in association.series_uids):
            raise _Refusal(OUT_OF_RESOURCES, full, head.series_uid)
        try:
            return file_instance(
                self._folder, head, transfer_syntax_uid, association.calling_aet, association.id, data_set
            )
        except OSError as error:
            _log.error("instance not stored", extra={"errno": error.errno, "reason": error.strerror})
            full = "no space left" if error.errno in _DISK_FULL else f"cannot write: {error.strerror}"
            raise _Refusal(OUT_OF_RESOURCES, full, head.series_uid) from error

    def _tell(self, instance: Instance) -> None:
        try:
            self._heard(instance)
        except Exception as error:  # the sender keeps what could not be recorded, and the node lives on
            _log.exception("instance stored but not recorded")
            raise _Refusal(OUT_OF_RESOURCES, "stored but not recorded", instance.series_uid) from error


def _series_of(data_set: memoryview, transfer_syntax_uid: str) -> str:
    """The series of a data set of which only the beginning is there; empty where that does not say it."""
    try:
        return read_head(data_set, transfer_syntax_uid).series_uid
    except HeadUnreadable:
        return ""


def _checked_head(command: StoreCommand, data_set: memoryview, transfer_syntax_uid: str) -> Head:
    """The head of a data set that agrees with its C-STORE command."""
    if not is_uid(command.sop_instance_uid):
        raise _Refusal(CANNOT_UNDERSTAND, "ill-formed AffectedSOPInstanceUID (0000,1000)")
    try:
        head = read_head(data_set, transfer_syntax_uid)
    except HeadUnreadable as error:
        raise _Refusal(CANNOT_UNDERSTAND, str(error)) from error
    if head.sop_instance_uid != command.sop_instance_uid:
        raise _Refusal(MISMATCH, "SOPInstanceUID differs between command and data set")
    if head.sop_class_uid != command.sop_class_uid:
        raise _Refusal(MISMATCH, "SOPClassUID differs between command and data set")
    return head


def _failure(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment
    return answer
