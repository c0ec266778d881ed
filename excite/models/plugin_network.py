"""Networks that plug-ins register."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.plugins.registry import get

PLUGIN = "plugin"  # before the colon of a name, as in plugin:mine
_PASSED = ("num_classes", "in_chans", "image_size", "pretrained")


def build_plugin_network(
    name: str,
    num_classes: int,
    in_chans: int,
    image_size: int | None,
    pretrained: bool,
    options: dict[str, Any],
) -> nn.Module:
    """Call the factory of a plug-in with those of its parameters that excite knows.

    Raises:
        ExciteError: for unknown options, for pretrained weights or a number of channels that it does not
            offer, if it fails, and for anything but a module.
    """
    plugin = get("model", name)
    where = f"{PLUGIN}:{name}"
    parameters = inspect.signature(plugin.factory).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for option in options:
        if option not in parameters and not takes_any:
            raise unknown_name("option", option, set(parameters) - set(_PASSED), where=where)
    if pretrained and "pretrained" not in parameters:
        what, hint = "has no pretrained weights", "start from a file with --weights, or omit --pretrained"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    if in_chans != 3 and "in_chans" not in parameters:
        raise ExciteError("takes images with 3 channels", where=where, exit_code=BAD_USAGE)
    passed = {"in_chans": in_chans, "image_size": image_size, "pretrained": pretrained}
    known = {key: value for key, value in passed.items() if key in parameters and value is not None}
    try:
        model = plugin.factory(num_classes=num_classes, **known, **options)
    except ExciteError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ExciteError(f"could not build the model: {reason}", where=where, exit_code=BAD_USAGE) from error
    if not isinstance(model, nn.Module):
        what = f"is {type(model).__name__}, not a torch.nn.Module"
        raise ExciteError(what, where=where, exit_code=BAD_USAGE)
    return model
