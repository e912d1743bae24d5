"""Objects on their way: each is sent to each destination until it is stored, and asked about until it is kept.

Every step claims its delivery in the ledger and may be asked for twice. What the destination answers decides:
stored, again later, or refused for good; then, by storage commitment, kept, lost and sent again, or without a word.
"""

import logging
from functools import partial
from pathlib import Path

from pydicom.uid import generate_uid
from sqlalchemy.exc import SQLAlchemyError

from dicom_nodes.commitment import SAME_ASSOCIATION_SECONDS, ask_commitment
from dicom_nodes.deliver import DESTINATIONS, Address, backoff_seconds, retryable
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.rejection import known_already
from dicom_nodes.types import Reference, StoreOutcome
from service.config import Site
from service.destination import Destination
from service.jobs import Delivery, DeliveryState
from service.observe import event
from service.queue import DELIVER
from workers.forms import not_taken, send_another_form
from workers.stopping import LEAVE_SECONDS
from workers.turns import Turn
from workers.workshop import Workshop

log = logging.getLogger(__name__)

GATHER_SECONDS = 10.0
"""A stored object waits so long for the others of its job, to be asked about with them in one request."""
ASKED = "asked"
"""The outcome of a request that a destination took, and on which it has not reported."""
ASKED_AGAIN = 4
"""A request without a report is repeated when this part of `commitment_hours` is over."""


def deliver(shop: Workshop, delivery_id: int) -> None:
    """Bring one delivery one step further, once there is a place at its destination (turns.py)."""
    if shop.stopping.asked:
        return  # the sweeper tells another worker
    asked = shop.ledger.delivery(delivery_id)
    if asked is None:
        return
    urgency = shop.ledger.urgency_of([asked.job_id])[asked.job_id]
    turn = Turn(-urgency, asked.id, asked.destination)
    shop.turns.go(turn, shop.site.workers.deliver_threads, partial(_step, shop), partial(_tell_again, shop))


def _tell_again(shop: Workshop, turn: Turn) -> None:
    """Put what waited for a place back on the queue."""
    try:
        shop.hints.send(DELIVER, turn.delivery_id, DELIVER, -turn.less_urgent)
    except Unreachable as error:
        event(log, logging.WARNING, "the queue could not be told; the sweeper will", task=DELIVER, why=str(error))


def _step(shop: Workshop, delivery_id: int) -> None:
    """Send the object of a delivery, or ask whether it is kept; the ledger says when."""
    if shop.stopping.asked:  # meanwhile
        return
    asked = shop.ledger.delivery(delivery_id)
    if asked is None:
        return
    target = _destination(shop.site, asked.destination)
    if asked.state is DeliveryState.STORED:
        if target is None or not _confirms(target):
            cause = f"stored; no confirmation is asked for by destination {asked.destination} in site.toml"
            shop.ledger.commitment_over([asked], DeliveryState.DELIVERED, cause)
        else:
            _ask(shop, asked, target)
        return
    lease_seconds = 60.0 if target is None else 4 * target.timeout_seconds + 60.0
    delivery = shop.ledger.claim_delivery(delivery_id, lease_seconds)
    if delivery is None:
        return
    if target is None:
        cause = f"destination {delivery.destination} is no longer in site.toml"
        shop.ledger.settle_delivery(delivery, DeliveryState.FAILED, cause, None)
        return
    with shop.stopping.handing_back(partial(_hand_back, shop, delivery)):
        _attempt(shop, delivery, target)


def _hand_back(shop: Workshop, delivery: Delivery) -> None:
    """Leave a sending that goes on to another worker, once this process has ended."""
    try:
        if shop.ledger.hand_back(delivery, 2 * LEAVE_SECONDS, "handed back: its worker was told to stop"):
            event(log, logging.INFO, "delivery handed back", job=delivery.job_id, to=delivery.destination)
    except SQLAlchemyError as error:  # then its lease runs out
        event(log, logging.ERROR, "not handed back", job=delivery.job_id, why=str(error))


# ── C-STORE or STOW-RS ──────────────────────────────────────────────────────────────────────────────────────


def _attempt(shop: Workshop, delivery: Delivery, target: Destination) -> None:
    path = next(
        o.path for o in shop.ledger.objects(delivery.job_id) if o.sop_instance_uid == delivery.sop_instance_uid
    )
    send = DESTINATIONS[target.kind](_address(shop.site, target)).send
    try:
        (outcome,) = send([Path(path)])
    except Unreachable as error:
        _later(shop, delivery, target, str(error), None, unreachable=True)
    except Refused as error:
        shop.ledger.answered(target.name)
        _refused(shop, delivery, target, str(error), error.status)
    except Exception as error:  # recorded; the object is sent again later
        log.exception("delivery broke", extra={"fields": {"job": delivery.job_id, "to": target.name}})
        _later(shop, delivery, target, f"{type(error).__name__}: {error}", None)
    else:
        shop.ledger.answered(target.name)
        _settle(shop, delivery, target, outcome)


