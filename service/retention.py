"""Where a series and its jobs stand → when their files may be deleted, or never; `deletion.py` carries it out.

Pure. Nothing goes that anybody may still work with: a series or a job on its way, an object that waits to be stored
or confirmed, a withdrawal that is not settled. What "keep" says, of the series or of one of its jobs, keeps all of
it, for they go together.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from service.config import Retention
from service.jobs import TERMINAL, JobState, SeriesState
from service.ledger_deletions import Stand

DAY = 86400.0
S, J = SeriesState, JobState

_SETTLED = frozenset({S.ROUTED, S.UNROUTED, S.HELD, S.FAILED})
_SAFE = frozenset({J.COMMITTED, J.DELIVERED})
"""Its results are where they had to go."""


@dataclass(frozen=True, slots=True)
class Due:
    """When the files of a series and its jobs may go, and why then."""

    series_uid: str
    at: float
    because: str
    safe: bool
    """Whether every result is stored where it had to go, so that a site may let it go early."""


def due(stand: Stand, rules: Retention) -> Due | None:
    """When the files of a series and its jobs may go; None where that cannot be said, or they are kept for ever."""
    series = stand.series
    if series.state not in _SETTLED or stand.open_deliveries or stand.open_withdrawals:
        return None
    if any(job.state not in TERMINAL or job.owner for job in stand.jobs):
        return None
    if series.state is S.ROUTED and not any(job.revision >= series.revision for job in stand.jobs):
        return None  # a result of what lies there now is still to come
    words: list[tuple[str, float]] = [(job.state.value, job.updated_at) for job in stand.jobs]
    if series.state is not S.ROUTED:
        words.append((series.state.value, series.updated_at))
    days = [getattr(rules, f"{word}_days") for word, _ in words]
    if "keep" in days:
        return None
    ends = [max(at, series.last_heard_at) + DAY * each for (_, at), each in zip(words, days, strict=True)]
    last = max(range(len(ends)), key=ends.__getitem__)
    because = f"{words[last][0]} for more than {days[last]:g} day" + "s" * (days[last] != 1)
    safe = series.state is S.ROUTED and all(job.state in _SAFE for job in stand.jobs)
    return Due(series.series_uid, ends[last], because, safe)


def deletable(found: Iterable[Due], now: float, early: bool) -> list[Due]:
    """Those that may go now, the longest due first; `early`: a disk is low, and the site lets safe ones go then."""
    ripe = [each for each in found if each.at <= now or (early and each.safe)]
    return sorted(ripe, key=lambda each: (each.at, each.series_uid))
