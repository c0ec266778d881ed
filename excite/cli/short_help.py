"""``--help`` with the options that most users need, and ``--help-all`` with all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

_SHORTENED = ("help", "hidden", "rich_help_panel", "metavar", "secondary_opts")


def _print_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        command = context.command
        assert isinstance(command, ShortHelpCommand)
        with command.showing_all():
            typer.echo(context.get_help())
        raise typer.Exit


HelpAllOption = Annotated[
    bool,
    typer.Option("--help-all", is_eager=True, callback=_print_all, help="Show all options and exit."),
]


class ShortHelpCommand(TyperCommand):
    """A command of which ``--help`` shows the parameters in ``common``, in one panel."""

    common: frozenset[str] = frozenset()
    _all = False

    @contextmanager
    def showing_all(self) -> Iterator[None]:
        """In the block, the help has all parameters."""
        self._all = True
        try:
            yield
        finally:
            self._all = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; options are changed for that time only."""
        given: list[Any] = [] if self._all else [*self.params, self.get_help_option(ctx)]
        options = [each for each in given if each is not None and each.param_type_name == "option"]
        before = [(each, {name: getattr(each, name, None) for name in _SHORTENED}) for each in options]
        for each in options:
            _shorten(each, shown=each.name in self.common)
        try:
            super().format_help(ctx, formatter)
        finally:
            for each, values in before:
                for name, value in values.items():
                    setattr(each, name, value)


def _shorten(option: Any, *, shown: bool) -> None:
    """Leave the first sentence of the help and the default, without the type and the negation of a flag."""
    text, _, default = (option.help or "").partition(" [dim]")
    sentence = text.partition(". ")[0].removesuffix(".") + "."
    option.help = sentence + (f" [dim]{default}" if default else "")
    option.hidden, option.rich_help_panel = not shown, None
    if option.is_flag:
        option.metavar, option.secondary_opts = "", []


def short_help(common: Sequence[str]) -> type[ShortHelpCommand]:
    """The class of a command whose short help shows these parameters."""
    return type("ShortHelp", (ShortHelpCommand,), {"common": frozenset([*common, "help", "help_all"])})
