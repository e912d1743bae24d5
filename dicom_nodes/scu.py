"""Requests to other nodes: a node and a request in, its answer out, or `Unreachable` or `Refused`.

C-ECHO (PS3.4 A), C-FIND in the Study Root model (PS3.4 C) and C-STORE (PS3.4 B) of files as they lie on disk.
Every function opens its own association and ends it; the calling thread waits meanwhile, at most `timeout_seconds`
for each answer.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, read_file_header
from dicom_nodes.types import Node, StoreOutcome

Syntaxes = tuple[str, str]
"""(SOP Class UID, Transfer Syntax UID): what one presentation context is asked for."""

_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers of one byte
_META_BYTES = 64 << 10
_SOP_CLASS_NOT_SUPPORTED = 0x0122
_TRANSIENT = 2  # result of an A-ASSOCIATE-RJ, PS3.8 9.3.4


def echo(node: Node, calling_aet: str, timeout_seconds: float = 10) -> None:
    """Ask a node with C-ECHO whether it is there; raises Unreachable or Refused if it is not."""
    with associated(node, calling_aet, [build_context(Verification)], timeout_seconds) as association:
        answer = association.send_c_echo()
    if "Status" not in answer:
        raise Unreachable(f"{named(node)}: no answer to C-ECHO")
    if answer.Status != 0x0000:
        raise Refused(named(node), answer.Status, str(answer.get("ErrorComment", "")))


def accepted_classes(
    node: Node, calling_aet: str, sop_class_uids: Sequence[str], timeout_seconds: float = 10
) -> frozenset[str]:
    """Ask a node which of these SOP Classes it takes in Explicit VR Little Endian, by proposing each.

    Raises Unreachable; Refused where it rejects the association itself.
    """
    contexts = [build_context(uid, ExplicitVRLittleEndian) for uid in sop_class_uids]
    try:
        with associated(node, calling_aet, contexts, timeout_seconds) as association:
            return frozenset(str(context.abstract_syntax) for context in association.accepted_contexts)
    except Refused as error:
        if error.status == _SOP_CLASS_NOT_SUPPORTED:
            return frozenset()
        raise


def count_instances(
    node: Node, calling_aet: str, study_uid: str, series_uid: str, timeout_seconds: float = 10
) -> int | None:
    """How many instances of a series a node holds, by C-FIND; None if it knows no such series.

    NumberOfSeriesRelatedInstances (0020,1209) is optional to answer (PS3.4 C.3.4): where it stays out, the matches
    at IMAGE level are counted.
    """
    contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    with associated(node, calling_aet, contexts, timeout_seconds) as association:
        series = matches(
            association, node, _query("SERIES", study_uid, series_uid, "NumberOfSeriesRelatedInstances")
        )
        # Nodes exist that ignore a key and answer with all they have.
        series = [match for match in series if match.get("SeriesInstanceUID") == series_uid]
        if not series:
            return None
        if (count := _count(series[0])) is not None:
            return count
        images = matches(association, node, _query("IMAGE", study_uid, series_uid, "SOPInstanceUID"))
        return len({str(image.get("SOPInstanceUID", "")) for image in images} - {""})


def store(
    node: Node, calling_aet: str, paths: Sequence[Path], timeout_seconds: float = 60
) -> tuple[StoreOutcome, ...]:
    """Send Part 10 files by C-STORE, each exactly as encoded on disk; one outcome for each path, in order.

    All go over one association unless they need more than 128 presentation contexts. A file for which the node
    accepts no context has outcome 0122; if it accepts none at all, Refused has that status, and names the SOP
    Class and transfer syntax.
    Raises Unreachable when the association breaks; then all may be sent again.
    """
    needs = {path: _needs(path) for path in paths}
    wanted = list(dict.fromkeys(syntaxes for syntaxes, _ in needs.values()))
    outcomes: dict[Path, StoreOutcome] = {}
    for first in range(0, len(wanted), _MOST_CONTEXTS):
        batch = wanted[first : first + _MOST_CONTEXTS]
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in batch]
        with associated(node, calling_aet, contexts, timeout_seconds) as association:
            accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
            files = [path for path in needs if needs[path][0] in batch]
            for message_id, path in enumerate(files):
                syntaxes, uid = needs[path]
                if syntaxes in accepted:
                    outcomes[path] = _stored(association, node, path, uid, message_id % 0xFFFF + 1)
                else:
                    outcomes[path] = StoreOutcome(uid, _SOP_CLASS_NOT_SUPPORTED, _no_context(*syntaxes))
    return tuple(outcomes[path] for path in paths)


def _stored(association: Any, node: Node, path: Path, sop_instance_uid: str, message_id: int) -> StoreOutcome:
    try:
        answer = association.send_c_store(path, msg_id=message_id, priority=0)
    except RuntimeError as error:  # pynetdicom: the association is no longer established
        raise Unreachable(f"{named(node)}: the association broke before C-STORE") from error
    if "Status" not in answer:
        raise Unreachable(f"{named(node)}: no answer to C-STORE of {sop_instance_uid}")
    return StoreOutcome(sop_instance_uid, int(answer.Status), str(answer.get("ErrorComment", "")))


def _needs(path: Path) -> tuple[Syntaxes, str]:
    """The presentation context that a file needs, and its SOP Instance UID."""
    with path.open("rb") as file:
        meta, _ = read_file_header(file.read(_META_BYTES))
    return (meta[0x00020002], meta[0x00020010]), meta[0x00020003]


def _query(level: str, study_uid: str, series_uid: str, asked: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = series_uid
    setattr(query, asked, None)
    return query


def matches(association: Any, node: Node, query: Dataset) -> list[Dataset]:
    """The identifiers of the pending answers, once the final one is Success."""
    matches = []
    answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
    for status, identifier in answers:
        if "Status" not in status:
            raise Unreachable(f"{named(node)}: no answer to C-FIND")
        if status.Status in (0xFF00, 0xFF01):
            matches.extend([identifier] if identifier is not None else [])
        elif status.Status == 0xA700:
            raise Unreachable(f"{named(node)}: out of resources for C-FIND")
        elif status.Status != 0x0000:
            raise Refused(named(node), status.Status, str(status.get("ErrorComment", "")))
    return matches


def _count(match: Dataset) -> int | None:
    try:
        return int(str(match.NumberOfSeriesRelatedInstances))
    except (AttributeError, TypeError, ValueError):  # absent, empty or no number
        return None


class _Requestor(AE):  # type: ignore[misc]  # pynetdicom is untyped
    """An application entity that keeps its socket in sight: to send without Nagle's delay, to close it surely."""

    connection: socket.socket | None = None

    def _create_socket(self, *args: Any) -> Any:
        wrapped = super()._create_socket(*args)
        self.connection = wrapped.socket
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wrapped


