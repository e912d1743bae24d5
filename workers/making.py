"""A finished job → its objects, each encoded, kept in the job folder and known by its SOP Instance UID."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version

from pydicom import Dataset

from dicom_nodes.encode import ENCODERS
from dicom_nodes.errors import EmptyResult
from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Finished, Laterality, Predecessor, ResultIdentity
from service.findings import Action
from service.jobs import Job, ResultObject
from workers.measurements import measure_segments
from workers.products import Product, restricted
from workers.workshop import Workshop


def finished_of(shop: Workshop, job: Job) -> Finished:
    """What the objects of a job are made of; measured now where the label map was found by a version without.

    Raises EmptyResult where nothing was found.
    """
    folder = shop.folder(job.id)
    volume, label_map, measurements = folder.load_volume(), folder.load_label_map(), folder.load_measurements()
    if measurements is None:
        measurements = measure_segments(label_map, read_voxels(volume))
        folder.save_measurements(measurements)
    if not measurements:
        raise EmptyResult("the label map has no labelled voxel")
    silent = {name for name, action in shop.site.checks.becomes.items() if action is Action.DELIVER}
    told = [each for each in shop.ledger.findings(job.id) if each.name not in silent]
    notes = tuple(f"{each.name}: {each.evidence}" for each in told)
    return Finished(label_map, volume, _identity(shop, job), measurements, notes)


def _identity(shop: Workshop, job: Job) -> ResultIdentity:
    """What names the objects of a job: the same job and model version always give the same."""
    return ResultIdentity(
        submodel=job.submodel,
        protocol=job.protocol,
        revision=job.revision,
        laterality=side_of(job),
        made_at=datetime.fromtimestamp(job.created_at).astimezone(),
        software_version=version("sagittal"),
        device_serial=shop.site.receive.aet,
    )


def side_of(job: Job) -> Laterality | None:
    """The side that a job's volume was routed as."""
    return Laterality(job.laterality) if job.laterality else None


def make(shop: Workshop, job: Job, finished: Finished, products: Iterable[Product]) -> dict[Product, ResultObject]:
    """Make each of these once; what a report refers to stands before it.

    An object that the ledger knows already is left as it lies: it may be on its way.
    """
    made: dict[Product, ResultObject] = {}
    datasets: dict[Product, Dataset] = {}
    for product in dict.fromkeys(products):
        known, datasets[product] = _encode(shop, job, finished, product, datasets)
        made[product] = known or _keep(shop, job, product, datasets[product])
    return made


def _encode(
    shop: Workshop, job: Job, finished: Finished, product: Product, datasets: Mapping[Product, Dataset]
) -> tuple[ResultObject | None, Dataset]:
    """Encode an object; a new one that takes the place of an older one says so."""
    encode, own = ENCODERS[product.kind], restricted(finished, product)
    refers = [datasets[each] for each in product.refers]
    dataset = encode(own, refers)
    known = shop.ledger.object(str(dataset.SOPInstanceUID))
    if known is None and (older := shop.ledger.predecessor(job, product.name)):
        before = Predecessor(older.sop_class_uid, older.sop_instance_uid, older.series_uid)
        dataset = encode(replace(own, predecessor=before), refers)
    return known, dataset


def _keep(shop: Workshop, job: Job, product: Product, dataset: Dataset) -> ResultObject:
    """Write an object into the job folder, beside those of the same name that an earlier model made."""
    before = sum(each.name == product.name for each in shop.ledger.objects(job.id))
    name = f"{product.name}~{before + 1}" if before else product.name
    path = shop.folder(job.id).save_object(name, dataset)
    return ResultObject(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        job_id=job.id,
        kind=product.kind,
        sop_class_uid=str(dataset.SOPClassUID),
        series_uid=str(dataset.SeriesInstanceUID),
        path=str(path),
        made_at=shop.ledger.now(),
    )
