"""Ready plans: the ablations of the SE paper, and its networks plain and with SE, with what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from excite.errors import unknown_name
from excite.models.published_results import PUBLISHED, SE_PAPER
from excite.study.plan import Arm

MODEL = "resnet50_v1"
"""The network of the paper's ablations; ``--model`` names another."""


@dataclass(frozen=True)
class Reported:
    """What the paper gives for an arm: top-1 and top-5 error in % on ImageNet, parameters in millions."""

    top1: float
    top5: float
    parameters: float | None = None


@dataclass(frozen=True)
class Preset:
    """A ready plan.

    Args:
        title: what it varies.
        source: of the figures.
        arms: from the network to the arms.
        reported: arm -> what the paper gives for it, on SE-ResNet-50.
    """

    title: str
    source: str
    arms: Callable[[str], Sequence[Arm]]
    reported: Mapping[str, Reported]


def _varied(values: Mapping[str, Mapping[str, object]]) -> Callable[[str], Sequence[Arm]]:
    """A plain arm, and one for each value with SE unless it names another attention."""

    def arms(model: str) -> Sequence[Arm]:
        plain = Arm("plain", {"model": model, "attention": "none"})
        return [
            plain,
            *(Arm(name, {"model": model, "attention": "se", **more}) for name, more in values.items()),
        ]

    return arms


def _options(option: str, values: Sequence[object]) -> Mapping[str, Mapping[str, object]]:
    prefix = "r" if option == "reduction" else ""
    return {f"{prefix}{value}": {"attention_options": {option: value}} for value in values}


PLAIN = Reported(23.30, 6.55, 25.6)
SE = Reported(22.28, 6.03, 28.1)


def _networks(model: str) -> Sequence[Arm]:
    """Every network of the paper's tables; ``model`` is not asked for."""
    arms = []
    for row in PUBLISHED:
        if row.dataset == "ImageNet" and not row.built_in:
            arms.append(Arm(row.name, {"model": row.name, "attention": "none"}))
            arms.append(Arm(f"{row.name}+se", {"model": row.name, "attention": "se"}, row.name))
    return arms


PRESETS: Mapping[str, Preset] = {
    "reduction": Preset(
        "reduction ratio of SE",
        f"{SE_PAPER}, table 10",
        _varied(_options("reduction", (2, 4, 8, 16, 32))),
        {
            "plain": PLAIN,
            "r2": Reported(22.29, 6.00, 45.7),
            "r4": Reported(22.25, 6.09, 35.7),
            "r8": Reported(22.26, 5.99, 30.7),
            "r16": SE,
            "r32": Reported(22.72, 6.20, 26.9),
        },
    ),
    "squeeze": Preset(
        "squeeze operator of SE",
        f"{SE_PAPER}, tables 11 and 16",
        _varied({**_options("squeeze", ("max", "avg")), "none": {"attention": "nosqueeze"}}),
        {"plain": PLAIN, "max": Reported(22.57, 6.09), "avg": SE, "none": Reported(22.93, 6.39, 28.1)},
    ),
    "gate": Preset(
        "excitation's gate of SE",
        f"{SE_PAPER}, table 12",
        _varied(_options("gate", ("relu", "tanh", "sigmoid"))),
        {"plain": PLAIN, "relu": Reported(23.47, 6.98), "tanh": Reported(23.00, 6.38), "sigmoid": SE},
    ),
    "stages": Preset(
        "stages with SE",
        f"{SE_PAPER}, table 13",
        _varied({**{f"stage{n}": {"stages": str(n)} for n in (2, 3, 4)}, "all": {}}),
        {
            "plain": PLAIN,
            "stage2": Reported(23.03, 6.48),
            "stage3": Reported(23.04, 6.32),
            "stage4": Reported(22.68, 6.22),
            "all": SE,
        },
    ),
    "placement": Preset(
        "where in the block SE sits",
        f"{SE_PAPER}, tables 14 and 15",
        _varied({name: {"placement": name} for name in ("standard", "pre", "post", "identity", "inner")}),
        {
            "plain": PLAIN,
            "standard": SE,
            "pre": Reported(22.23, 6.00),
            "post": Reported(22.78, 6.35),
            "identity": Reported(22.20, 6.15),
            "inner": Reported(22.48, 6.02, 25.8),
        },
    ),
    "architectures": Preset("networks, plain and with SE", f"{SE_PAPER}, tables 2 and 3", _networks, {}),
}


def get_preset(name: str) -> Preset:
    """A ready plan by name. Raises: ExciteError for an unknown one, with the nearest."""
    if name not in PRESETS:
        raise unknown_name("plan", name, PRESETS, where="--plan")
    return PRESETS[name]
