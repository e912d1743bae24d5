"""Series, jobs and deliveries that wait, in; each with its turn out, as queries: who floods us goes behind others.

Of one urgency and one queue, the first job of every sender goes before the second of any (round robin by calling AE
title, PS3.8 7.1.1.3), and so do the deliveries to one destination.
"""

from sqlalchemy import ColumnElement, Select, Subquery, func, select

from service import schema
from service.jobs import JobState, SeriesState


def jobs_in_turn(state: JobState) -> Subquery:
    """All jobs in a state, with `turn`: 1 for the oldest of its sender, sub-model and urgency, and so on.

    Those of a series of which more comes are not among them: they may be about half of it.

    What the queue was told of already is counted: a sender has its next turn when the others have had as many.
    """
    j, s = schema.jobs, schema.series
    alike = (j.c.submodel, j.c.urgency, s.c.calling_aet)
    turn = func.row_number().over(partition_by=alike, order_by=(j.c.created_at, j.c.id)).label("turn")
    joined = j.join(s, s.c.series_uid == j.c.series_uid)
    wanted = (j.c.state == state, s.c.state != SeriesState.RECEIVING)
    return select(j, turn).select_from(joined).where(*wanted).subquery()


def series_in_turn(state: SeriesState) -> Subquery:
    """All series in a state, with `turn`: 1 for the one of each sender that was heard of first, and so on."""
    s = schema.series
    order = (s.c.last_heard_at, s.c.series_uid)
    turn = func.row_number().over(partition_by=s.c.calling_aet, order_by=order).label("turn")
    return select(s, turn).where(s.c.state == state).subquery()


def deliveries_in_turn(due: Select[tuple[object, ...]]) -> Subquery:
    """The deliveries that a query finds, with `turn`: 1 for the one to each destination that is due longest."""
    d = schema.deliveries
    order: tuple[ColumnElement[object], ...] = (d.c.next_attempt_at, d.c.id)
    turn = func.row_number().over(partition_by=d.c.destination, order_by=order).label("turn")
    return due.add_columns(turn).subquery()
