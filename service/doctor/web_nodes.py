"""The site's DICOMweb destinations in; out: whether each answers and lets us in, and how long certificates last."""

from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import generate_uid

from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.survey import certificate_days, search_status, trusted_days
from service.destination import FORMS, Destination
from service.doctor.nodes import address_of, store_test_object
from service.doctor.seen import Ground, Seen, bad, ok, warning

FEW_DAYS = 30
"""Before a certificate's end."""


def web_destination(ground: Ground, target: Destination) -> Iterator[Seen]:
    """Whether a DICOMweb service answers a search with our credentials, and until when it is to be trusted."""
    at = address_of(ground, target)
    if at.url.lower().startswith("https:"):
        yield from _certificates(ground, at.url, at.ca)
    try:
        status = search_status(at.url, generate_uid(None), ground.timeout_seconds, at.authorization, at.ca)
    except Refused as error:
        yield bad(str(error), "Correct what site.toml says of this destination.")
        return
    except Unreachable as error:
        yield bad(str(error), "See that it runs, that `url` is right, and that the firewall lets us through.")
        return
    yield _answered(target, status)
    if ground.store_test_object:
        yield from store_test_object(ground, target, FORMS[0] if "auto" in target.outputs else None)


def _answered(target: Destination, status: int) -> Seen:
    said = f"{target.address} answers HTTP {status}"
    if status in (401, 403):
        return bad(
            f"{said}: it does not let us in", "Renew the credentials in the file that `authorization` names."
        )
    if 300 <= status < 400:
        return bad(f"{said}: it sends us elsewhere", "Write that address as `url`: no redirect is followed.")
    if status >= 500:
        return bad(said, "Let its administrator look at its log.")
    if status in (200, 204):
        return ok(f"{target.address} answers a search")
    if status in (404, 405, 410):
        advice = "See that `url` is the base of its DICOMweb service; a service that only stores has no search."
        return warning(f"{said} to a search", advice)
    return warning(f"{said} to a search", "See that `url` is the base of its DICOMweb service.")


def _certificates(ground: Ground, url: str, ca: Path | None) -> Iterator[Seen]:
    """Unreachable is said by the search: here only of the end of what can be seen."""
    try:
        yield _lasts("its certificate", certificate_days(url, ground.timeout_seconds, ca))
    except (Unreachable, OSError):
        return
    if ca is not None and (days := trusted_days(ca)):
        yield _lasts(f"an authority in {ca.name}", min(days))


def _lasts(whose: str, days: float) -> Seen:
    if days < 0:
        return bad(f"{whose} ended {-days:.0f} days ago", "Renew it: nothing is sent meanwhile.")
    if days < FEW_DAYS:
        return warning(f"{whose} ends in {days:.0f} days", "Renew it before: nothing is sent afterwards.")
    return ok(f"{whose} lasts {days:.0f} days")