@contextmanager
def associated(node: Node, calling_aet: str, contexts: list[Any], timeout_seconds: float) -> Iterator[Any]:
    """Give an established association, released at the end; raises Unreachable or Refused if none is to be had."""
    _prepare_pynetdicom()
    ae = _Requestor(calling_aet)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout_seconds
    connected = threading.Event()
    noted = [(evt.EVT_CONN_OPEN, lambda _: connected.set())]
    try:
        association = ae.associate(node.host, node.port, contexts=contexts, ae_title=node.aet, evt_handlers=noted)
        if not association.is_established:
            raise _why_not(association, node, connected.is_set())
        association._serve_request = partial(_give_back, association)
        yield association
        association.release()
    except socket.gaierror as error:
        raise Unreachable(f"{named(node)}: {error.strerror}") from error
    finally:
        _close(ae)


def _give_back(association: Any, message: Any, context_id: int) -> None:
    """Put an answer that the association's own thread took back where the one who asked waits for it.

    pynetdicom pauses that thread for each request, but on a busy machine it may take one more message first, drop
    it as an unexpected request, and leave the asker to the end of its patience.
    """
    answers = association.dimse.msg_queue
    with answers.mutex:
        answers.queue.appendleft((context_id, message))
        answers.not_empty.notify()


def _prepare_pynetdicom() -> None:
    """What pynetdicom keeps for a whole process: patients stay out of its logs, and files are sent as they lie."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.STORE_SEND_CHUNKED_DATASET = True


def _close(ae: _Requestor) -> None:
    """End what a failure left standing."""
    for association in ae.active_associations:
        association.abort()
    if ae.connection is not None:
        ae.connection.close()


def _why_not(association: Any, node: Node, connected: bool) -> Refused | Unreachable:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        reason = f"association rejected: {answer.reason_str}"
        if answer.result == _TRANSIENT:
            return Unreachable(f"{named(node)}: {reason}")
        return Refused(named(node), None, reason)
    if association.rejected_contexts:
        asked = [(c.abstract_syntax, c.transfer_syntax) for c in association.requestor.requested_contexts]
        said = "; ".join(_no_context(uid, *syntaxes) for uid, syntaxes in asked)
        return Refused(named(node), _SOP_CLASS_NOT_SUPPORTED, said)
    why = "the association was aborted or not answered" if connected else "no connection"
    return Unreachable(f"{named(node)}: {why}")


def _no_context(sop_class_uid: str, *transfer_syntax_uids: str) -> str:
    syntaxes = " or ".join(UID(uid).name for uid in transfer_syntax_uids)
    return f"no presentation context for {UID(sop_class_uid).name} in {syntaxes}"


def named(node: Node) -> str:
    """A node as messages call it."""
    return f"{node.aet}@{node.host}:{node.port}"
