"""The durable record: every series, job, object, delivery and transition; the only writer of states.

SQLite by default, PostgreSQL by URL. Every change of state and its row in `transitions` are one transaction.
"""

import time
from collections.abc import Callable

from service.jobs import TERMINAL, Job
from service.ledger_backfill import BackfillLedger
from service.ledger_deletions import DeletionLedger
from service.ledger_jobs import JobLedger
from service.ledger_series import OPEN, SeriesLedger
from service.ledger_taken_back import TakenBackLedger
from service.ledger_tallies import TallyLedger
from service.ledger_withdrawals import WithdrawalLedger
from service.records import open_database

__all__ = ["OPEN", "Ledger", "open_ledger", "terminal"]


def open_ledger(url: str, *, actor: str, now: Callable[[], float] = time.time) -> "Ledger":
    """Open the ledger at an SQLAlchemy URL, bring its tables up to date, and sign every change with `actor`."""
    return Ledger(open_database(url), actor, now)


class Ledger(
    DeletionLedger, SeriesLedger, JobLedger, WithdrawalLedger, TakenBackLedger, BackfillLedger, TallyLedger
):
    """The record of one site; safe to use from several threads and processes."""


def terminal(job: Job) -> bool:
    """True when nothing more happens to the job by itself."""
    return job.state in TERMINAL
