"""The only Celery tasks: each is one step on one id."""

from celery import Celery

from service.queue import DELIVER, ENCODE, INFER
from workers import delivery, pipeline
from workers.workshop import Workshop


def register(app: Celery, shop: Workshop) -> None:
    """Make the steps known to the app under the names that the service submits."""

    @app.task(name=INFER)  # type: ignore[untyped-decorator]  # Celery ships no types
    def infer(job_id: str) -> None:
        pipeline.infer(shop, job_id)

    @app.task(name=ENCODE)  # type: ignore[untyped-decorator]
    def encode(job_id: str) -> None:
        pipeline.encode(shop, job_id)

    @app.task(name=DELIVER)  # type: ignore[untyped-decorator]
    def deliver(delivery_id: int) -> None:
        delivery.deliver(shop, delivery_id)
