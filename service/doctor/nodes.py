"""The site's DICOM nodes in; out: whether each answers and takes what it is to get.

Nothing is stored unless `--store-test-object` asks for it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from dicom_nodes import scu
from dicom_nodes.commitment import COMMITMENT, ask_commitment
from dicom_nodes.deliver import DESTINATIONS, Address
from dicom_nodes.encode import SOP_CLASSES
from dicom_nodes.errors import Refused, Unreachable
from dicom_nodes.rejection import KEY_OBJECT_SELECTION
from dicom_nodes.survey import Survey, survey
from dicom_nodes.types import CommitmentReport, Reference
from service.destination import FORMS, Destination, Form
from service.doctor.seen import Ground, Seen, bad, listed, ok, warning
from service.doctor.specimen import PATIENT_ID, Specimen, specimen

CLASS_OF: Mapping[str, str] = {
    **SOP_CLASSES,
    "sheet": str(SecondaryCaptureImageStorage),
    "sr": str(Comprehensive3DSRStorage),
    "text": str(BasicTextSRStorage),
}
"""SOP Class UID of each output."""
LINGER_SECONDS = 3.0
_DUPLICATE = 0x0111  # PS3.7 C.5.6: it has this very object from an earlier run
_OFF = "See that it runs, that `host` and `port` in site.toml are right, and that the firewall lets us through."


def query(ground: Ground) -> Iterator[Seen]:
    """Whether the archive answers C-ECHO, and C-FIND of a series that does not exist with nothing."""
    archive, ours = ground.site.query, ground.site.receive.aet
    if archive is None:
        yield ok("none in site.toml: series are complete after a quiet time")
        return
    try:
        scu.echo(archive.node, ours, ground.timeout_seconds)
        found = scu.count_instances(archive.node, ours, generate_uid(), generate_uid(), ground.timeout_seconds)
    except (Unreachable, Refused) as error:
        yield bad(str(error), advice_on(error, ours))
        return
    if found is None:
        yield ok(f"{scu.named(archive.node)} answers C-ECHO and C-FIND")
    else:
        advice = (
            "Ask its vendor: it answers with series that were not asked for, so completeness cannot be counted."
        )
        yield warning(f"{scu.named(archive.node)} knows a series that does not exist", advice)


def advice_on(error: Unreachable | Refused, ours: str) -> str:
    """What to do where a node is out of reach or rejects us."""
    said = str(error).lower()
    if "calling ae" in said:
        return f"Let its administrator add our AE title, {ours}, with our address and port."
    if "called ae" in said:
        return "Correct its `aet` in site.toml: the node goes by another AE title."
    if isinstance(error, Refused):
        return f"Let its administrator say why it refuses {ours}."
    return _OFF


def dicom_destination(ground: Ground, target: Destination) -> Iterator[Seen]:
    """Whether a destination answers and takes every output that the site sends it, in one association."""
    ours = ground.site.receive.aet
    wanted = [*CLASS_OF.values(), KEY_OBJECT_SELECTION, COMMITMENT]
    try:
        found = survey(target.node, ours, wanted, ground.timeout_seconds)
    except (Unreachable, Refused) as error:
        yield bad(str(error), advice_on(error, ours))
        return
    yield ok(f"{target.address} answers C-ECHO" if found.echoed else f"{target.address} has no C-ECHO")
    form = form_of(target, found)
    yield from _outputs(target, found, form)
    yield from _commitment(target, found)
    if not found.takes_ours(KEY_OBJECT_SELECTION):
        advice = (
            "Let it take Key Object Selection Documents, else a withdrawn result has to be deleted there by hand."
        )
        yield warning("takes no rejection note", advice)
    if ground.store_test_object:
        yield from store_test_object(ground, target, form)


def form_of(target: Destination, found: Survey) -> Form | None:
    """The form that a destination with "auto" would get; None where it takes none, or is not asked so."""
    if "auto" not in target.outputs:
        return None
    return next((form for form in FORMS if found.takes_ours(CLASS_OF[form])), None)


def _outputs(target: Destination, found: Survey, form: Form | None) -> Iterator[Seen]:
    refused = [each for each in target.outputs if each != "auto" and not found.takes_ours(CLASS_OF[each])]
    fitting = [each for each in target.outputs if each != "auto" and each not in refused]
    if "auto" in target.outputs:
        if form is None:
            yield bad(
                f"takes none of {', '.join(FORMS)}", "Let it take one of them: it can get no result as it is."
            )
        else:
            yield ok(f'"auto" would send {form}')
    if fitting:
        yield ok(f"takes {', '.join(fitting)}")
    if not refused:
        return
    instead = [each for each in FORMS if found.takes_ours(CLASS_OF[each])]
    advice = "Let its administrator allow the SOP Class in Explicit VR Little Endian, or change `outputs`"
    advice += f" (it takes {listed(instead)})." if instead else "."
    others = [each for each in refused if CLASS_OF[each] in found.takes]
    only = f"; {', '.join(others)} in another transfer syntax alone" if others else ""
    yield bad(f"does not take {', '.join(refused)}{only}", advice)


def _commitment(target: Destination, found: Survey) -> Iterator[Seen]:
    if target.commitment == "off":
        yield ok("storage commitment is not asked for")
    elif COMMITMENT in found.takes:
        yield ok("offers storage commitment")
    elif target.commitment == "require":
        advice = 'Let its administrator allow Storage Commitment to us, or set commitment = "auto".'
        yield bad("offers no storage commitment, which site.toml requires", advice)
    else:
        yield ok("offers no storage commitment: `delivered` is the end there")


# ── a test object, where it is asked for ────────────────────────────────────────────────────────────────────


def store_test_object(ground: Ground, target: Destination, form: Form | None) -> Iterator[Seen]:
    """Send an object of nobody, of a kind that the destination gets, and ask for its commitment; it stays there."""
    kind = kind_to_store(target, form)
    if kind is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        made = specimen(Path(folder), kind, ground.site.receive.aet)
        send = DESTINATIONS[target.kind](address_of(ground, target)).send
        try:
            (outcome,) = send([made.path])
        except (Unreachable, Refused) as error:
            yield bad(f"the test object was not stored: {error}", advice_on(error, ground.site.receive.aet))
            return
    if not outcome.stored and outcome.status != _DUPLICATE:
        said = f"status 0x{outcome.status:04X} {outcome.comment}".strip()
        yield bad(
            f"the test object ({kind}) was not stored: {said}", "Let its administrator say what it objects to."
        )
        return
    yield ok(f"a test {kind} was stored and stays there: PatientID {PATIENT_ID}, study {made.study_uid}")
    if target.kind == "dicom" and target.commitment != "off":
        yield _committed(ground, target, made)


def kind_to_store(target: Destination, form: Form | None) -> str | None:
    """The first output that can be made of nothing but labels; None where the destination takes no form."""
    if "auto" in target.outputs:
        return form
    return next((each for each in (*FORMS, "text", "sheet") if each in target.outputs), None)


def address_of(ground: Ground, target: Destination) -> Address:
    """Where a destination is; its files lie beside site.toml."""
    site = ground.site
    authorization, ca = (site.home / name if name else None for name in (target.authorization, target.ca))
    return Address(
        timeout_seconds=ground.timeout_seconds,
        node=target.node if target.kind == "dicom" else None,
        calling_aet=site.receive.aet,
        url=target.url or "",
        authorization=authorization,
        ca=ca,
    )


def _committed(ground: Ground, target: Destination, made: Specimen) -> Seen:
    reports: list[CommitmentReport] = []

    def reported(report: CommitmentReport) -> bool:
        reports.append(report)
        return True

    reference = Reference(made.sop_class_uid, made.sop_instance_uid)
    ours, seconds = ground.site.receive.aet, ground.timeout_seconds
    try:
        ask_commitment(
            target.node, ours, generate_uid(None), [reference], reported, seconds, LINGER_SECONDS,
            awaited=lambda: not reports,
        )  # fmt: skip
    except (Unreachable, Refused) as error:
        if target.commitment == "require":
            return bad(f"does not commit to the test object: {error}", advice_on(error, ours))
        return ok("does not commit to it, which site.toml does not require")
    if any(made.sop_instance_uid in each.failed for each in reports):
        return bad("says that it does not keep the test object", "Let its administrator say why.")
    if reports:
        return ok("committed to it")
    return ok("took the request to commit to it; its report comes to our receiver, if that is up")
