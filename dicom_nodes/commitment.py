"""Storage Commitment Push Model (PS3.4 J): a request to keep what was stored out, the node's report of it in.

The report comes on the association of the request or on a new one that the node opens; both are heard by
`answer_report`, which answers Success only once the report has been written down.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import associated, named
from dicom_nodes.types import CommitmentReport, Node, Reference

Reported = Callable[[CommitmentReport], bool]
"""Writes a report down durably; False where nobody here asked for that transaction."""

COMMITMENT = str(StorageCommitmentPushModel)
SAME_ASSOCIATION_SECONDS = 5.0
"""How long the association of a request stays open for a report on it."""

_LOOKS_AT = 4  # steps of 0.05 s between two looks at whether the report has come elsewhere
_REQUEST_STORAGE_COMMITMENT = 1  # Action Type ID, PS3.4 J.3.2
_ALL, _SOME_FAILED = 1, 2  # Event Type IDs, PS3.4 J.3.3
_PROCESSING_FAILURE, _NO_SUCH_EVENT_TYPE, _INVALID_ARGUMENT = 0x0110, 0x0113, 0x0115


def ask_commitment(
    node: Node,
    calling_aet: str,
    transaction_uid: str,
    objects: Sequence[Reference],
    reported: Reported,
    timeout_seconds: float = 60,
    linger_seconds: float = SAME_ASSOCIATION_SECONDS,
    awaited: Callable[[], bool] = lambda: True,
) -> None:
    """Ask a node by N-ACTION to confirm that it keeps these objects.

    The association stays open for `linger_seconds` at most, in case the report comes on it, and no longer than the
    report is `awaited`: it may have come on another. Raises Refused where the node offers no storage commitment or
    answers with a failure, Unreachable where it did not answer.
    """
    context = build_context(StorageCommitmentPushModel)
    with associated(node, calling_aet, [context], timeout_seconds) as association:
        served = threading.Event()
        association.bind(evt.EVT_N_EVENT_REPORT, partial(answer_report, reported=reported))
        association._serve_request = partial(_serve, association, association._serve_request, served)
        answer = _asked(association, node, _information(transaction_uid, objects))
        if answer.Status == 0x0000:
            _wait(association, served, linger_seconds, awaited)
    if answer.Status != 0x0000:
        raise Refused(named(node), int(answer.Status), str(answer.get("ErrorComment", "")))


def _asked(association: Any, node: Node, information: Dataset) -> Dataset:
    try:
        answer, _ = association.send_n_action(
            information,
            _REQUEST_STORAGE_COMMITMENT,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
    except RuntimeError as error:  # pynetdicom: the association is no longer established
        raise Unreachable(f"{named(node)}: the association broke before N-ACTION") from error
    if "Status" not in answer:
        raise Unreachable(f"{named(node)}: no answer to N-ACTION")
    status: Dataset = answer
    return status


def _information(transaction_uid: str, objects: Sequence[Reference]) -> Dataset:
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(each) for each in objects]
    return information


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def _serve(
    association: Any, give_back: Callable[..., None], served: threading.Event, message: Any, cx: int
) -> None:
    """Answer a report on the association of the request; every other message is for the one who asked."""
    if not (isinstance(message, N_EVENT_REPORT) and message.is_valid_request):
        give_back(message, cx)
        return
    type(association)._serve_request(association, message, cx)
    served.set()  # only now is the answer on its way, before a release


def _wait(association: Any, served: threading.Event, seconds: float, awaited: Callable[[], bool]) -> None:
    """Until a report was answered here or came elsewhere, the association ended, or the time is over."""
    for step in range(1, 1 + max(1, int(seconds / 0.05))):
        if served.wait(0.05) or not association.is_established or (step % _LOOKS_AT == 0 and not awaited()):
            break


def heard_as_user(requestor: Any) -> Any:
    """The presentation context in which a node that proposes to be SCP may report to us; None where it does not.

    PS3.7 D.3.3.4: a node that reports on an association of its own proposes the SCP role for itself. Whoever
    proposes no role would be SCU, and we provide no storage commitment.
    """
    role = requestor.role_selection.get(UID(COMMITMENT))
    offered = [
        str(syntax)
        for context in requestor.requested_contexts
        if context.abstract_syntax == COMMITMENT
        for syntax in context.transfer_syntax
    ]
    if role is None or not role.scp_role or not offered:
        return None
    context = build_context(COMMITMENT, list(dict.fromkeys(offered)))
    context.scu_role, context.scp_role = False, True
    return context


def answer_report(event: Any, reported: Reported) -> tuple[int, None]:
    """Hear an N-EVENT-REPORT and give the status to answer; Success once `reported` has returned True."""
    try:
        report = _report_of(event)
    except _NoSuchEventTypeError:
        return _NO_SUCH_EVENT_TYPE, None
    except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError, OSError):
        return _INVALID_ARGUMENT, None
    return (0x0000 if reported(report) else _INVALID_ARGUMENT), None


class _NoSuchEventTypeError(Exception):
    """An event that storage commitment does not know."""


def _report_of(event: Any) -> CommitmentReport:
    if event.event_type not in (_ALL, _SOME_FAILED):
        raise _NoSuchEventTypeError
    information = event.event_information
    failed = {
        str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or _PROCESSING_FAILURE)
        for item in information.get("FailedSOPSequence") or ()
    }
    kept = {str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()}
    aet = event.assoc.remote["ae_title"]
    return CommitmentReport(
        str(aet).strip(), str(information.TransactionUID), frozenset(kept - set(failed)), failed
    )
