"""Models and sites that insertion refuses, each with one clear error."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from excite.attention import registry
from excite.errors import BAD_USAGE, ExciteError
from excite.insertion.attach import CHILD
from excite.insertion.families import family_of
from excite.insertion.shapes import Trace
from excite.insertion.site import Site, SiteTable
from excite.insertion.site_finder import HOW_TO_NAME, SiteFinder

# A forward that reads one of these runs all of its children, including attention.
OWN_CHILDREN = frozenset({"children", "named_children", "modules", "named_modules", "_modules"})


def check_sites(table: SiteTable, finder: SiteFinder) -> None:
    """Check that each site has no attention yet, has channels, and can host attention.

    Raises:
        ExciteError: for the first site that cannot.
    """
    occupied = [site for site in table if site.has_attention]
    if occupied:
        raise ExciteError(
            f"{len(occupied)} of {len(table)} sites have attention already",
            where=occupied[0].path,
            hint="choose other sites with where= or stages=, or call excite.remove first",
            exit_code=BAD_USAGE,
        )
    for site in table:
        if not site.channels:
            what = "this module has no feature map (N, C, H, W), or its number of channels is unknown"
            raise ExciteError(what, where=site.path, hint=HOW_TO_NAME, exit_code=BAD_USAGE)
        if site.position != "on the shortcut":
            _check_host(finder.model.get_submodule(site.path), site.path)
    _check_calls(table, finder)


def check_reduction(table: SiteTable, attention: str, options: Mapping[str, Any]) -> None:
    """Check that no site has fewer channels than the reduction.

    Raises:
        ExciteError: for the first site that has.
    """
    parameter = inspect.signature(registry.get_factory(attention)).parameters.get("reduction")
    reduction = options.get("reduction", parameter.default if parameter else 1)
    for site in table:
        if reduction > site.channels:
            raise ExciteError(
                f"reduction {reduction} is larger than the number of channels, {site.channels}",
                where=site.path,
                hint=f"use a reduction of at most {min(other.channels for other in table)}",
                exit_code=BAD_USAGE,
            )


def _check_calls(table: SiteTable, finder: SiteFinder) -> None:
    """Check that attention would have an effect: the forward calls the module, and it returns a feature map.

    The blocks of timm, torchvision, and excite call their layers, so those networks need not run.
    """
    model = finder.model
    known = calls_all_blocks(model)
    doubtful = [s for s in table if not (known and family_of(model.get_submodule(s.block)) is not None)]
    if not doubtful:
        return
    trace = finder.shapes
    if not trace.called:  # the model accepts no image of a usual size: nothing is known
        return
    for site in doubtful:
        if site.path not in trace.called and site.position != "on the shortcut":
            what = "the model does not call this module, so attention would have no effect"
            hint = "name a module that its forward calls; excite.sites(model) lists blocks"
            raise ExciteError(what, where=site.path, hint=hint, exit_code=BAD_USAGE)
        if site.position == "after" and site.path not in trace.outputs:
            what = "this module does not return a single feature map"
            raise ExciteError(what, where=site.path, hint=HOW_TO_NAME, exit_code=BAD_USAGE)
        _refuse_several_widths(trace, site)


def calls_all_blocks(model: nn.Module) -> bool:
    """Whether the network comes from a library whose networks call every known block that they contain."""
    return type(model).__module__.partition(".")[0] in ("timm", "torchvision", "excite")


def _refuse_several_widths(trace: Trace, site: Site) -> None:
    """Attention has one number of channels, but a module such as a ReLU may be called with several."""
    position, _, last = site.position.partition(", ")
    shapes = trace.calls.get((position, site.path), set())
    widths = sorted({shape[-1 if last else 1] if len(shape) == 4 else 0 for shape in shapes})
    if len(widths) > 1:
        counts = " and ".join(str(width or "no") for width in widths)
        what = f"the model calls this module more than once, with {counts} channels"
        hint = "name the convolutions or norms before it instead"
        raise ExciteError(what, where=site.path, hint=hint, exit_code=BAD_USAGE)


def _check_host(host: nn.Module, path: str) -> None:
    """Check that the module can have attention as a child, and that it runs the forward of its class."""
    name = type(host).__name__
    if "forward" in vars(host):
        what = f"the forward of this {name} was replaced on the instance, so attention would never be called"
        raise ExciteError(what, where=path, hint="delete that attribute first, or name another module")
    hint = "name a module inside it, or the module after it"
    if hasattr(host, CHILD):
        raise ExciteError(f"{name} already has an attribute {CHILD!r}", where=path, hint=hint)
    code = getattr(type(host).forward, "__code__", None)
    containers = nn.Sequential | nn.ModuleList | nn.ModuleDict
    if isinstance(host, containers) or OWN_CHILDREN & set(code.co_names if code else ()):
        what = f"{name} runs all of its children, and would run attention as one of them"
        raise ExciteError(what, where=path, hint=hint)


def require_module(model: object) -> None:
    """Check that ``model`` is an initialized network, not a name, weights, or an exported program.

    Raises:
        ExciteError: if it is anything else.
    """
    if isinstance(model, nn.Module):
        _refuse_lazy(model)
        return
    hint = "excite.create_model builds a network by name"
    if isinstance(model, torch.export.ExportedProgram):
        hint = "insert before exporting"
    elif isinstance(model, Mapping):
        hint = "load the weights into a network first"
    what = f"the model must be a torch.nn.Module, got {type(model).__name__}"
    raise ExciteError(what, hint=hint, exit_code=BAD_USAGE)


def _refuse_lazy(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if any(map(is_lazy, chain(module.parameters(recurse=False), module.buffers(recurse=False)))):
            what = f"the weights of {type(module).__name__} are not initialized yet"
            hint = "run the model once on a batch of images first"
            raise ExciteError(what, where=path or "model", hint=hint, exit_code=BAD_USAGE)


def refuse_transformed(model: nn.Module) -> None:
    """Refuse a model that was traced, compiled, wrapped, or quantized.

    The modules of such a model no longer define its forward.

    Raises:
        ExciteError: with the transformation, and the path of the first module that it changed.
    """
    for path, module in model.named_modules():
        transformation = _transformation(module)
        if transformation is not None:
            state, remedy = transformation
            where = path or type(module).__name__
            raise ExciteError(f"this model {state}", where=where, hint=remedy, exit_code=BAD_USAGE)


def _transformation(module: nn.Module) -> tuple[str, str] | None:
    """How the module was transformed, and what to do about it; None if it was not."""
    origin = type(module).__module__
    if type(module).__name__ == "FloatFunctional":  # an addition that may be quantized later
        return None
    if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
        return "was traced", "insert before tracing"
    if origin.startswith("torch._dynamo"):
        return "was compiled", "insert before compiling"
    if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return "is wrapped for parallel training", "insert before wrapping"
    if ".quantized" in origin or any(map(_is_quantized, module.parameters(recurse=False))):
        return "was quantized", "insert before quantizing"
    if ".intrinsic" in origin or hasattr(module, "activation_post_process"):
        return "was fused or prepared for quantization", "insert before that"
    return None


def _is_quantized(parameter: nn.Parameter) -> bool:
    """torchao keeps a layer's class and changes the class of its weights."""
    return type(parameter.data).__module__.partition(".")[0] == "torchao"
