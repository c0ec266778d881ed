"""Which parameters are trained: all, those of the attention or of the head, or of modules by their paths."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from excite.attention.registry import is_own_attention
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.insert import inserted_sites
from excite.models.head import head_path

ALL, ATTENTION, HEAD = "all", "attention", "head"
_STATES = {"adamw": 2, "sgd": 1}  # float32 numbers that the optimizer keeps for each parameter
_ATTENTION_CODE = ("timm.layers.squeeze_excite", "timm.layers.cbam", "timm.layers.eca")
_ATTENTION_CLASSES = (
    "timm.models._efficientnet_blocks.SqueezeExcite",
    "timm.models.senet.SEModule",
    "torchvision.ops.misc.SqueezeExcitation",
)


def train_only(model: nn.Module, which: str) -> None:
    """Compute no gradients for the other parameters, in place.

    Args:
        model: the network.
        which: ``all``, or several of ``attention``, ``head``, and patterns of module paths such as
            ``layer4.*``, separated by commas.

    Raises:
        ExciteError: as ``trained_parameters``.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        >>> train_only(model, "head")
        >>> [parameter.requires_grad for parameter in model.parameters()]
        [False, False, True, True]
    """
    if which == ALL:
        return
    trained = trained_parameters(model, which)
    for path, parameter in model.named_parameters():
        if path not in trained:
            parameter.requires_grad_(False)


def trained_parameters(model: nn.Module, which: str) -> set[str]:
    """The paths of the parameters that ``which`` selects.

    Raises:
        ExciteError: for a network without attention, and a pattern that selects no parameter.
    """
    paths = [path for path, _ in model.named_parameters()]
    found: set[str] = set()
    for part in (each.strip() for each in which.split(",")):
        if part == ALL:
            return set(paths)
        if part == ATTENTION:
            modules = attention_modules(model)
        elif part == HEAD:
            modules = [head_path(model)]
        else:
            modules = [path for path, _ in model.named_modules() if path and fnmatchcase(path, part)]
        chosen = {path for path in paths if inside(path, modules) or fnmatchcase(path, part)}
        if not chosen:
            what = "the network has no attention" if part == ATTENTION else f"{part!r} selects no parameter"
            hint = "choose one with --attention" if part == ATTENTION else "excite summary shows the modules"
            raise ExciteError(what, where="--train", hint=hint, exit_code=BAD_USAGE)
        found |= chosen
    return found


def saving_text(model: nn.Module, which: str, optimizer: str) -> str:
    """The number of trained parameters, and the saved memory of gradients and optimizer; "" for all."""
    if which == ALL:
        return ""
    trained = trained_parameters(model, which)
    total = sum(parameter.numel() for parameter in model.parameters())
    count = sum(parameter.numel() for path, parameter in model.named_parameters() if path in trained)
    saved = 4 * (total - count) * (1 + _STATES[optimizer])
    return f"{count:,} of {total:,} parameters are trained, which saves {saved / 2**20:.0f} MiB"


def attention_modules(model: nn.Module) -> list[str]:
    """Paths of the attention modules: inserted ones, or those that the network was built with."""
    if sites := inserted_sites(model):
        return [f"{site.path}.attention" for site in sites]
    paths: list[str] = []
    for path, module in model.named_modules():
        kind = type(module)
        is_attention = is_own_attention(module) or f"{kind.__module__}.".startswith(_ATTENTION_CODE)
        is_attention |= f"{kind.__module__}.{kind.__qualname__}" in _ATTENTION_CLASSES
        if is_attention and not inside(path, paths):
            paths.append(path)
    return paths


def inside(path: str, modules: list[str]) -> bool:
    """Whether a path is that of one of the modules, or of something in one of them."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)
