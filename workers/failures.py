"""An error of a step in; what it is the fault of, what is done about it, and what a person should do, out; pure.

| kind | as | the job | a person |
|---|---|---|---|
| series | SeriesUnreadable | fails | has the series sent otherwise: its reason says which rule broke |
| model | ModelUnusable | fails | mends or installs the model, then `sagittal jobs retry` |
| result | EmptyResult, ResultUnsound | fails | looks at how it was routed |
| machine | NeverFits: a volume too large for this machine | fails | gives memory, or a smaller variant |
| machine | MemoryError, torch's; a step too long | is tried again after a rest, after two the last | gives memory |
| machine | ENOSPC, EDQUOT, EROFS | is tried again after a rest; the attempt does not count | makes room |
| machine | CUDA errors, other OSErrors, a silent ledger | is tried again after a rest | looks at the machine |
| program | everything else | is tried again after a rest | sends us the traceback of the worker's log |

What a destination does (Unreachable, Refused) is the delivery's, and never touches the attempts of the job.
"""

import errno
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from dicom_nodes.errors import EmptyResult, ModelUnusable, ResultUnsound, SagittalError, SeriesUnreadable
from service.jobs import FailureKind
from workers.lease import StepTooLongError
from workers.needs import NeverFits, TooLittleMemory


@dataclass(frozen=True, slots=True)
class Failure:
    """What becomes of a step that ended with an error."""

    kind: FailureKind
    again: bool = True
    """Whether the step is tried again by itself."""
    counts: bool = True
    """Whether the attempt is one of the site's `max_attempts`."""
    setback: bool = False
    """Whether it cost the worker its memory or its time: after two of these in a row the job goes last."""
    ends_worker: bool = False
    """Whether this process can do no other job after it."""
    remedy: str = ""
    """What a person should do; empty where the error says it itself."""


FORESEEN = (SagittalError, MemoryError, OSError, SQLAlchemyError)
"""Errors that need no traceback."""

_FULL = Failure(FailureKind.MACHINE, counts=False, remedy="Make room where the site's folder lies")
_MEMORY = Failure(
    FailureKind.MACHINE,
    setback=True,
    remedy="It needs more memory than there was: see [workers] in site.toml",
)
_LOST_GPU = Failure(FailureKind.MACHINE, ends_worker=True, remedy="Look at the GPU: nvidia-smi, dmesg")
_DISK = Failure(FailureKind.MACHINE, remedy="Look at the disk that the site's folder lies on")
_UNFORESEEN = Failure(FailureKind.PROGRAM, remedy="The worker's log has the traceback")

BY_ERROR: dict[type[BaseException], Failure] = {
    SeriesUnreadable: Failure(FailureKind.SERIES, again=False),
    ModelUnusable: Failure(FailureKind.MODEL, again=False),
    EmptyResult: Failure(FailureKind.RESULT, again=False),
    ResultUnsound: Failure(FailureKind.RESULT, again=False),
    StepTooLongError: Failure(FailureKind.MACHINE, setback=True, remedy="See step_seconds in site.toml"),
    NeverFits: Failure(FailureKind.MACHINE, again=False),
    TooLittleMemory: Failure(FailureKind.MACHINE, setback=True),
    MemoryError: _MEMORY,
    OSError: _DISK,
    SQLAlchemyError: Failure(FailureKind.MACHINE, remedy="Look at the ledger's database"),
}
BY_ERRNO = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _FULL, errno.ENOMEM: _MEMORY}
BY_TORCH = {"OutOfMemoryError": _MEMORY, "AcceleratorError": _LOST_GPU}
"""By the name of torch's class: torch is imported only where networks run."""


def failure_of(error: BaseException) -> Failure:
    """What becomes of a step that ended with this error; the most special entry of its classes counts."""
    if isinstance(error, OSError) and error.errno in BY_ERRNO:
        return BY_ERRNO[error.errno]
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] == "torch" and kind.__name__ in BY_TORCH:
            return BY_TORCH[kind.__name__]
        if kind in BY_ERROR:
            return BY_ERROR[kind]
    return _LOST_GPU if isinstance(error, RuntimeError) and "CUDA error" in str(error) else _UNFORESEEN


def reason_for(error: BaseException) -> str:
    """The error in a person's words, with what to do."""
    said = str(error) if isinstance(error, SagittalError) else f"{type(error).__name__}: {error}"
    remedy = failure_of(error).remedy
    return f"{said}. {remedy}" if remedy else said