def _settle(shop: Workshop, delivery: Delivery, target: Destination, outcome: StoreOutcome) -> None:
    said = f"status 0x{outcome.status:04X}" + (f": {outcome.comment}" if outcome.comment else "")
    if outcome.stored or known_already(outcome.status, outcome.comment):
        event(log, logging.INFO, "stored", job=delivery.job_id, to=target.name, status=said)
        _stored(shop, delivery, target, said, outcome.status)
    elif retryable(outcome.status):
        _later(shop, delivery, target, said, outcome.status)
    else:
        _refused(shop, delivery, target, said, outcome.status)


def _refused(shop: Workshop, delivery: Delivery, target: Destination, said: str, status: int | None) -> None:
    """It will not have this object: it gets another form of it where the site leaves that open, else none."""
    try:
        why = send_another_form(shop, delivery, target, said) if not_taken(status) else said
    except Unreachable as error:
        _later(shop, delivery, target, str(error), None, unreachable=True)
        return
    except Exception as error:  # recorded as the reason; other deliveries go on
        log.exception("no other form", extra={"fields": {"job": delivery.job_id, "to": target.name}})
        why = f"{said}; and no other form could be made: {type(error).__name__}: {error}"
    if why is not None:
        shop.ledger.settle_delivery(delivery, DeliveryState.FAILED, why, status)


def _stored(shop: Workshop, delivery: Delivery, target: Destination, said: str, status: int) -> None:
    if shop.ledger.is_note(delivery):  # an archive may act on it and not keep it
        shop.ledger.settle_delivery(delivery, DeliveryState.DELIVERED, said, status)
        return
    if not _confirms(target):
        over_http = "; no storage commitment is asked for over DICOMweb" if target.kind == "stow" else ""
        shop.ledger.settle_delivery(delivery, DeliveryState.DELIVERED, f"{said}{over_http}", status)
        return
    ledger = shop.ledger
    others = ledger.others_to_store(delivery)
    due = ledger.now() + (GATHER_SECONDS if others else 0.0)
    ledger.settle_delivery(delivery, DeliveryState.STORED, said, status, next_attempt_at=due)
    if not others and (stored := ledger.delivery(delivery.id)):
        _ask(shop, stored, target)


def _later(
    shop: Workshop, delivery: Delivery, target: Destination, why: str, status: int | None, unreachable: bool = False
) -> None:
    now, retry_seconds = shop.ledger.now(), target.retry_hours * 3600
    wait = _rest(shop, target, why, delivery.attempts) if unreachable else backoff_seconds(delivery.attempts)
    if now - delivery.first_attempt_at >= retry_seconds:
        cause = f"given up after {target.retry_hours:g} h and {delivery.attempts} attempts: {why}"
        shop.ledger.settle_delivery(delivery, DeliveryState.FAILED, cause, status)
    else:
        event(log, logging.WARNING, "delivery waits", job=delivery.job_id, to=target.name, seconds=wait, why=why)
        shop.ledger.settle_delivery(delivery, DeliveryState.WAITING, why, status, next_attempt_at=now + wait)
    if unreachable:
        for other in shop.ledger.overdue_with(target.name, retry_seconds):
            cause = f"given up after {target.retry_hours:g} h: {why}"
            shop.ledger.settle_delivery(other, DeliveryState.FAILED, cause, None)


def _rest(shop: Workshop, target: Destination, why: str, attempts: int) -> float:
    """Note that a destination cannot be reached; the pause until it is tried again, seconds."""
    before = shop.ledger.rest_of(target.name)
    wait = backoff_seconds(max(attempts, 1, 1 + (before.failures if before else 0)))
    rest = shop.ledger.unreachable(target.name, why, wait)
    if rest.rests_until:
        event(log, logging.WARNING, "destination rests", to=target.name, failures=rest.failures, seconds=wait)
    return wait


# ── storage commitment ──────────────────────────────────────────────────────────────────────────────────────


def _ask(shop: Workshop, delivery: Delivery, target: Destination) -> None:
    """Ask a destination to confirm what it stored of a job, unless the site's time for that is over.

    That time runs while it can be reached; one that is down is asked again until `retry_hours` are over as well.
    """
    ledger, waited = shop.ledger, shop.ledger.now() - delivery.stored_at
    asked_before = ledger.commitments(delivery.id)
    silent = bool(asked_before) and asked_before[-1].outcome == ASKED
    if waited >= 3600 * max(target.commitment_hours, 0.0 if silent else target.retry_hours):
        _give_up(shop, delivery, target)
        return
    transaction_uid = str(generate_uid(None))
    lease_seconds = 2 * target.timeout_seconds + SAME_ASSOCIATION_SECONDS + 60.0
    asked = ledger.claim_commitment(delivery.id, transaction_uid, lease_seconds)
    if not asked:
        return
    with shop.stopping.handing_back(partial(_break_off, shop, asked, transaction_uid)):
        _request(shop, asked, target, transaction_uid)


