"""Command-line options made from the fields of TrainConfig, so that each is declared once."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from excite.config.train_config import HINTS, TrainConfig

ImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Import the module or file that registers the plug-ins of the run or the network; may be "
        "repeated.",
        show_default=False,
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", help="Print reasons, lists, and durations on standard error.")
]


def takes_config(
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    help: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: give a command an option for each field of TrainConfig.

    The command receives them as ``given``, a dict of those that the user set. Mappings have no option:
    ``--set name.key=value`` sets them.

    Args:
        only: the fields that become options, all by default.
        without: fields that do not.
        help: help texts that differ from those of ``excite train``, by field.
    """
    texts = help or {}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        fields = [
            each
            for each in dataclasses.fields(TrainConfig)
            if each.name in (only or HINTS)
            and each.name not in without
            and typing.get_origin(HINTS[each.name]) is not dict
        ]
        names = [each.name for each in fields]

        def wrapped(**values: Any) -> Any:
            given = {name: values.pop(name) for name in names}
            # An option that may be repeated is an empty list where it was not given.
            return command(
                **values, given={name: value for name, value in given.items() if value not in (None, [])}
            )

        own = [
            parameter.replace(annotation=hint)
            for parameter, hint in zip(
                list(inspect.signature(command).parameters.values()),
                typing.get_type_hints(command, include_extras=True).values(),
                strict=False,
            )
            if parameter.name != "given"
        ]
        parameters = own + [_parameter(each, texts.get(each.name)) for each in fields]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        wrapped.__doc__ = command.__doc__
        return wrapped

    return decorate


def _parameter(field: dataclasses.Field[Any], help: str | None) -> inspect.Parameter:
    hint = HINTS[field.name]
    kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    flag = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
    help, _, default = (help or field.metadata["help"]).partition(" Default: ")
    choices = field.metadata["limits"].choices
    if not all(re.search(rf"\b{value}\b", help) for value in choices):
        help += f" Values: {', '.join(choices)}."
    if field.default not in (None, "", dataclasses.MISSING):
        default = str(field.default).lower() if kind is bool else str(field.default)
    if default:
        help += f" [dim]\\[default: {default.removesuffix('.')}][/dim]"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=help,
        rich_help_panel=field.metadata["panel"],
        show_default=False,
    )
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
