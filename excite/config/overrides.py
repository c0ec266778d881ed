"""One ``name=value`` of the command line or a plan, applied to a configuration."""

from __future__ import annotations

import yaml

from excite.config.train_config import HINTS, TrainConfig
from excite.errors import BAD_USAGE, ExciteError, unknown_name


def apply_override(config: TrainConfig, setting: str) -> TrainConfig:
    """Apply one ``name=value`` or ``name.key=value``; the value is read as YAML."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ExciteError("must have the form name=value", where=f"--set {setting}", exit_code=BAD_USAGE)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ExciteError(
            "the value is not valid YAML", where=f"--set {setting}", exit_code=BAD_USAGE
        ) from error
    name, dot, key = name.strip().partition(".")
    if name not in HINTS:
        raise unknown_name("option", name, HINTS, where=f"--set {setting}")
    if dot and not key:
        raise ExciteError(
            f"needs a key of {name}, as in {name}.key=value", where=f"--set {setting}", exit_code=BAD_USAGE
        )
    if dot:
        inner = getattr(config, name)
        if not isinstance(inner, dict):
            raise ExciteError(f"{name} has no keys", where=f"--set {setting}", exit_code=BAD_USAGE)
        value = {**inner, key: value}
    return config.replace(**{name: value})


def module_paths(text: str) -> list[str]:
    """Split the module paths of the command line, which are separated by commas."""
    return [path.strip() for path in text.split(",")]


def stage_numbers(text: str) -> list[int]:
    """Parse the stages of the command line: numbers separated by commas."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        hint = "such as 4,5; excite sites MODEL lists them"
        raise ExciteError(
            f"must be numbers separated by commas, got {text!r}",
            where="stages",
            hint=hint,
            exit_code=BAD_USAGE,
        ) from None
