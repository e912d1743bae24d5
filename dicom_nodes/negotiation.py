"""What the Storage SCP takes: storage SOP classes by the site's choice, transfer syntaxes by the peer's."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import build_context

from dicom_nodes.admission import Shares

OtherStorage = Literal["accept", "refuse"]
"""Of storage SOP Classes that are no MR: taken and stored too, or given no presentation context."""


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """What a site decides of the receiving node."""

    aet: str
    host: str
    port: int
    """0 takes any free port."""
    accepted_calling_aets: frozenset[str] = frozenset()
    """Empty: any."""
    require_called_aet: bool = False
    max_associations: int = 32
    shares: Shares = field(default_factory=Shares)
    """Of these, how many one calling AE title may have at a time."""
    max_in_flight_bytes: int = 1 << 31
    """Of data sets in memory that are not durable yet, over all associations; what passes it is answered A700."""
    max_pdu: int = 131072
    """Bytes; 0 is no limit."""
    other_storage: OtherStorage = "accept"
    """Storage SOP Classes that are no MR: taken and stored too, or given no presentation context."""
    extra_sop_classes: frozenset[str] = frozenset()
    """UIDs of private or newer storage classes to take."""
    acse_timeout_seconds: float = 30
    """For the association request to arrive once the connection stands."""
    idle_timeout_seconds: float = 120
    """Without a byte from the peer: the association is lost."""


MR_STORAGE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.3",  # Enhanced MR Color Image Storage
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
    }
)
LOSSLESS_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2",  # Implicit VR Little Endian
        "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, selection value 1
        "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless Only
        "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless Only
        "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
        "1.2.840.10008.1.2.5",  # RLE Lossless
    }
)
MAYBE_LOSSY_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline
        "1.2.840.10008.1.2.4.51",  # JPEG Extended
        "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.203",  # HTJ2K
    }
)


def storage_classes(others: OtherStorage) -> frozenset[str]:
    """The storage SOP Classes to support: those of MR, and on `accept` every other that pynetdicom knows."""
    if others == "refuse":
        return MR_STORAGE
    return MR_STORAGE | {str(context.abstract_syntax) for context in AllStoragePresentationContexts}


def preferred(proposed: Iterable[str]) -> list[str]:
    """The transfer syntaxes to take of those that a peer proposes, best first.

    In the peer's own order, but one that may lose pixel values only behind all that cannot: a modality that offers
    both would compress for us what it holds whole.
    """
    proposed = list(proposed)
    return [uid for uid in proposed if uid in LOSSLESS_SYNTAXES] + [
        uid for uid in proposed if uid in MAYBE_LOSSY_SYNTAXES
    ]


@lru_cache(512)
def supported(sop_class: str, proposed: tuple[str, ...]) -> Any:
    """The presentation context for a class and the transfer syntaxes that a peer proposes for it; None where none.

    pynetdicom only reads it. Most associations propose what one before proposed, storescu 64 classes each time, and
    to build a context pynetdicom checks each of its UIDs three times.
    """
    taken = preferred(proposed)
    return build_context(sop_class, taken) if taken else None
