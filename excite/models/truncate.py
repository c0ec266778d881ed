"""A network cut off after one of its modules: what trained features are taken from."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.insertion.shapes import Shapes, trace_shapes
from excite.models.head import head_path


def truncate(model: nn.Module, after: str, *, num_classes: int) -> nn.Module:
    """Cut a network off, in place: what runs after a module passes its input on, and the head is a new one.

    Pooling, flattening and dropout before the head stay, as does every name of what is kept.

    Args:
        model: a classifier of images, whose last layer is linear or a 1x1 convolution.
        after: path of the last module that counts; its output is (N, C, H, W).
        num_classes: outputs of the new head, which has C inputs.

    Raises:
        ExciteError: for a path that is none, that gives no feature maps, or behind which the network does not
            take what it gives.
    """
    modules = dict(model.named_modules())
    if after not in modules or after == "":
        raise unknown_name("module", after, [name for name in modules if name], where="truncate_after")
    shapes = _outputs(model)
    if len(shapes.get(after, ())) != 4:
        what, hint = f"{after} gives no feature maps", "name a convolutional block"
        raise ExciteError(what, where="truncate_after", hint=hint, exit_code=BAD_USAGE)
    head = head_path(model)
    later = [name for name in _after(shapes, after) if not after.startswith(f"{name}.")]
    if head not in later:
        raise ExciteError(f"no layer follows {after}", where="truncate_after", exit_code=BAD_USAGE)
    gone: list[str] = []
    for name in sorted(later, key=lambda path: path.count(".")):
        whole = not head.startswith(f"{name}.") and name != head
        if whole and any(True for _ in modules[name].parameters()) and not _within(name, gone):
            _replace(model, name, nn.Identity())
            gone.append(name)
    channels = shapes[after][1]
    linear = isinstance(modules[head], nn.Linear)
    fresh = nn.Linear(channels, num_classes) if linear else nn.Conv2d(channels, num_classes, 1)
    _replace(model, head, fresh)
    if not trace_shapes(model).outputs:
        what = f"the rest of the network does not take what {after} gives"
        raise ExciteError(what, where="truncate_after", hint="name another block", exit_code=BAD_USAGE)
    return model


def last_complete_block(model: nn.Module, missing: Collection[str]) -> str | None:
    """The last block that runs before any that lacks weights; None where at most the head lacks them.

    Blocks are modules with a number for a name.

    Args:
        missing: parameters and buffers without trained values, as ``WeightsReport.missing`` has them.

    Raises:
        ExciteError: if weights are missing from the first block on.
    """
    shapes = _outputs(model)
    head = head_path(model)
    lacking = [name for name in missing if not name.startswith(f"{head}.")]
    if not lacking:
        return None
    whole: str | None = None
    for name in (name for name, shape in shapes.items() if len(shape) == 4):
        if not name.rpartition(".")[2].isdigit():
            continue
        if any(place.startswith(f"{name}.") for place in lacking):
            break
        whole = name
    if whole is None:
        raise ExciteError("no block of the network has all its weights")
    return whole


def _outputs(model: nn.Module) -> Shapes:
    """Shapes of what each module gives, in the order in which they are done."""
    shapes = trace_shapes(model).outputs
    if not shapes:
        raise ExciteError(f"{type(model).__name__} does not take images, and cannot be cut")
    return shapes


def _after(shapes: Shapes, name: str) -> list[str]:
    order = list(shapes)
    return order[order.index(name) + 1 :]


def _within(name: str, paths: Collection[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)


def _replace(model: nn.Module, name: str, fresh: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, fresh)
