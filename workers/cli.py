"""The arguments of the worker processes in; a running Celery worker, or one segmented folder, out."""

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
from celery.signals import setup_logging

from dicom_nodes.encode.seg import encode_seg
from dicom_nodes.errors import ConfigurationError, ModelUnusable, SagittalError
from dicom_nodes.headers import read_headers
from dicom_nodes.types import Laterality, ResultIdentity, Volume
from dicom_nodes.volumes import find_volumes
from service.config import Site, read_site
from service.disk import disk_watch
from service.ledger import open_ledger
from service.modelstore import ModelStore, site_store
from service.observe import event, log_to_stderr
from service.queue import DELIVER, ENCODE, Hints, declare, inference_queue, make_app
from service.redis_server import redis_url
from service.routing.route import decide
from service.routing.settings import Routing
from service.running import submodels_to_run
from service.submodel import SubModel, site_submodels
from workers.install.command import install
from workers.install.phantom import phantom_store
from workers.limits import step_limits
from workers.memory import MIB
from workers.models import WarmModels
from workers.segmentation import segment as segment_volume
from workers.stopping import Stopping
from workers.tasks import register
from workers.workshop import Workshop

log = logging.getLogger(__name__)

BEHIND = 10
"""Nice value of a worker that infers: where cores are scarce the receiver, which somebody waits for, goes first."""


@click.group()
def main() -> None:
    """Run the parts of Sagittal that make results."""


main.add_command(install)


@main.command()
@click.option("--site", "site_file", type=click.Path(path_type=Path), required=True)
@click.option("--name", default="inference")
@click.option("--submodel", "only", multiple=True, help="Serve only these sub-models.")
def inference(site_file: Path, name: str, only: Sequence[str]) -> None:
    """Take series from the queues of the sub-models, one at a time, with the networks kept warm."""
    log_to_stderr(name)
    os.nice(BEHIND)
    shop = _workshop(site_file, name)
    unknown = sorted(set(only) - set(shop.submodels))
    if unknown:
        raise click.ClickException(
            f"no such sub-model: {', '.join(unknown)}; there are {', '.join(shop.submodels)}"
        )
    install_phantoms(shop.site)
    say_what_runs(shop, only)
    # A job of a sub-model that the site no longer runs still ends, in a result or in a reason.
    queues = [inference_queue(submodel) for submodel in only or shop.submodels]
    # One process that never forks and one task at a time: torch must not run in a process that forks.
    _serve(shop, name, queues, ["--pool=solo", "--concurrency=1"])


@main.command()
@click.option("--site", "site_file", type=click.Path(path_type=Path), required=True)
@click.option("--name", default="results")
def results(site_file: Path, name: str) -> None:
    """Encode what was found and deliver it; never loads torch."""
    log_to_stderr(name)
    shop = _workshop(site_file, name)
    threads = shop.site.workers.deliver_threads
    _serve(shop, name, [ENCODE, DELIVER], ["--pool=threads", f"--concurrency={threads}"])


def _workshop(site_file: Path, name: str) -> Workshop:
    """What a worker of a site works with; raises ClickException where a file or the ledger does not go with it."""
    try:
        site = read_site(site_file)
        submodels = {submodel.name: submodel for submodel in site_submodels(site.models.submodels, site.home)}
        ledger, hints = open_ledger(site.ledger_url, actor=name), Hints(redis_url(site))
        step_limits(site)
    except SagittalError as error:
        raise click.ClickException(str(error)) from error
    models, stopping = warm_models(site, submodels), Stopping(site.workers.stop_seconds)
    return Workshop(site, ledger, hints, submodels, models, stopping=stopping, disk=disk_watch(site))


def warm_models(site: Site, submodels: Mapping[str, SubModel]) -> WarmModels:
    """The networks that a worker of this site may hold; none is loaded yet."""
    return WarmModels(
        site_store(site),
        submodels,
        running=[submodel.name for submodel in submodels_to_run(tuple(submodels.values()), site.models.run)],
        model_memory_mb=site.workers.model_memory_mb,
        gpu_memory_mb=site.workers.gpu_memory_mb,
        processes=site.workers.inference_processes,
        threads=site.workers.threads,
        device=site.workers.device,
        memory_mb=site.workers.memory_mb,
        scratch=site.folder / "scratch",
    )


def install_phantoms(site: Site) -> None:
    """Where the site runs the shipped phantom models: see that they are installed."""
    if site.models.weights == "phantom":
        phantom_store(site_store(site).folder)


