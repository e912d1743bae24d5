"""The Celery app: what a task is called, which queue it goes to, and how a hint of work is sent; ids only."""

from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from dicom_nodes.errors import Unreachable
from service.jobs import Urgency

INFER, ENCODE, DELIVER = "infer", "encode", "deliver"

VISIBILITY_SECONDS = 6 * 3600
"""Longer than the longest step: the ledger's leases, and not Redis, find work whose worker died."""

RECONNECT_SECONDS = 1.0
"""How long a worker waits before it asks a Redis that does not answer once more; it never gives up."""
_BRIEFLY: Mapping[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": 2.0}
"""How long whoever sends a hint waits for Redis, in seconds; the sweeper repeats what was not sent."""
_FILLED = "sagittal.filled"
"""A key of this name in Redis says that the hints of this site have been there since it was last empty."""


PRIORITIES = tuple(range(len(Urgency)))
"""Of messages: the lower is taken first, over all queues of a worker; queues of one priority take turns."""


def inference_queue(submodel: str) -> str:
    """The queue of one sub-model."""
    return f"{INFER}.{submodel}"


class _Patient(Connection):  # type: ignore[misc]  # kombu ships no types
    """A connection that asks again at a steady pace: kombu's own waits ever longer, up to half a minute."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Connection:
        pace = {"interval_start": RECONNECT_SECONDS, "interval_step": 0, "interval_max": RECONNECT_SECONDS}
        return super().ensure_connection(*args, **{**kwargs, **pace})


class _PatientAMQP(AMQP):  # type: ignore[misc]  # Celery ships no types
    """Celery's, with connections of that kind."""

    Connection = _Patient


def make_app(redis_url: str, transport: Mapping[str, object] | None = None) -> Celery:
    """The Celery app on one Redis; nothing is imported from the workers."""
    app = Celery("sagittal", broker=redis_url, amqp=_PatientAMQP)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 30,
            "priority_steps": list(PRIORITIES),
            **(transport or {}),
        },
        task_create_missing_queues=True,
    )
    return app


def priority_of(urgency: int) -> int:
    """The priority of a message about a job of this `Urgency`."""
    return max(Urgency) - urgency


def lists_of(queue: str) -> tuple[str, ...]:
    """The Redis lists that hold one queue's messages, one for each priority, as kombu names them."""
    return tuple(f"{queue}{Channel.sep}{priority}" if priority else queue for priority in PRIORITIES)


def declare(app: Celery, queues: list[str]) -> None:
    """The queues that a worker of this app listens to."""
    app.conf.task_queues = [Queue(name, Exchange(name), routing_key=name) for name in queues]


class Hints:
    """Tells the workers that work may be ready; losing a hint loses nothing, as the sweeper repeats it."""

    def __init__(self, redis_url: str) -> None:
        # Whoever has a hint to send has other work to do: no attempt is repeated here.
        self._app = make_app(redis_url, {"max_retries": 0, **_BRIEFLY})
        self._redis: Any = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **_BRIEFLY)

    def send(self, task: str, subject_id: str | int, queue: str, urgency: int = Urgency.ROUTINE) -> None:
        """Put one hint on a queue, before all that are less urgent; raises Unreachable."""
        try:
            self._app.send_task(task, args=[subject_id], queue=queue, priority=priority_of(urgency), retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def waiting(self, queue: str, urgency: int | None = None) -> int:
        """How many hints of one urgency wait on a queue, None: of any; raises Unreachable."""
        lists = lists_of(queue)
        try:
            wanted = lists if urgency is None else (lists[priority_of(urgency)],)
            return sum(int(self._redis.llen(name)) for name in wanted)
        except (RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def was_emptied(self) -> bool:
        """True once after Redis was restarted or wiped, or was never told of any work; raises Unreachable."""
        try:
            return bool(self._redis.set(_FILLED, 1, nx=True))
        except (RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._app.close()
        self._redis.close()