def _break_off(shop: Workshop, asked: list[Delivery], transaction_uid: str) -> None:
    """Leave it to another worker to ask once more, when this process has ended."""
    due = dict.fromkeys((each.id for each in asked), shop.ledger.now() + 2 * LEAVE_SECONDS)
    try:
        shop.ledger.commitment_waits(transaction_uid, "broken off: its worker was told to stop", due)
    except SQLAlchemyError as error:  # then it is asked again when the time of the request is over
        event(log, logging.ERROR, "not handed back", job=asked[0].job_id, why=str(error))


def _request(shop: Workshop, asked: list[Delivery], target: Destination, transaction_uid: str) -> None:
    ledger, job_id = shop.ledger, asked[0].job_id
    sop_classes = {made.sop_instance_uid: made.sop_class_uid for made in ledger.objects(job_id)}
    references = [Reference(sop_classes[each.sop_instance_uid], each.sop_instance_uid) for each in asked]
    request = partial(ask_commitment, target.node, shop.site.receive.aet, transaction_uid, references)
    awaited = partial(ledger.commitment_awaited, transaction_uid)
    try:
        request(ledger.commitment_reported, target.timeout_seconds, awaited=awaited)
    except Unreachable as error:
        _rest(shop, target, str(error), 1)
        _ask_later(shop, asked, target, transaction_uid, str(error), answered=False)
    except Refused as error:
        ledger.answered(target.name)
        _not_committing(shop, asked, target, transaction_uid, error)
    except Exception as error:  # recorded; it is asked again later
        log.exception("asking for commitment broke", extra={"fields": {"job": job_id, "to": target.name}})
        _ask_later(shop, asked, target, transaction_uid, f"{type(error).__name__}: {error}", answered=False)
    else:
        ledger.answered(target.name)
        _ask_later(shop, asked, target, transaction_uid, ASKED, answered=True)


def _ask_later(
    shop: Workshop, asked: list[Delivery], target: Destination, transaction_uid: str, why: str, answered: bool
) -> None:
    """Set when each is asked about again: soon where the request failed, else when a report is overdue."""
    limit, now = target.commitment_hours * 3600, shop.ledger.now()
    due = {}
    for each in asked:
        tries = len(shop.ledger.commitments(each.id))
        wait = limit / ASKED_AGAIN if answered else backoff_seconds(max(tries, 1))
        end = each.stored_at + limit
        due[each.id] = min(now + wait, end) if end > now else now + wait
    shop.ledger.commitment_waits(transaction_uid, why, due)
    event(log, logging.INFO, "commitment asked", job=asked[0].job_id, to=target.name, objects=len(asked), why=why)


def _not_committing(
    shop: Workshop, asked: list[Delivery], target: Destination, transaction_uid: str, error: Refused
) -> None:
    """A destination without storage commitment has delivered all it can, unless the site requires more."""
    if error.status is not None and retryable(error.status):
        _ask_later(shop, asked, target, transaction_uid, str(error), answered=False)
        return
    shop.ledger.commitment_waits(transaction_uid, str(error), {})
    if target.commitment == "require":
        cause = f"stored, but not confirmed, which site.toml requires: {error}"
        shop.ledger.commitment_over(asked, DeliveryState.FAILED, cause)
    else:
        cause = f"stored, and {target.name} confirms no more than that: {error}"
        shop.ledger.commitment_over(asked, DeliveryState.DELIVERED, cause)
    event(log, logging.INFO, "no commitment", job=asked[0].job_id, to=target.name, why=str(error))


def _give_up(shop: Workshop, delivery: Delivery, target: Destination) -> None:
    asked = shop.ledger.commitments(delivery.id)
    last = f"; the last time: {asked[-1].outcome}" if asked and asked[-1].outcome != ASKED else ""
    cause = (
        f"stored, but {target.name} did not confirm within {target.commitment_hours:g} h that it keeps it, "
        f"asked {len(asked)} times{last}. Does it know our AE title and port?"
    )
    event(log, logging.ERROR, "not confirmed", job=delivery.job_id, to=target.name, why=cause)
    shop.ledger.commitment_over([delivery], DeliveryState.FAILED, cause)


def _destination(site: Site, name: str) -> Destination | None:
    return next((destination for destination in site.destination if destination.name == name), None)


def _address(site: Site, target: Destination) -> Address:
    """Where a destination is; its files lie beside site.toml."""
    authorization, ca = (site.home / name if name else None for name in (target.authorization, target.ca))
    return Address(
        timeout_seconds=target.timeout_seconds,
        node=target.node if target.kind == "dicom" else None,
        calling_aet=site.receive.aet,
        url=target.url or "",
        authorization=authorization,
        ca=ca,
    )


def _confirms(target: Destination) -> bool:
    """Whether a destination is asked to confirm that it keeps what it stored."""
    return target.kind == "dicom" and target.commitment != "off"
