"""Where can attention go in this model?"""

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


def sites(
    model: nn.Module,
    *,
    where: Selector | Sequence[Selector] | None = None,
    stages: int | Sequence[int] | None = None,
    placement: str = "standard",
) -> SiteTable:
    """Where attention can go in this model, which is left as it is.

    Args:
        where: which modules; all known blocks that the model calls by default. A glob on module paths, ``*``
            within one name and ``**`` across dots; a class; a function of path and module; or several of
            them. A known block takes attention where its family does, any other module after its output
            (before its input with ``pre``).
        stages: keep these levels of resolution only, numbered as ``Site.stage``.
        strategy: ``standard``, ``pre``, ``post``, ``identity`` or ``inner``, as ``families.py`` has them.

    Raises:
        ExciteError: for a model without known blocks and no ``where``, a ``where`` that nothing matches, an
            unknown strategy or one that a block has no place for, or a stage that the model does not have.
    """
    require_module(model)
    if placement not in PLACEMENTS:
        raise unknown_name("strategy", placement, PLACEMENTS)
    finder = SiteFinder(model, placement)
    known = finder.family_sites()
    chosen = _called(finder, known) if where is None else select(finder, known, where)
    if not chosen:
        refuse_transformed(model)
        what = f"no block of {type(model).__name__} is known here"
        raise ExciteError(what, where="sites", hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    for site in chosen:
        if not site.position:
            family = family_of(model.get_submodule(site.path)) or ("standard", "pre")
            raise ExciteError(
                f"{site.kind.rpartition('.')[2]} has no place for strategy {placement!r}",
                where=site.path,
                hint=f"it has {', '.join(family)}; or {HOW_TO_NAME}",
                exit_code=BAD_USAGE,
            )
    return SiteTable(on_stages(chosen, stages))


def _called(finder: SiteFinder, known: list[Site]) -> list[Site]:
    """Those whose blocks run when the model predicts; all of them where that is not known."""
    if not known or calls_all_blocks(finder.model):
        return known
    called = finder.shapes.called
    return [site for site in known if site.block in called] or known


Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]


def select(finder: SiteFinder, known: list[Site], where: Selector | Sequence[Selector]) -> list[Site]:
    """The sites that ``where`` names, each once, in the order of the model."""
    wanted = list(where) if isinstance(where, Sequence) and not isinstance(where, str) else [where]
    found: dict[str, Site] = {}
    for one in wanted:
        matches = _matcher(one)
        hits = 0
        blocks = {site.block for site in known}
        for site in known:
            host = submodule(finder.model, site.path)
            if site.position and matches(site.path, host if host is not None else nn.Identity()):
                # Who names the very module has seen the rest of the block.
                found[site.path] = replace(site, has_attention=isinstance(host, WithAttention))
            elif matches(site.block, finder.modules[site.block]):
                found.setdefault(site.path, site)
            else:
                continue
            hits += 1
        for path, module in finder.modules.items():
            if path and path not in found and path not in blocks and matches(path, module):
                site = finder.undecorated_site(path)
                found.setdefault(site.path, site)
                hits += 1
        if not hits:
            raise _nothing_matches(one, finder.modules)
    order = {path: number for number, path in enumerate(finder.modules)}
    return sorted(found.values(), key=lambda site: order.get(site.path, order.get(site.block, 0)))


def _nothing_matches(selector: Selector, modules: dict[str, nn.Module]) -> ExciteError:
    if isinstance(selector, str):
        near = difflib.get_close_matches(selector, [path for path in modules if path], n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else HOW_TO_NAME
        return ExciteError(f"no module is called {selector!r}", where="where", hint=hint, exit_code=BAD_USAGE)
    name = getattr(selector, "__name__", repr(selector))
    return ExciteError(f"no module fits {name}", where="where", hint=HOW_TO_NAME, exit_code=BAD_USAGE)


def _matcher(selector: Selector) -> Callable[[str, nn.Module], bool]:
    if isinstance(selector, str):
        pattern = selector.split(".")
        return lambda path, module: _fits(path.split("."), pattern)
    if isinstance(selector, type):
        return lambda path, module: isinstance(module, selector)
    if not callable(selector):
        raise ExciteError(f"where takes no {type(selector).__name__}", hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    return selector


def _fits(names: list[str], pattern: list[str]) -> bool:
    """Glob by names between dots; ``**`` stands for any number of them, none included."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_fits(names[skip:], pattern[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def on_stages(found: list[Site], stages: int | Sequence[int] | None) -> list[Site]:
    if stages is None:
        return found
    wanted = [stages] if isinstance(stages, int) else list(stages)
    there = sorted({site.stage for site in found if site.stage is not None})
    for stage in wanted:
        if stage not in there:
            listed = ", ".join(map(str, there)) or "none that can be told; name modules with where="
            raise ExciteError(
                f"no site is on stage {stage}",
                where="stages",
                hint=f"there are {listed}",
                exit_code=BAD_USAGE,
            )
    return [site for site in found if site.stage in wanted]
