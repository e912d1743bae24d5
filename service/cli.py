"""The command `sagittal`. Nothing heavy is imported before a command that needs it runs."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dicom_nodes.errors import SagittalError
from service.later import LaterCommand

if TYPE_CHECKING:
    from dicom_nodes.types import Node


class _Group(click.Group):
    """Shows our own errors as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SagittalError as error:
            raise click.ClickException(str(error)) from error


def _site_option(command: Callable[..., Any]) -> Callable[..., Any]:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("--site", "site_file", type=path, default="site.toml", show_default=True)(command)


@click.group(cls=_Group)
@click.version_option(package_name="sagittal")
def main() -> None:
    """MR series in over DICOM, DICOM-SEG back in the PACS."""


def _node(_ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple["Node", ...]:
    from dicom_nodes.types import Node  # noqa: PLC0415

    nodes = []
    for value in values:
        aet, at, address = value.partition("@")
        host, colon, port = address.rpartition(":")
        if not (aet and at and host and colon and port.isdigit()):
            raise click.BadParameter(f"{value!r}: write it as AET@HOST:PORT, for example PACS@192.0.2.10:104")
        nodes.append(Node(aet, host, int(port)))
    return tuple(nodes)


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--aet", default="SAGITTAL", show_default=True, help="Our AE title.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")
@click.option("--port", default=11112, show_default=True)
@click.option("--web-port", default=8042, show_default=True)
@click.option("--send-to", multiple=True, required=True, callback=_node, help="AET@HOST:PORT; may be repeated.")
def init(folder: Path, aet: str, host: str, port: int, web_port: int, send_to: tuple["Node", ...]) -> None:
    """Write a commented site.toml into FOLDER."""
    from service.config import read_site  # noqa: PLC0415
    from service.site_template import site_toml  # noqa: PLC0415

    path = folder / "site.toml"
    if path.exists():
        raise click.ClickException(f"{path} exists already; it is left as it is")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(site_toml(aet, host, port, web_port, send_to))
    read_site(path)
    click.echo(f"{path} written. Next:  sagittal up --site {path}")


@main.command()
@_site_option
def check(site_file: Path) -> None:
    """Read site.toml and the sub-models whole, and say what is wrong with them."""
    from service.config import read_site  # noqa: PLC0415
    from service.routing.site import SiteRouting  # noqa: PLC0415
    from service.running import submodels_to_run  # noqa: PLC0415
    from service.submodel import site_submodels  # noqa: PLC0415

    site = read_site(site_file)
    submodels = site_submodels(site.models.submodels, site.home)
    rules = SiteRouting(site, submodels).now().rules
    running = {each.name for each in submodels_to_run(submodels, site.models.run)}
    otherwise = {each.name for each in submodels_to_run(submodels, site.models.otherwise)}
    click.echo(f"{site_file}: {site.receive.aet} on {site.receive.host}:{site.receive.port}")
    for destination in site.destination:
        click.echo(f"  results to {destination.name}: {destination.address}")
    for rule in rules:
        click.echo(f"  rule {rule.name}")
    for submodel in submodels:
        protocols = ", ".join(protocol.name for protocol in submodel.protocol)
        does = "does not run"
        if submodel.name in running:
            does = f"runs: {protocols}"
        elif submodel.name in otherwise:
            does = f"runs otherwise: {protocols}"
        click.echo(f"  sub-model {submodel.name} {does}")


@main.command()
@_site_option
def up(site_file: Path) -> None:
    """Run everything on this machine: receiver, workers, status page, and Redis if none is configured."""
    from service import up as supervisor  # noqa: PLC0415
    from service.config import read_site  # noqa: PLC0415
    from service.observe import log_to_stderr  # noqa: PLC0415

    log_to_stderr("up")
    supervisor.run(read_site(site_file), site_file)


@main.command()
@_site_option
def receiver(site_file: Path) -> None:
    """Run the receiver alone: Storage SCP, assembly, routing and the sweeper."""
    from service.receiver import main as run  # noqa: PLC0415

    run(site_file)


@main.command()
@_site_option
@click.option("--role", type=click.Choice(["inference", "results"]), default="inference", show_default=True)
@click.option("--name", help="How this worker signs its work; default: its role.")
@click.option("--submodel", multiple=True, help="Serve only these sub-models (inference).")
def worker(site_file: Path, role: str, name: str | None, submodel: tuple[str, ...]) -> None:
    """Run one worker alone: inference, or results (encode and deliver)."""
    only = [word for each in submodel for word in ("--submodel", each)]
    _hand_over([role, "--site", str(site_file), "--name", name or role, *only])


@main.command()
@_site_option
def web(site_file: Path) -> None:
    """Run the status page and its JSON alone."""
    from service.web.server import main as run  # noqa: PLC0415

    run(site_file)


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def segment(arguments: tuple[str, ...]) -> None:
    """FOLDER --model NAME --out FILE.dcm: run one series without a network."""
    _hand_over(["segment", *arguments])


def _hand_over(arguments: list[str]) -> NoReturn:
    """Become a worker process: the service itself never imports the workers."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "workers", *arguments])


@main.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default="demo-site", show_default=True)
@click.option("--seed", default=2026, show_default=True, help="Which phantoms; any number makes others.")
@click.option("--keep-running", is_flag=True, help="Leave the service and its status page up until Ctrl-C.")
def demo(folder: Path, seed: int, keep_running: bool) -> None:
    """Send one phantom study per protocol through a whole site on this machine, and check what comes back."""
    from service.demo import run  # noqa: PLC0415

    raise SystemExit(run(folder, seed, keep_running))


def _jobs() -> click.Command:
    from service.jobs_cli import jobs  # noqa: PLC0415
    from service.retry_cli import retry  # noqa: PLC0415
    from service.route_cli import assign  # noqa: PLC0415

    jobs.add_command(assign)
    jobs.add_command(retry)
    return jobs


def _models() -> click.Command:
    from service.models_cli import models  # noqa: PLC0415

    return models(_hand_over)


def _of(module: str, name: str) -> Callable[[], click.Command]:
    def load() -> click.Command:
        command: click.Command = getattr(import_module(module), name)
        return command

    return load


LATER: Mapping[str, tuple[str, Callable[[], click.Command]]] = MappingProxyType({
    "jobs": ("Series and jobs: list (the default), show ID, retry ID, rerun JOB; release JOB or reject JOB that is"
             " held.", _jobs),
    "doctor": ("Look at everything a site needs, and say what to do where something is not well.",
               _of("service.doctor_cli", "doctor")),
    "pull": ("Bring studies in from an archive: what lacks here is sent by C-MOVE to our AE title, or fetched by"
             " WADO-RS.", _of("service.pull_cli", "pull")),
    "results": ("The objects that were made: list, withdraw JOB, reconcile with the archive.",
                _of("service.results_cli", "results")),
    "storage": ("How full the disks are, who holds what, and what retention deletes when.",
                _of("service.storage_cli", "storage")),
    "route": ("Show where each series in FOLDER would go and why; nothing runs and nothing is written.",
              _of("service.route_cli", "route")),
    "replay": ("Show which past series would go elsewhere by new rules; nothing runs and nothing is written.",
               _of("service.route_cli", "replay")),
    "models": ("Install published weights, and look after those that are installed.", _models),
})  # fmt: skip
"""Name of a command to its help, as it is listed, and what imports it: `sagittal --help` imports none of them."""

for _name, (_help, _load) in LATER.items():
    main.add_command(LaterCommand(_name, _help, _load))
