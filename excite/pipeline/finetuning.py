"""``--recipe finetune``: training starts from a fitted linear probe."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import nn

from excite.errors import ExciteError
from excite.models.head import head_path, linear_head
from excite.models.weights import save_tensors
from excite.pipeline.context import RunContext
from excite.pipeline.linear_probe import describe_score, fit_head, probe_features

START = "start.safetensors"


def start_from_probe(context: RunContext) -> bool:
    """Initialize the head with a linear probe of the training images (Kumar et al. 2022, arXiv 2202.10054).

    A random head sends random gradients through the pretrained layers until it has learned something. If no
    probe can be fitted, the head starts at zero, which sends none.

    Returns:
        whether the head is a probe.
    """
    head = context.model.get_submodule(head_path(context.model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    nn.init.zeros_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    try:
        linear_head(context.model)  # raises before the features are computed
        features = probe_features(context)[context.rows("train")]
        probe = fit_head(context, features, context.manifest.part("train"))
    except ExciteError as error:
        context.display.fact("start", f"a zero head: {error.what}")
        return False
    context.display.fact("start", f"a linear probe; {describe_score(probe)}")
    return True


def save_start(model: nn.Module, folder: Path, *, probe: bool) -> None:
    """Save the weights that fine-tuning starts from, and whether their head is a probe."""
    save_tensors(folder / START, model.state_dict(), {"head": "probe"} if probe else None)


def started_from_probe(folder: Path) -> bool:
    """Whether the saved start has a probe as its head."""
    with safe_open(folder / START, framework="pt") as file:
        return (file.metadata() or {}).get("head") == "probe"
