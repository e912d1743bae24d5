"""The archive that results and images are forwarded to: it can be down, and keeps what came by association."""

from dataclasses import dataclass, field
from pathlib import Path

from dicom_nodes.negotiation import ScpSettings
from dicom_nodes.scp import StorageScp
from dicom_nodes.types import Instance, Node
from tests.orthanc.server import free_ports


@dataclass
class Pacs:
    """Stores whatever it is sent while it is up."""

    folder: Path
    arrived: list[Instance] = field(default_factory=list)
    """In order; what came twice is there twice."""
    node: Node = field(init=False)
    _scp: StorageScp | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.node = Node("PACS", "127.0.0.1", port)

    def up(self) -> None:
        """Listen."""
        settings = ScpSettings(aet=self.node.aet, host=self.node.host, port=self.node.port)
        self._scp = StorageScp(settings, self.folder, self.arrived.append, lambda _: None, lambda _: None)
        self._scp.start()

    def down(self) -> None:
        """Nobody listens at the port."""
        if self._scp is not None:
            self._scp.stop()
            self._scp = None
