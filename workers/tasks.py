"""The only Celery tasks: each is one step on one id, and ends with its process where it takes too long."""

from celery import Celery

from service.queue import DELIVER, ENCODE, INFER
from workers import delivery, pipeline
from workers.limits import ended_after, last_resort, step_limits
from workers.workshop import Workshop


def register(app: Celery, shop: Workshop) -> None:
    """Make the steps known to the app under the names that the service submits.

    Raises ConfigurationError where a step may take longer than the queue waits for it.
    """
    limits = step_limits(shop.site)

    @app.task(name=INFER)  # type: ignore[untyped-decorator]  # Celery ships no types
    def infer(job_id: str) -> None:
        with last_resort(limits[INFER]):
            pipeline.infer(shop, job_id)

    @app.task(name=ENCODE)  # type: ignore[untyped-decorator]
    def encode(job_id: str) -> None:
        pipeline.encode(shop, job_id)

    @app.task(name=DELIVER)  # type: ignore[untyped-decorator]
    def deliver(delivery_id: int) -> None:
        with ended_after(limits[DELIVER], f"delivery {delivery_id}", shop.stopping):
            delivery.deliver(shop, delivery_id)
