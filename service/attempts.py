"""How long a job rests between two attempts, and when one that cost workers their lives goes last; pure."""

from service.jobs import Job, Urgency

FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 300.0
SETBACKS_UNTIL_LAST = 2


def rest_seconds(attempts: int) -> float:
    """How long a job rests after so many attempts, in seconds: twice as long after each, 5 minutes at the most."""
    return float(min(FIRST_REST_SECONDS * 2 ** (max(attempts, 1) - 1), LONGEST_REST_SECONDS))


def goes_last(job: Job) -> bool:
    """Whether every other job goes before it: two workers died of it, and the next one should do the rest first."""
    return job.setbacks >= SETBACKS_UNTIL_LAST


def urgency_now(job: Job) -> int:
    """How urgently the queue is told of a job."""
    return min(Urgency) if goes_last(job) else job.urgency
