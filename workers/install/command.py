"""`python -m workers install`, which `sagittal models install` becomes: reading a checkpoint needs torch."""

import json
from pathlib import Path

import click

from dicom_nodes.errors import SagittalError
from service.config import read_site
from service.modelstore import store_to_fill
from service.submodel import SubModel, load_submodels, site_submodels

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", metavar="ZIP_OR_FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--as", "name", help="The network that it is, as totalsegmentator-850, where content cannot tell.")
@click.option(
    "--accept-licence", is_flag=True, help="I have read the licence of these weights and may use them so."
)
@click.option("--best", is_flag=True, help="Take checkpoint_best.pth of a fold that has no checkpoint_final.pth.")
@click.option("--only", default="", help="Of several models, the one with this in the name of its folder.")
@click.option("--site", "site_file", type=_PATH, help="The site's file; default: site.toml here, unless --folder.")
@click.option("--folder", type=_PATH, help="Folder of installed models, instead of the site's.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def install(
    source: Path,
    name: str | None,
    accept_licence: bool,
    best: bool,
    only: str,
    site_file: Path | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Install the published weights in ZIP_OR_FOLDER: recognise them, check them, keep them as data."""
    try:
        store = store_to_fill(site_file or Path("site.toml"), folder)
        submodels = _submodels(site_file, folder)
        from workers.install import installing  # noqa: PLC0415  # imports torch

        outcome = installing.install(source, store, submodels, installing.Wish(name, accept_licence, best, only))
    except SagittalError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or source}: {error.strerror or error}") from error
    if as_json:
        said = {"installed": [model.model_dump(mode="json") for model in outcome.installed], "left": outcome.left}
        click.echo(json.dumps(said, indent=1))
    else:
        click.echo("\n".join(installing.lines(outcome)))


def _submodels(site_file: Path | None, folder: Path | None) -> tuple[SubModel, ...]:
    """Those of the site too, where a site is named or meant."""
    if site_file is None and folder is not None:
        return load_submodels()
    site = read_site(site_file or Path("site.toml"))
    return site_submodels(site.models.submodels, site.home)
