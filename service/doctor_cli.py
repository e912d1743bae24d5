"""`sagittal doctor`: one look at a whole site, as a table for people or JSON for programs, with what to do."""

import json
import logging
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from service.doctor.seen import GROUPS, Examined, Level, Seen, count, worst_first

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.BAD: "red"}
_WIDTH = 110
_INDENT = 10
_STORES = "Send each destination a small object of nobody (PatientID SAGITTAL^DOCTOR); it stays there."


@click.command()
@click.option("--site", "site_file", type=click.Path(dir_okay=False, path_type=Path), default="site.toml",
              show_default=True)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--verbose", is_flag=True, help="Everything that was seen, on a line of its own.")
@click.option("--skip", multiple=True, type=click.Choice(GROUPS), help="Leave these out; may be repeated.")
@click.option("--store-test-object", is_flag=True, help=_STORES)
def doctor(site_file: Path, as_json: bool, verbose: bool, skip: tuple[str, ...], store_test_object: bool) -> None:
    """Look at everything a site needs, and say what to do where something is not well.

    Nothing is changed. Ends with 0, or with 1 where something is bad; a warning alone is no failure.
    """
    from service.doctor.checks import examine  # noqa: PLC0415  # the libraries of every kind of node

    logging.basicConfig(handlers=[logging.NullHandler()], force=True)  # the checks say what the libraries would
    began = time.monotonic()
    examined = examine(site_file, skip, store_test_object)
    if as_json:
        click.echo(json.dumps(plain(examined), indent=1))
    else:
        for line in lines(examined, verbose):
            click.echo(line)
        click.echo(f"\n{summary(examined)}, in {time.monotonic() - began:.0f} s")
    if worst(examined) is Level.BAD:
        raise SystemExit(1)


def worst(examined: Sequence[Examined]) -> Level:
    """The worst of all."""
    return max((each.level for each in examined), default=Level.OK)


def plain(examined: Sequence[Examined]) -> dict[str, Any]:
    """The whole of it as JSON."""
    checks = [
        {
            "check": each.name,
            "level": each.level.word,
            "seen": [{"level": seen.level.word, "saw": seen.saw, "advice": seen.advice} for seen in each.seen],
        }
        for each in examined
    ]
    return {"level": worst(examined).word, "checks": checks}


def lines(examined: Sequence[Examined], verbose: bool) -> Iterator[str]:
    """A line for each check, its ok parts joined; what is not ok on lines of its own, with what to do."""
    width = max((len(each.name) for each in examined), default=0) + 2
    for each in examined:
        yield from _lines(each, width, verbose)


def _lines(each: Examined, width: int, verbose: bool) -> Iterator[str]:
    wrong = [seen for seen in worst_first(each.seen) if seen.level is not Level.OK]
    well = [seen for seen in each.seen if seen.level is Level.OK]
    name = each.name
    for seen in wrong:
        yield from _one(name, seen, width)
        name = ""
    if verbose:
        for seen in well:
            yield from _one(name, seen, width)
            name = ""
    elif not wrong:
        yield from _one(name, Seen(Level.OK, "; ".join(seen.saw for seen in well)), width)


def _one(name: str, seen: Seen, width: int) -> Iterator[str]:
    word = click.style(f"{seen.level.word:<{_INDENT}}", fg=_COLOURS[seen.level], bold=seen.level is Level.BAD)
    indent = " " * (_INDENT + width)
    said = [part for line in seen.saw.splitlines() for part in textwrap.wrap(line, _WIDTH - len(indent))] or [""]
    yield f"{word}{name:<{width}}{said[0]}"
    for line in said[1:]:
        yield f"{indent}{line}"
    if seen.advice:
        yield from textwrap.wrap(f"→ {seen.advice}", _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def summary(examined: Sequence[Examined]) -> str:
    """How many are well and how many are not."""
    well = sum(each.level is Level.OK for each in examined)
    warned = sum(each.level is Level.WARNING for each in examined)
    ill = sum(each.level is Level.BAD for each in examined)
    return f"{well} ok, {count(warned, 'warning')}, {ill} bad"
