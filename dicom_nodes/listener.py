"""The listening socket of the Storage SCP: settings and event handlers in, a pynetdicom server out.

It keeps the limits: of places by calling AE title, where a rejection is transient (PS3.8 9.3.4: local limit
exceeded), so that the sender comes again; and of bytes in memory, over all associations.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, cast

from pynetdicom import AE, _config, build_context, evt
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import Verification, register_uid, uid_to_service_class
from pynetdicom.transport import ThreadedAssociationServer

from dicom_nodes.admission import Shares, admits
from dicom_nodes.in_flight import Budget
from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_nodes.pdata import Store, take_straight

REJECTED_TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED = 0x02, 0x03, 0x02  # PS3.8 Table 9-21
_log = logging.getLogger(__name__)


class Listener(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom is untyped
    """Listens; each accepted socket sends at once, waits with an end and is closed after its association."""

    request_queue_size = 64
    daemon_threads = True
    at_pause: Callable[[], None] = staticmethod(lambda: None)
    silent_seconds: float | None = None
    shares: Shares = Shares()
    budget: Budget = Budget(1 << 31)
    store: Store | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connections: dict[Any, socket.socket] = {}
        self._admitted: dict[Any, str] = {}
        self._admitting = threading.Lock()
        self._closing = False
        super().__init__(*args, **kwargs)
        self.bind(evt.EVT_CONN_OPEN, self._on_connection)
        self.bind(evt.EVT_REQUESTED, self._on_request)

    def _on_request(self, event: Any) -> None:
        """Reject an association for which its calling AE title has no place left, before it is negotiated."""
        calling_aet = str(event.assoc.requestor.primitive.calling_ae_title).strip()
        with self._admitting:
            self._admitted = {one: aet for one, aet in self._admitted.items() if one.is_alive()}
            standing = sum(aet == calling_aet for aet in self._admitted.values())
            if not self._closing and admits(self.shares, calling_aet, standing):
                self._admitted[event.assoc] = calling_aet
                return
        _log.warning(
            "association rejected: its AE title has no place left, or this node stops",
            extra={"fields": {"calling_aet": calling_aet, "standing": standing}},
        )
        event.assoc.acse.send_reject(REJECTED_TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED)
        event.assoc.kill()

    def _on_connection(self, event: Any) -> None:
        connection: socket.socket = event.assoc.dul.socket.socket
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        take_straight(event.assoc, self.budget, self.silent_seconds, self.store)
        self._connections[event.assoc] = connection

    def service_actions(self) -> None:
        """Run after each connection and at each pause of listening."""
        super().service_actions()
        self.close_the_ended()
        self.at_pause()

    def shutdown(self) -> None:
        """Listen no more, and reject what was on its way; what stands is left as it is."""
        self._closing = True
        super().shutdown()

    def cut(self, association: Any) -> None:
        """Close the connection of an association whose peer does not; what waits on it goes on at once."""
        if connection := self._connections.get(association):
            with contextlib.suppress(OSError):  # closed by the peer meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def close_the_ended(self) -> None:
        """Close the sockets of ended associations: pynetdicom leaves open what the peer has closed before."""
        for association in [one for one in list(self._connections) if one.ident and not one.is_alive()]:
            self._connections.pop(association).close()
            association.dimse.forget()


def prepare_pynetdicom(settings: ScpSettings) -> None:
    """What pynetdicom keeps for a whole process: no log text per PDU; odd UIDs are answered, not aborted on."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.VALIDATORS["UI"] = lambda value: (bool(value), "must not be empty")
    for uid in settings.extra_sop_classes:
        if uid_to_service_class(uid) is not StorageServiceClass:
            register_uid(uid, "Storage_" + uid.replace(".", "_"), StorageServiceClass)


def listener(settings: ScpSettings, handlers: list[tuple[Any, Callable[[Any], Any]]]) -> Listener:
    """A bound server, not yet serving; OSError if the address cannot be had."""
    ae = AE(settings.aet)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = settings.max_associations
    ae.maximum_pdu_size = settings.max_pdu
    ae.require_calling_aet = sorted(settings.accepted_calling_aets)
    ae.require_called_aet = settings.require_called_aet
    ae.acse_timeout = settings.acse_timeout_seconds
    ae.network_timeout = ae.dimse_timeout = settings.idle_timeout_seconds
    server = ae.make_server(
        (settings.host, settings.port),
        contexts=[build_context(Verification)],  # the handlers set what each association may have
        evt_handlers=handlers,
        server_class=Listener,
    )
    server.silent_seconds = settings.idle_timeout_seconds
    server.shares, server.budget = settings.shares, Budget(settings.max_in_flight_bytes)
    ae._servers.append(server)  # pynetdicom's shutdown takes it off this list
    return cast(Listener, server)
