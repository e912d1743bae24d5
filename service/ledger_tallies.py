"""How many series and jobs stand in each state, from what the database's triggers wrote; never by counting all.

The tables grow for years: counting a million rows at each look at the status page would cost more than all else.
"""

from collections import Counter

from sqlalchemy import func, select
from sqlalchemy import insert as insert_into

from service import schema
from service.jobs import JobState, SeriesState
from service.records import Records

FOLDED_ABOVE = 500
"""As many rows may stand in the table before they are brought together."""


class TallyLedger(Records):
    """The part of the ledger that knows numbers."""

    def count_series(self) -> dict[SeriesState, int]:
        """How many series stand in each state."""
        return {SeriesState(state): number for state, number in self._counted("series").items()}

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs stand in each state."""
        return {JobState(state): number for state, number in self._counted("job").items()}

    def _counted(self, subject: str) -> dict[str, int]:
        t = schema.tallies
        query = select(t.c.state, func.sum(t.c.number)).where(t.c.subject == subject).group_by(t.c.state)
        with self._engine.connect() as c:
            return {state: int(number) for state, number in c.execute(query).all() if number}

    def fold(self) -> bool:
        """Bring many rows together to one of each subject and state; False, and nothing done, if they are few."""
        t = schema.tallies
        with self._engine.connect() as c:
            if c.execute(select(func.count()).select_from(t)).scalar_one() <= FOLDED_ABOVE:
                return False
        sums: Counter[tuple[str, str]] = Counter()
        with self._write() as c:  # what others add meanwhile is not seen here, and stays
            for subject, state, number in c.execute(t.delete().returning(t.c.subject, t.c.state, t.c.number)):
                sums[subject, state] += number
            for (subject, state), number in sums.items():
                c.execute(insert_into(t).values(subject=subject, state=state, number=number))
        return True
