"""A form of a result that a destination does not take → the next one that it takes, in its place.

The order is that of `service.destination.FORMS`. A DICOM node is asked by proposing the presentation contexts of
all that are left on one association (PS3.8 7.1.1.13); a DICOMweb service can only be tried.
"""

import logging

from dicom_nodes.encode import SOP_CLASSES
from dicom_nodes.scu import accepted_classes
from service.destination import FORMS, Destination, Form
from service.jobs import Delivery
from service.observe import event
from workers.making import finished_of, make
from workers.products import products_of
from workers.workshop import Workshop

log = logging.getLogger(__name__)

_NOT_SUPPORTED = 0x0122
_DOES_NOT_MATCH = 0xA900


def not_taken(status: int | None) -> bool:
    """Whether a C-STORE status speaks against the kind of object, and not against this one (PS3.4 Table B.2-1)."""
    return status is not None and (status == _NOT_SUPPORTED or status & 0xFF00 == _DOES_NOT_MATCH)


def send_another_form(shop: Workshop, delivery: Delivery, target: Destination, said: str) -> str | None:
    """Put the next form that a destination takes in the place of a refused one.

    None where that was done; else why there is no other. Raises Unreachable where the destination cannot be asked.
    """
    job, refused = shop.ledger.job(delivery.job_id), shop.ledger.object(delivery.sop_instance_uid)
    if "auto" not in target.outputs or job is None or refused is None or refused.kind not in FORMS:
        return said
    left = FORMS[FORMS.index(refused.kind) + 1 :]
    form = next(iter(_taken(shop, target, left)), None)
    if form is None:
        others = f", nor any of {', '.join(left)}" if left else ""
        return f"{said}; {target.name} takes no {refused.kind}{others}"
    finished = finished_of(shop, job)
    products = products_of(target, finished, form)
    made = make(shop, job, finished, products)
    cause = f"{form} in its place, which {target.name} takes: {said}"
    uids = [made[each].sop_instance_uid for each in products]
    if shop.ledger.reformed(delivery, list(made.values()), uids, cause):
        event(log, logging.WARNING, "another form", job=job.id, to=target.name, form=form, why=said)
    return None


def _taken(shop: Workshop, target: Destination, forms: tuple[Form, ...]) -> tuple[Form, ...]:
    if target.kind != "dicom" or not forms:
        return forms
    classes = [SOP_CLASSES[form] for form in forms]
    accepted = accepted_classes(target.node, shop.site.receive.aet, classes, target.timeout_seconds)
    return tuple(form for form in forms if SOP_CLASSES[form] in accepted)
