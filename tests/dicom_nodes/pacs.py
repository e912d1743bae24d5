"""An archive as a stand-in that stores and commits as it is told: at once, late, elsewhere, in part, or never."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from pynetdicom.transport import ThreadedAssociationServer

from dicom_nodes.types import Node

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
Where = Literal["same association", "new association", "nowhere"]


@dataclass
class Pacs:
    """What it is told to answer, and what it saw."""

    node: Node = field(default_factory=lambda: Node("ARCHIVE", "127.0.0.1", 0))
    us: Node | None = None
    """Where it opens associations to."""
    where: Where = "same association"
    store: Callable[[Any], int] = lambda _: 0x0000
    action: Callable[[Any], int] = lambda _: 0x0000
    lost: dict[str, int] = field(default_factory=dict)
    """SOP Instance UIDs that it reports as failed, with their reason."""
    stored: list[str] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    """Statuses that its reports were answered with; None where there was no answer."""
    reporters: list[threading.Thread] = field(default_factory=list)

    def on_store(self, event: Any) -> int:
        status = self.store(event)
        if status in (0x0000, 0xB000):
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def on_action(self, event: Any) -> tuple[int, None]:
        status = self.action(event)
        self.asked.append(event.action_information)
        if status == 0x0000 and self.where != "nowhere":
            report, assoc = self.report(event.action_information), event.assoc
            here = self.where == "same association"
            work = (lambda: self.send(assoc, *report)) if here else (lambda: self.send_elsewhere(*report))
            self.reporters.append(threading.Thread(target=work))
            self.reporters[-1].start()
        return status, None

    def report(self, asked: Dataset) -> tuple[int, Dataset]:
        """The Event Type ID and the information of a report on a request."""
        information = Dataset()
        information.TransactionUID = asked.TransactionUID
        kept, lost = [], []
        for item in asked.ReferencedSOPSequence:
            again = Dataset()
            again.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            again.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            if item.ReferencedSOPInstanceUID in self.lost:
                again.FailureReason = self.lost[item.ReferencedSOPInstanceUID]
                lost.append(again)
            else:
                kept.append(again)
        if kept:
            information.ReferencedSOPSequence = kept
        if lost:
            information.FailedSOPSequence = lost
        return (2 if lost else 1), information

    def send(self, association: Any, event_type: int, information: Dataset) -> None:
        status, _ = association.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.answers.append(status.get("Status"))

    def send_elsewhere(self, event_type: int, information: Dataset, *, role: bool = True) -> bool:
        """Report on an association of its own; False where that context is not accepted."""
        assert self.us is not None
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
        contexts = [build_context(StorageCommitmentPushModel)]
        association = AE("ARCHIVE").associate(
            self.us.host, self.us.port, contexts, ae_title=self.us.aet, ext_neg=roles
        )
        if not association.is_established:
            return False
        self.send(association, event_type, information)
        association.release()
        return True


@contextmanager
def pacs(*, commits: bool = True, takes: tuple[str, ...] = (SEG,), **told: Any) -> Iterator[Pacs]:
    """Run an archive that stores these SOP Classes and offers storage commitment, or does not."""
    archive = Pacs(**told)
    ae = AE("ARCHIVE")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    for sop_class in takes:
        ae.add_supported_context(sop_class)
    ae.add_supported_context("1.2.840.10008.1.1")
    if commits:
        ae.add_supported_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_C_STORE, archive.on_store), (evt.EVT_N_ACTION, archive.on_action)]
    server = ae.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    ae._servers.append(server)  # where its shutdown looks for it
    archive.node = Node("ARCHIVE", "127.0.0.1", server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield archive
    finally:
        for reporter in archive.reporters:
            reporter.join(10)
        standing = server.active_associations
        server.shutdown()
        thread.join()
        for association in standing:
            association.join(5)
