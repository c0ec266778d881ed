"""Truncation: a network up to one of its modules, with a new head."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.insertion.shapes import Shapes, trace_shapes
from excite.models.head import head_path


def truncate(model: nn.Module, after: str, *, num_classes: int) -> nn.Module:
    """Truncate a network after a module, in place: remove later modules with parameters, replace the head.

    Pooling, flattening, and dropout before the head stay, and so do the names of all remaining modules.

    Args:
        model: a classifier of images, whose last layer is linear or a 1x1 convolution.
        after: path of the last module to use; its output is (N, C, H, W).
        num_classes: outputs of the new head.

    Raises:
        ExciteError: if the path does not exist or its output is no feature map, or if the rest of the network
            cannot process that output.
    """
    modules = dict(model.named_modules())
    if after not in modules or after == "":
        raise unknown_name("module", after, [name for name in modules if name], where="truncate_after")
    shapes = _outputs(model)
    if len(shapes.get(after, ())) != 4:
        what, hint = f"the output of {after} is not a feature map", "choose a convolutional block"
        raise ExciteError(what, where="truncate_after", hint=hint, exit_code=BAD_USAGE)
    head = head_path(model)
    later = [name for name in _after(shapes, after) if not after.startswith(f"{name}.")]
    if head not in later:
        raise ExciteError(f"no layer follows {after}", where="truncate_after", exit_code=BAD_USAGE)
    removed: list[str] = []
    for name in sorted(later, key=lambda path: path.count(".")):
        contains_no_head = not head.startswith(f"{name}.") and name != head
        if contains_no_head and any(True for _ in modules[name].parameters()) and not _within(name, removed):
            _replace(model, name, nn.Identity())
            removed.append(name)
    channels = shapes[after][1]
    linear = isinstance(modules[head], nn.Linear)
    new_head = nn.Linear(channels, num_classes) if linear else nn.Conv2d(channels, num_classes, 1)
    _replace(model, head, new_head)
    if not trace_shapes(model).outputs:
        what = f"the rest of the network cannot process the output of {after}"
        raise ExciteError(what, where="truncate_after", hint="choose another block", exit_code=BAD_USAGE)
    return model


def last_complete_block(model: nn.Module, missing: Collection[str]) -> str | None:
    """The last block before the first one without trained weights; None if all but the head have them.

    Blocks are modules with a number for a name.

    Args:
        missing: parameters and buffers without trained values, as in ``WeightsReport.missing``.

    Raises:
        ExciteError: if the first block lacks weights.
    """
    shapes = _outputs(model)
    head = head_path(model)
    untrained = [name for name in missing if not name.startswith(f"{head}.")]
    if not untrained:
        return None
    complete: str | None = None
    for name in (name for name, shape in shapes.items() if len(shape) == 4):
        if not name.rpartition(".")[2].isdigit():
            continue
        if any(name_of_weight.startswith(f"{name}.") for name_of_weight in untrained):
            break
        complete = name
    if complete is None:
        raise ExciteError("the weights file does not contain a complete block of the network")
    return complete


def _outputs(model: nn.Module) -> Shapes:
    """The output shape of each module, in the order in which modules finish."""
    shapes = trace_shapes(model).outputs
    if not shapes:
        raise ExciteError(f"{type(model).__name__} does not take images and cannot be truncated")
    return shapes


def _after(shapes: Shapes, name: str) -> list[str]:
    order = list(shapes)
    return order[order.index(name) + 1 :]


def _within(name: str, paths: Collection[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)


def _replace(model: nn.Module, name: str, fresh: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, fresh)
