"""`sagittal models ...`: which published models are installed here, what they are, and whether they are whole.

None of it needs torch; `install` alone becomes a worker process, since a published checkpoint is read with it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dicom_nodes.errors import ModelUnusable
from service.modelstore import Installed, ModelStore, chosen_store

HandOver = Callable[[list[str]], None]
"""Becomes a worker process with these arguments, and does not come back."""


def _where(command: Callable[..., Any]) -> Callable[..., Any]:
    path = click.Path(path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For machines."),
        click.option("--folder", type=path, help="Folder of installed models, instead of the site's."),
        click.option("--site", "site_file", type=path, default="site.toml", show_default=True),
    ):
        command = option(command)
    return command


def models(hand_over: HandOver) -> click.Group:
    """The group of commands; `hand_over` starts the one that needs a worker process."""
    group = click.Group("models", help="Install published weights, and look after those that are installed.")
    for command in (_list, _show, _verify, _remove):
        group.add_command(command)

    @group.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def install(arguments: tuple[str, ...]) -> None:
        """ZIP_OR_FOLDER [--as NAME] [--accept-licence]: install published weights."""
        hand_over(["install", *arguments])

    return group


@click.command("list")
@_where
def _list(site_file: Path, folder: Path | None, as_json: bool) -> None:
    """Every installed model, with its licence."""
    store = chosen_store(site_file, folder)
    if as_json:
        said = {"models": [_plain(model) for model in store.installed()], "broken": dict(store.broken())}
        click.echo(json.dumps(said, indent=1))
        return
    rows = [_row(model) for model in store.installed()]
    for line in _table((("network", "sub-model", "folds", "MiB", "version", "licence"), *rows)) if rows else ():
        click.echo(line)
    for name, fault in store.broken().items():
        click.echo(f"{name} cannot be used: {fault}")
    if not rows:
        click.echo(f"no model is installed in {store.folder}; see:  sagittal models install --help")


@click.command("show")
@click.argument("name")
@_where
def _show(name: str, site_file: Path, folder: Path | None, as_json: bool) -> None:
    """Everything that is known of one installed model."""
    model = chosen_store(site_file, folder).get(name)
    if as_json:
        click.echo(json.dumps(_plain(model), indent=1))
        return
    for key, value in _plain(model).items():
        for line in _lines(value):
            click.echo(f"{key:<18}{line}")
            key = ""  # noqa: PLW2901  # the name of a list stands once


@click.command("verify")
@click.argument("name", required=False)
@_where
def _verify(name: str | None, site_file: Path, folder: Path | None, as_json: bool) -> None:
    """Compute the SHA-256 of every file again, of one model or of all; ends with 1 where one differs."""
    store = chosen_store(site_file, folder)
    names = [name] if name else sorted([*(model.network for model in store.installed()), *store.broken()])
    faults = {each: _fault(store, each) for each in names}
    if as_json:
        click.echo(
            json.dumps([{"network": each, "ok": not fault, "fault": fault} for each, fault in faults.items()])
        )
    else:
        for each, fault in faults.items():
            click.echo(fault or f"{each}: as it was installed")
    if any(faults.values()):
        raise SystemExit(1)


@click.command("remove")
@click.argument("name")
@_where
def _remove(name: str, site_file: Path, folder: Path | None, as_json: bool) -> None:
    """Take an installed model away."""
    store = chosen_store(site_file, folder)
    store.remove(name)
    click.echo(json.dumps({"removed": name}) if as_json else f"{name} removed from {store.folder}")


def _fault(store: ModelStore, name: str) -> str | None:
    try:
        store.verify(name)
    except ModelUnusable as error:
        return str(error)
    return None


def _plain(model: Installed) -> dict[str, Any]:
    return model.model_dump(mode="json")


def _row(model: Installed) -> tuple[str, ...]:
    licence = model.licence + (" (accepted)" if model.licence_accepted else "")
    folds = ",".join(map(str, model.folds))
    return model.network, model.submodel, folds, f"{model.bytes / 2**20:.0f}", model.version[:12], licence


def _table(rows: tuple[tuple[str, ...], ...]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _lines(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name} {content}" for name, content in value.items()] or ["none"]
    if isinstance(value, list):
        return [str(each) for each in value] or ["none"]
    return ["none" if value is None else str(value)]
