"""Where can attention go in this model?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.insertion.checks import refuse_finished, require_module, runs_its_blocks
from excite.insertion.families import family_of
from excite.insertion.finder import HOW_TO_NAME, Finder
from excite.insertion.selection import Where, on_stages, select
from excite.insertion.table import STRATEGIES, Site, SiteTable


def sites(
    model: nn.Module,
    *,
    where: Where | None = None,
    stages: int | Sequence[int] | None = None,
    strategy: str = "standard",
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
    if strategy not in STRATEGIES:
        raise unknown_name("strategy", strategy, STRATEGIES)
    finder = Finder(model, strategy)
    known = finder.family_sites()
    chosen = _called(finder, known) if where is None else select(finder, known, where)
    if not chosen:
        refuse_finished(model)
        what = f"no block of {type(model).__name__} is known here"
        raise ExciteError(what, where="sites", hint=HOW_TO_NAME, exit_code=BAD_USAGE)
    for site in chosen:
        if not site.way:
            family = family_of(model.get_submodule(site.path)) or ("standard", "pre")
            raise ExciteError(
                f"{site.kind.rpartition('.')[2]} has no place for strategy {strategy!r}",
                where=site.path,
                hint=f"it has {', '.join(family)}; or {HOW_TO_NAME}",
                exit_code=BAD_USAGE,
            )
    return SiteTable(on_stages(chosen, stages))


def _called(finder: Finder, known: list[Site]) -> list[Site]:
    """Those whose blocks run when the model predicts; all of them where that is not known."""
    if not known or runs_its_blocks(finder.model):
        return known
    called = finder.shapes.called
    return [site for site in known if site.block in called] or known
