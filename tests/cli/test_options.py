"""Options made from the fields of TrainConfig: each with its type, and only those that the user set."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from excite.cli.options import takes_config
from excite.config.train_config import HINTS, TrainConfig


class App:
    """A command with options, and what it was given."""

    def __init__(self, **options: Any) -> None:
        self.given: dict[str, Any] = {}
        self.place: str | None = None
        app = typer.Typer(rich_markup_mode="rich")

        @app.command()
        @takes_config(**options)
        def command(*, place: Annotated[str, typer.Argument()] = "here", given: dict[str, Any]) -> None:
            """Help of the command."""
            self.place, self.given = place, given

        self.app = app

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(self.app, list(arguments), env={"COLUMNS": "300", "TERM": "dumb"})


def test_only_options_that_were_set_are_passed() -> None:
    app = App()
    assert app.run().exit_code == 0
    assert (app.place, app.given) == ("here", {})
    assert app.run("there", "--epochs", "3", "--lr", "1e-2", "--no-channels-last").exit_code == 0
    assert (app.place, app.given) == ("there", {"epochs": 3, "lr": 0.01, "channels_last": False})


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--near-duplicates",), "near_duplicates", True),
        (("--no-near-duplicates",), "near_duplicates", False),
        (("--out", "-r"), "out", "-r"),
        (("--seed", "0"), "seed", 0),  # as good as any other value
        (("--positive", ""), "positive", ""),
    ],
)
def test_each_value_has_the_type_of_its_field(arguments: tuple[str, ...], name: str, value: Any) -> None:
    app = App()
    assert app.run(*arguments).exit_code == 0
    assert app.given == {name: value}
    assert type(app.given[name]) is type(value)


def flags(command: Callable[..., Any]) -> set[str]:
    return {name for name in inspect.signature(command).parameters if name in HINTS}


def test_every_field_but_mappings_is_an_option_within_only_and_without() -> None:
    def command(*, given: dict[str, Any]) -> None: ...

    mappings = {name for name, hint in HINTS.items() if typing.get_origin(hint) is dict}
    assert mappings
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert flags(takes_config()(command)) == fields - mappings
    assert flags(takes_config(without=["data", "out"])(command)) == fields - mappings - {"data", "out"}
    assert flags(takes_config(only=["epochs", "model_options"])(command)) == {"epochs"}


def test_help_has_the_fields_text_default_and_panel_or_the_commands_own() -> None:
    text = App(help={"epochs": "Rounds."}).run("--help").output
    assert "Help of the command." in text
    field = next(field for field in dataclasses.fields(TrainConfig) if field.name == "label_smoothing")
    assert field.metadata["help"] in text
    assert f"[default: {field.default}]" in text
    assert "Peak learning rate. [default: 0.0005 for adamw" in text  # one style, also for what depends
    assert "Default:" not in text
    assert field.metadata["panel"] in text
    assert "Rounds." in text


def test_help_names_every_value_of_an_option() -> None:
    lines = App().run("--help").output.split("--")
    for field in dataclasses.fields(TrainConfig):
        text = next((line for line in lines if line.startswith(field.name.replace("_", "-") + " ")), "")
        for value in field.metadata["limits"].choices:
            assert re.search(rf"\b{value}\b", text), (field.name, value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epoch", "3"), "--epochs"),
        (("--epochs", "many"), "--epochs"),
        (("--lr", "fast"), "--lr"),
        (("--epochs",), "--epochs"),
    ],
)
def test_wrong_options_are_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    done = App().run(*arguments)
    assert done.exit_code == 2
    assert message in done.output
