"""A command by the module that has it in; a command that imports this module only when it is run out."""

from collections.abc import Callable
from typing import Any

import click


class LaterCommand(click.Command):
    """Stands in a group for a command whose module is not imported yet; only its help is known."""

    def __init__(self, name: str, help: str, load: Callable[[], click.Command]) -> None:  # click's
        super().__init__(name, help=help)
        self.load = load

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command itself, which is what is invoked from here on."""
        return self.load().make_context(info_name, args, parent, **extra)
