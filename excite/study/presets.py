"""Presets: the ablations of the SE paper and its networks with and without SE, with published results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from excite.errors import unknown_name
from excite.models.published_results import PUBLISHED, SE_PAPER
from excite.study.plan import Arm

MODEL = "resnet50_v1"
"""The network of the paper's ablations; ``--model`` chooses another one."""


@dataclass(frozen=True)
class Reported:
    """Published results of an arm: top-1 and top-5 error on ImageNet in %, parameters in millions."""

    top1: float
    top5: float
    parameters: float | None = None


@dataclass(frozen=True)
class Preset:
    """A predefined set of arms.

    Args:
        title: the option that it varies.
        source: tables with the published results.
        arms: creates the arms for a network.
        reported: arm -> published results, for SE-ResNet-50.
    """

    title: str
    source: str
    arms: Callable[[str], Sequence[Arm]]
    reported: Mapping[str, Reported]


def _varied(values: Mapping[str, Mapping[str, object]]) -> Callable[[str], Sequence[Arm]]:
    """A plain arm, and one arm per value, with SE unless the value sets another attention."""

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
    """All networks in the tables of the paper; ``model`` is ignored."""
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
        "gate of the excitation",
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
        "placement of SE in the block",
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
    """The preset with a name. Raises: ExciteError for an unknown name, with the nearest one."""
    if name not in PRESETS:
        raise unknown_name("plan", name, PRESETS, where="--plan")
    return PRESETS[name]
