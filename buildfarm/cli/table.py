"""A group whose commands are listed in a table, and imported one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import FarmGroup

if TYPE_CHECKING:
    from click import shell_completion
else:
    shell_completion = LazyModule("click.shell_completion")


@dataclass(frozen=True)
class Entry:
    """A command: where it is defined, as ``module:function``, and its line in the help."""

    target: str
    summary: str


class TableGroup(FarmGroup):
    """Imports a command when it is called, and none to list them."""

    def __init__(self, *, table: Mapping[str, Entry], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in alphabetical order."""
        return sorted(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return this command; None if there is none of this name."""
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.target.partition(":")
        command: click.Command = getattr(LazyModule(module), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[shell_completion.CompletionItem]:
        """Return the commands and options that begin like this; click's own method would import each command."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [shell_completion.CompletionItem(name, help=self._table[name].summary) for name in names]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help's list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._table[name].summary) for name in self.list_commands(ctx)])
