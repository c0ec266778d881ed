"""Where attention can be inserted into a model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.insertion.attach import WithAttention
from excite.insertion.checks import calls_all_blocks, refuse_transformed, require_module
from excite.insertion.families import family_of
from excite.insertion.site import PLACEMENTS, Site, SiteTable
from excite.insertion.site_finder import HOW_TO_NAME, SiteFinder, submodule

Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]
"""A glob on module paths, a class, or a function of path and module."""


def sites(
    model: nn.Module,
    *,
    where: Selector | Sequence[Selector] | None = None,
    stages: int | Sequence[int] | None = None,
    placement: str = "standard",
) -> SiteTable:
    """The sites of a model, which does not change.

    Args:
        where: the modules; by default all known blocks that the model calls. A glob on module paths, in which
            ``*`` stays within one name and ``**`` crosses dots; a class; a function of path and module; or
            several of them. In a known block, attention is placed as its family defines; for any other
            module, after its output, or before its input with ``pre``.
        stages: only these levels of resolution, numbered as in ``Site.stage``.
        placement: ``standard``, ``pre``, ``post``, ``identity``, or ``inner``, as defined in ``families.py``.

    Raises:
        ExciteError: if the model has no known block and ``where`` is missing, ``where`` matches no module,
            the placement is unknown or a block does not have it, or the model has no such stage.

    Example:
        >>> import excite
        >>> model = excite.create_model("cifar_resnet20", num_classes=10)
        >>> table = excite.sites(model, stages=4)
        >>> len(table), table[0].path, table[0].channels
        (3, 'layer3.0.bn2', 64)
    """
    return find_sites(model, where=where, stages=stages, placement=placement)[0]


def find_sites(
    model: nn.Module,
    *,
    where: Selector | Sequence[Selector] | None,
    stages: int | Sequence[int] | None,
    placement: str,
) -> tuple[SiteTable, SiteFinder]:
    """As ``sites``, with the finder, whose shapes further checks can use."""
    require_module(model)
    if placement not in PLACEMENTS:
        raise unknown_name("placement", placement, PLACEMENTS)
    finder = SiteFinder(model, placement)
    known = finder.family_sites()
    selected = _called(finder, known) if where is None else _select(finder, known, where)
    if not selected:
        refuse_transformed(model)
        what = f"{type(model).__name__} contains no known block"
        raise ExciteError(what, where="sites", hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    for site in selected:
        if not site.position:
            family = family_of(model.get_submodule(site.path)) or ("standard", "pre")
            raise ExciteError(
                f"{site.kind.rpartition('.')[2]} does not support placement {placement!r}",
                where=site.path,
                hint=f"choose from {', '.join(family)}; or {HOW_TO_NAME}",
                exit_code=BAD_USAGE,
            )
    return SiteTable(_on_stages(selected, stages)), finder


def _called(finder: SiteFinder, known: list[Site]) -> list[Site]:
    """The sites of blocks that run in a forward pass; all of them if that is unknown."""
    if not known or calls_all_blocks(finder.model):
        return known
    called = finder.shapes.called
    return [site for site in known if site.block in called] or known


def _select(finder: SiteFinder, known: list[Site], where: Selector | Sequence[Selector]) -> list[Site]:
    """The sites that ``where`` selects, each once, in the order of the model."""
    selectors = list(where) if isinstance(where, Sequence) and not isinstance(where, str) else [where]
    blocks = {site.block for site in known}
    selected: dict[str, Site] = {}
    for selector in selectors:
        matches = _matcher(selector)
        matched = False
        for site in known:
            host = submodule(finder.model, site.path)
            if site.position and matches(site.path, host if host is not None else nn.Identity()):
                # Naming the host itself accepts native attention elsewhere in the block.
                selected[site.path] = replace(site, has_attention=isinstance(host, WithAttention))
                matched = True
            elif matches(site.block, finder.modules[site.block]):
                selected.setdefault(site.path, site)
                matched = True
        for path, module in finder.modules.items():
            if path and path not in selected and path not in blocks and matches(path, module):
                site = finder.module_site(path)
                selected.setdefault(site.path, site)
                matched = True
        if not matched:
            raise _no_match(selector, finder.modules)
    order = {path: number for number, path in enumerate(finder.modules)}
    return sorted(selected.values(), key=lambda site: order.get(site.path, order.get(site.block, 0)))


def _no_match(selector: Selector, modules: dict[str, nn.Module]) -> ExciteError:
    if isinstance(selector, str):
        near = difflib.get_close_matches(selector, [path for path in modules if path], n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else HOW_TO_NAME
        return ExciteError(f"no module is called {selector!r}", where="where", hint=hint, exit_code=BAD_USAGE)
    name = getattr(selector, "__name__", repr(selector))
    return ExciteError(f"no module matches {name}", where="where", hint=HOW_TO_NAME, exit_code=BAD_USAGE)


def _matcher(selector: Selector) -> Callable[[str, nn.Module], bool]:
    if isinstance(selector, str):
        pattern = selector.split(".")
        return lambda path, module: _fits(path.split("."), pattern)
    if isinstance(selector, type):
        cls = selector
        return lambda path, module: isinstance(module, cls)
    if not callable(selector):
        what = f"where does not accept {type(selector).__name__}"
        raise ExciteError(what, hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    return selector


def _fits(names: list[str], pattern: list[str]) -> bool:
    """Glob over the names between dots; ``**`` matches any number of names, including none."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_fits(names[skip:], pattern[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def _on_stages(selected: list[Site], stages: int | Sequence[int] | None) -> list[Site]:
    if stages is None:
        return selected
    wanted = [stages] if isinstance(stages, int) else list(stages)
    present = sorted({site.stage for site in selected if site.stage is not None})
    for stage in wanted:
        if stage not in present:
            raise ExciteError(
                f"there is no site on stage {stage}",
                where="stages",
                hint=f"the stages are {', '.join(map(str, present))}"
                if present
                else "the stages are unknown; name modules with where=",
                exit_code=BAD_USAGE,
            )
    return [site for site in selected if site.stage in wanted]
