"""What insertion refuses, each with one clear error."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from excite.attention import registry
from excite.errors import BAD_USAGE, ExciteError, refuse_unknown_options
from excite.insertion.attach import CHILD
from excite.insertion.families import family_of
from excite.insertion.shapes import Trace, trace_shapes
from excite.insertion.site import Site, SiteTable
from excite.insertion.site_finder import HOW_TO_NAME

# A forward that reads these runs every child that it has, attention too.
OWN_CHILDREN = frozenset({"children", "named_children", "modules", "named_modules", "_modules"})


def check_attention(attention: str, settings: Mapping[str, Any]) -> None:
    """That the name and the options are known, and that it can start as the identity where that is asked."""
    factory = registry.get_factory(attention)
    if "identity" in settings and "identity" not in inspect.signature(factory).parameters:
        makes = {name: registry.get_factory(name) for name in registry.attention_names()}
        able = [name for name, make in makes.items() if "identity" in inspect.signature(make).parameters]
        raise ExciteError(
            f"attention {attention!r} cannot start as the identity",
            where="identity",
            hint=f"leave it out, or take one of {', '.join(able)}",
            exit_code=BAD_USAGE,
        )
    refuse_unknown_options(factory, settings, except_for=("channels",), where=f"attention {attention!r}")


def check_sites(model: nn.Module, table: SiteTable, attention: str, settings: Mapping[str, Any]) -> None:
    """That each site is free, has channels, and enough of them for the reduction."""
    taken = [site for site in table if site.has_attention]
    if taken:
        raise ExciteError(
            f"{len(taken)} of {len(table)} sites have attention already",
            where=taken[0].path,
            hint="choose other sites with where= or stages=, or remove what is there first",
            exit_code=BAD_USAGE,
        )
    parameter = inspect.signature(registry.get_factory(attention)).parameters.get("reduction")
    reduction = settings.get("reduction", parameter.default if parameter else 1)
    for site in table:
        if not site.channels:
            what = "its features have no channels, (N, C, H, W), or the model could not be run to count them"
            raise ExciteError(what, where=site.path, hint=HOW_TO_NAME, exit_code=BAD_USAGE)
        if reduction > site.channels:
            raise ExciteError(
                f"reduction {reduction} is larger than the {site.channels} channels here",
                where=site.path,
                hint=f"give a reduction of at most {min(other.channels for other in table)}",
                exit_code=BAD_USAGE,
            )
        if site.position != "on the shortcut":
            _check_host(model.get_submodule(site.path), site.path)
    _check_calls(model, table)


def _check_calls(model: nn.Module, table: SiteTable) -> None:
    """That attention would act: the forward calls the module, and it gives a feature map.

    The blocks of timm, torchvision and excite call their layers; running those networks is spared.
    """
    known = calls_all_blocks(model)
    doubtful = [s for s in table if not (known and family_of(model.get_submodule(s.block)) is not None)]
    if not doubtful:
        return
    trace = trace_shapes(model)
    if not trace.called:  # the model does not take images of any usual size: nothing is known
        return
    for site in doubtful:
        if site.path not in trace.called and site.position != "on the shortcut":
            what = "the model never calls this module when it predicts, so attention here would do nothing"
            hint = "name a module that its forward calls; excite.sites(model) lists blocks"
            raise ExciteError(what, where=site.path, hint=hint, exit_code=BAD_USAGE)
        if site.position == "after" and site.path not in trace.outputs:
            what = "this module returns no single feature map"
            raise ExciteError(what, where=site.path, hint=HOW_TO_NAME, exit_code=BAD_USAGE)
        _refuse_several_widths(trace, site)


def calls_all_blocks(model: nn.Module) -> bool:
    """Whether the network is of a library whose networks run every known block that they have."""
    return type(model).__module__.partition(".")[0] in ("timm", "torchvision", "excite")


def _refuse_several_widths(trace: Trace, site: Site) -> None:
    """Attention is made for one number of channels, and a module such as a ReLU may be called with many."""
    position, _, last = site.position.partition(", ")
    shapes = trace.every.get((position, site.path), set())
    widths = sorted({shape[-1 if last else 1] if len(shape) == 4 else 0 for shape in shapes})
    if len(widths) > 1:
        counts = " and ".join(str(width or "no") for width in widths)
        what = f"the model calls this module more than once, with {counts} channels"
        hint = "name the convolutions or norms before it instead"
        raise ExciteError(what, where=site.path, hint=hint, exit_code=BAD_USAGE)


def _check_host(host: nn.Module, path: str) -> None:
    """That the module can carry attention as a child, and runs its class's forward, which calls it."""
    hint = "name a module inside of it, or the one that follows it"
    if "forward" in vars(host):
        what = f"this {type(host).__name__} has a forward set on it, so attention here would never be called"
        raise ExciteError(what, where=path, hint="take that forward off first, or name another module")
    if hasattr(host, CHILD):
        raise ExciteError(
            f"{type(host).__name__} has an attribute {CHILD!r} of its own", where=path, hint=hint
        )
    code = getattr(type(host).forward, "__code__", None)
    containers = nn.Sequential | nn.ModuleList | nn.ModuleDict
    if isinstance(host, containers) or OWN_CHILDREN & set(code.co_names if code else ()):
        what = f"{type(host).__name__} runs its children one by one, and would run attention as one of them"
        raise ExciteError(what, where=path, hint=hint)


def require_module(model: object) -> None:
    """That it is a network, and not its name, its weights or an exported program."""
    if isinstance(model, nn.Module):
        _refuse_lazy(model)
        return
    hint = "a network by name comes from excite.create_model"
    if isinstance(model, torch.export.ExportedProgram):
        hint = "insert before exporting"
    elif isinstance(model, Mapping):
        hint = "load weights into a network first"
    what = f"a model is a torch.nn.Module, not {type(model).__name__}"
    raise ExciteError(what, hint=hint, exit_code=BAD_USAGE)


def _refuse_lazy(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if any(map(is_lazy, chain(module.parameters(recurse=False), module.buffers(recurse=False)))):
            what = f"{type(module).__name__} has no weights yet: it takes their shape from its first input"
            hint = "run the model once on a batch of images first"
            raise ExciteError(what, where=path or "model", hint=hint, exit_code=BAD_USAGE)


def refuse_transformed(model: nn.Module) -> None:
    """What was traced, compiled, wrapped or quantized has its forward fixed elsewhere than in its modules."""
    for path, module in model.named_modules():
        origin = type(module).__module__
        if type(module).__name__ == "FloatFunctional":  # an addition that may be quantized later
            continue
        if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
            state, remedy = "was traced", "insert before tracing"
        elif origin.startswith("torch._dynamo"):
            state, remedy = "was compiled", "insert before compiling"
        elif isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
            state, remedy = "is wrapped for parallel training", "insert before wrapping"
        elif ".quantized" in origin or any(map(_is_quantized, module.parameters(recurse=False))):
            state, remedy = "was quantized", "insert before quantizing"
        elif ".intrinsic" in origin or hasattr(module, "activation_post_process"):
            state, remedy = "was fused or prepared for quantizing", "insert before that"
        else:
            continue
        where = path or type(module).__name__
        raise ExciteError(f"this model {state}", where=where, hint=remedy, exit_code=BAD_USAGE)


def _is_quantized(parameter: nn.Parameter) -> bool:
    """torchao keeps layers as they are, and makes their weights tensors of another class."""
    return type(parameter.data).__module__.partition(".")[0] == "torchao"