def say_what_runs(shop: Workshop, only: Sequence[str] = ()) -> None:
    """Log of every sub-model that this worker serves whether it can run, with its memory, or why it cannot."""
    served = only or [each.name for each in submodels_to_run(tuple(shop.submodels.values()), shop.site.models.run)]
    for name in served:
        try:
            needed = shop.models.check(shop.submodels[name])
        except ModelUnusable as error:
            event(log, logging.ERROR, "sub-model cannot run", submodel=name, why=str(error))
        else:
            sizes = {"weights_mib": -(-needed // MIB), "of_mib": shop.models.budget.host_bytes // MIB}
            event(log, logging.INFO, "sub-model can run", submodel=name, **sizes, device=shop.models.device)


def _serve(shop: Workshop, name: str, queues: list[str], pool: list[str]) -> None:
    app = make_app(redis_url(shop.site))
    declare(app, queues)
    register(app, shop)
    setup_logging.connect(_own_logging)
    shop.stopping.listen()
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["--quiet", "worker", f"--hostname={name}@%h", *pool, *quiet])


def _own_logging(**_: object) -> None:
    """Celery sets up no logging where something listens to this signal: ours stands already."""


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "name", required=True, help="Sub-model or variant, as mrannotator-spine.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--weights", default="phantom", show_default=True, help="Folder of installed models, or phantom.")
@click.option("--protocol", help="Protocol of the sub-model; default: what routing decides.")
@click.option("--volume", "index", type=int, help="Which volume of the series; default: the only one.")
def segment(folder: Path, name: str, out: Path, weights: str, protocol: str | None, index: int | None) -> None:
    """Run one sub-model on the DICOM series in FOLDER and write a DICOM-SEG."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            store = phantom_store(Path(temporary)) if weights == "phantom" else ModelStore(Path(weights))
            _segment(folder, name, out, store, protocol, index)
    except SagittalError as error:
        raise click.ClickException(str(error)) from error


def _segment(
    folder: Path, name: str, out: Path, store: ModelStore, protocol: str | None, index: int | None
) -> None:
    submodels = {submodel.name: submodel for submodel in site_submodels("", Path())}
    if name not in submodels:
        raise ConfigurationError(f"no sub-model {name}; there are {', '.join(sorted(submodels))}")
    submodel = submodels[name]
    volume = _volume(folder, index)
    protocol, side = _protocol(volume, submodel, tuple(submodels.values()), protocol)

    def report(stage: str, percent: int) -> None:
        click.echo(f"\r{stage:<12} {percent:3d} %", nl=False, err=True)

    models = WarmModels(store, submodels, running=[name])
    models.check(submodel)
    label_map = segment_volume(volume, submodel, protocol, side, models, report)
    click.echo(err=True)
    now = datetime.now().astimezone()
    identity = ResultIdentity(name, protocol, 1, side, now, version("sagittal"), "command line")
    encode_seg(label_map, volume, identity).save_as(out, enforce_file_format=True)
    litres = float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1e6
    for each in label_map.segments:
        if count := int((label_map.array == each.value).sum()):
            click.echo(f"{each.name:<24} {count * litres * 1000:8.1f} mL")
    click.echo(f"{out}: {protocol}{f' {side}' if side else ''}, by {name}")


def _volume(folder: Path, index: int | None) -> Volume:
    content = find_volumes(read_headers(sorted(path for path in folder.rglob("*") if path.is_file())))
    if not content.volumes:
        raise content.left_out[0] if content.left_out else ConfigurationError(f"{folder}: no DICOM files")
    if index is None and len(content.volumes) > 1:
        names = ", ".join(f"{volume.index} ({volume.name})" for volume in content.volumes)
        raise ConfigurationError(f"{folder} holds {len(content.volumes)} volumes; choose with --volume: {names}")
    chosen = [volume for volume in content.volumes if index in (None, volume.index)]
    if not chosen:
        raise ConfigurationError(f"{folder} has no volume {index}")
    return chosen[0]


def _protocol(
    volume: Volume, submodel: SubModel, submodels: Sequence[SubModel], wanted: str | None
) -> tuple[str, Laterality | None]:
    names = ", ".join(protocol.name for protocol in submodel.protocol)
    if not names:
        raise ConfigurationError(f"{submodel.name} serves no protocol: it only helps others, or is obsolete")
    if wanted is not None and wanted not in {protocol.name for protocol in submodel.protocol}:
        raise ConfigurationError(f"{submodel.name} does not serve {wanted}; it serves: {names}")
    decision = decide(volume, Routing(tuple(submodels), (submodel.name,), otherwise=()))
    route = next(iter(decision.routes), None)
    if wanted is not None:
        return wanted, route.laterality if route and route.protocol == wanted else None
    if route is None:
        raise ConfigurationError(
            f"not routed to {submodel.name}: {decision.summary}. If you know better, use --protocol with: {names}"
        )
    return route.protocol, route.laterality
