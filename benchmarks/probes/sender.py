"""A series and a node in; what the sender was told, instance by instance, out. The same sender for every server."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pynetdicom import build_context

from benchmarks.probes.series import Series
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.scu import associated
from dicom_nodes.types import Node
from tests.dicom_nodes.peers import MR

ANSWER_SECONDS = 15.0


@dataclass
class Told:
    """Answers to C-STORE requests; an instance that is not among them was never asked for."""

    statuses: dict[str, int | None] = field(default_factory=dict)
    """By SOP Instance UID; None where the answer did not come."""
    trouble: str = ""
    """Why there was no association, or no more of it."""

    @property
    def acknowledged(self) -> frozenset[str]:
        """What was answered with Success."""
        return frozenset(uid for uid, status in self.statuses.items() if status == 0x0000)

    def then(self, later: "Told") -> "Told":
        """Both, where a later answer replaces an earlier failure."""
        return Told(self.statuses | later.statuses, later.trouble or self.trouble)

    def __str__(self) -> str:
        counted = Counter(self.statuses.values())
        return ", ".join(f"{count} {_word(status)}" for status, count in counted.items()) or self.trouble


def _word(status: int | None) -> str:
    if status is None:
        return "without answer"
    return "Success" if status == 0x0000 else f"{status:04X}"


def _nothing(_number: int) -> None:
    """Nobody interferes."""


def send(node: Node, series: Series, *, aborts: bool = False, before: Callable[[int], None] = _nothing) -> Told:
    """Send over one association that proposes the series' own transfer syntax and no other.

    As modalities do, it goes on after a failure status and ends where there is no answer. `before` is called with
    the place of each instance before it is sent; `aborts` ends with A-ABORT in place of a release.
    """
    told = Told()
    try:
        with associated(
            node, "MODALITY", [build_context(MR, series.transfer_syntax_uid)], ANSWER_SECONDS
        ) as association:
            for number, (path, uid) in enumerate(zip(series.paths, series.uids, strict=True)):
                before(number)
                told.statuses[uid] = None
                answer = association.send_c_store(path, priority=0)
                if "Status" not in answer:
                    break
                told.statuses[uid] = int(answer.Status)
            if aborts:
                association.abort()
    except (Unreachable, Refused, RuntimeError, OSError) as error:  # RuntimeError: pynetdicom's, association gone
        told.trouble = str(error)
    return told
