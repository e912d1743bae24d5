"""The Celery app: what a task is called, which queue it goes to, and how a hint of work is sent; ids only."""

from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel
from redis import Redis
from redis.exceptions import RedisError

from dicom_nodes.errors import Unreachable
from service.jobs import Urgency

INFER, ENCODE, DELIVER = "infer", "encode", "deliver"

VISIBILITY_SECONDS = 6 * 3600
"""Longer than the longest step: the ledger's leases, and not Redis, find work whose worker died."""


PRIORITIES = tuple(range(len(Urgency)))
"""Of messages: the lower is taken first, over all queues of a worker; queues of one priority take turns."""


def inference_queue(submodel: str) -> str:
    """The queue of one sub-model."""
    return f"{INFER}.{submodel}"


def make_app(redis_url: str) -> Celery:
    """The Celery app on one Redis; nothing is imported from the workers."""
    app = Celery("sagittal", broker=redis_url)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 30,
            "priority_steps": list(PRIORITIES),
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
        self._app = make_app(redis_url)
        self._redis: Any = Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)

    def send(self, task: str, subject_id: str | int, queue: str, urgency: int = Urgency.ROUTINE) -> None:
        """Put one hint on a queue, before all that are less urgent; raises Unreachable."""
        try:
            self._app.send_task(task, args=[subject_id], queue=queue, priority=priority_of(urgency), retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def waiting(self, queue: str) -> int:
        """How many hints wait on a queue, however urgent; raises Unreachable."""
        try:
            return sum(int(self._redis.llen(name)) for name in lists_of(queue))
        except (RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._app.close()
        self._redis.close()
