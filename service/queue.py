"""The Celery app: what a task is called, which queue it goes to, and how a hint of work is sent; ids only."""

from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from dicom_nodes.errors import Unreachable

INFER, ENCODE, DELIVER = "infer", "encode", "deliver"

VISIBILITY_SECONDS = 6 * 3600
"""Longer than the longest step: the ledger's leases, and not Redis, find work whose worker died."""


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
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS, "socket_timeout": 30},
        task_create_missing_queues=True,
    )
    return app


def declare(app: Celery, queues: list[str]) -> None:
    """The queues that a worker of this app listens to."""
    app.conf.task_queues = [Queue(name, Exchange(name), routing_key=name) for name in queues]


class Hints:
    """Tells the workers that work may be ready; losing a hint loses nothing, as the sweeper repeats it."""

    def __init__(self, redis_url: str) -> None:
        self._app = make_app(redis_url)
        self._redis: Any = Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)

    def send(self, task: str, subject_id: str | int, queue: str) -> None:
        """Put one hint on a queue; raises Unreachable when Redis does not answer."""
        try:
            self._app.send_task(task, args=[subject_id], queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def waiting(self, queue: str) -> int:
        """How many hints wait on a queue; raises Unreachable."""
        try:
            return int(self._redis.llen(queue))
        except (RedisError, OSError) as error:
            raise Unreachable(f"Redis does not answer: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._app.close()
        self._redis.close()
