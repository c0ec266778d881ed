"""One ``name=value`` of the command line or a plan, applied to a configuration."""

from __future__ import annotations

import yaml

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.training.config import HINTS, TrainConfig


def with_setting(config: TrainConfig, setting: str) -> TrainConfig:
    """Apply one ``name=value`` or ``name.key=value``; the value is read as YAML."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ExciteError("is not of the form name=value", where=f"--set {setting}", exit_code=BAD_USAGE)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ExciteError("the value is not YAML", where=f"--set {setting}", exit_code=BAD_USAGE) from error
    name, dot, key = name.strip().partition(".")
    if name not in HINTS:
        raise unknown_name("option", name, HINTS, where=f"--set {setting}")
    if dot and not key:
        raise ExciteError(f"names no part of {name}", where=f"--set {setting}", exit_code=BAD_USAGE)
    if dot:
        inner = getattr(config, name)
        if not isinstance(inner, dict):
            raise ExciteError(f"{name} has no parts", where=f"--set {setting}", exit_code=BAD_USAGE)
        value = {**inner, key: value}
    return config.replace(**{name: value})
