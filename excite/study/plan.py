"""The plan of a study: arms, seeds, and folds; from flags or YAML, checked before anything runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from excite.config.overrides import apply_override
from excite.config.train_config import DATA, EVALUATION, HINTS, RUN, TrainConfig
from excite.errors import BAD_USAGE, ExciteError, unknown_name
from excite.evaluation.metrics import CALIBRATION_ERRORS, OVERALL
from excite.system.portable_names import unportable_reason

METRIC = "balanced_accuracy"
METRICS = tuple(name for name in OVERALL if name not in CALIBRATION_ERRORS)
SHORT = {
    "reduction": "attention_options.reduction",
    "squeeze": "attention_options.squeeze",
    "gate": "attention_options.gate",
}
"""Short names of the options that the ablations of the SE paper vary."""
OF_THE_STUDY = frozenset(
    each.name for each in dataclasses.fields(TrainConfig) if each.metadata["panel"] in (DATA, EVALUATION, RUN)
) | {"seed", "device"}
"""Options that all arms share, so that they are compared on the same images."""
OF_ATTENTION: Mapping[str, Any] = {
    name: getattr(TrainConfig(), name)
    for name in ("placement", "where", "stages", "identity", "attention_options")
}
OF_THE_MACHINE = ("data", "out", "device", "jobs", "decisions", "thumbnails", "imports", "track")
"""Options that may differ when a study is resumed; they change no result."""
FORM = "NAME:MODEL+ATTENTION,option=value, such as se8:densenet121+se,reduction=8"


@dataclass(frozen=True)
class Arm:
    """A configuration of a study.

    Args:
        name: name of the arm, and of its folder.
        options: options of ``TrainConfig``, on top of the shared ones.
        baseline: the arm to compare with; None: the first arm of the study.
    """

    name: str
    options: Mapping[str, Any]
    baseline: str | None = None


@dataclass(frozen=True)
class Plan:
    """The plan of a study.

    Args:
        base: options shared by all arms; its seed is the first seed.
        arms: the arms, in the order of the tables; the first is the default baseline.
        seeds: number of seeds; each trains every arm once, or once per fold.
        folds: number of folds; None: one split per seed, or the split values by the data.
        metric: name in ``METRICS``; the metric of the verdict.
        preset: name of the preset that the plan was made from.
    """

    base: TrainConfig
    arms: Sequence[Arm]
    seeds: int = 5
    folds: int | None = None
    metric: str = METRIC
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise unknown_name("metric", self.metric, METRICS, where="metric")
        if self.seeds < 1:
            raise ExciteError(f"must be at least 1, got {self.seeds}", where="seeds", exit_code=BAD_USAGE)
        if self.folds is not None and self.folds < 2:
            raise ExciteError(f"must be at least 2, got {self.folds}", where="folds", exit_code=BAD_USAGE)
        if not self.arms:
            raise ExciteError("a study needs at least one arm", where="--arm", hint=FORM, exit_code=BAD_USAGE)
        for name in ("positive", "sensitivity", "specificity"):
            if getattr(self.base, name) is not None:
                what = "has no effect in a study, which compares the most probable classes"
                raise ExciteError(what, where=f"--{name}", hint="omit it", exit_code=BAD_USAGE)
        check_arms(self.arms)


def check_arms(arms: Sequence[Arm], known: Iterable[str] = ()) -> None:
    """Refuse duplicate names, names that cannot name a folder, unknown baselines and unknown options.

    Args:
        arms: the arms.
        known: names of the existing arms of the study.
    """
    names = [*known, *(arm.name for arm in arms)]
    for arm in arms:
        where = f"arm {arm.name!r}"
        if not re.fullmatch(r"\w[\w.+-]*", arm.name):
            what = "a name may contain letters, digits, and . _ + -"
            raise ExciteError(what, where=where, hint=FORM, exit_code=BAD_USAGE)
        if reason := unportable_reason(arm.name):
            what = f"a folder cannot have this name on Windows: {reason}"
            raise ExciteError(what, where=where, exit_code=BAD_USAGE)
        if sum(arm.name.casefold() == name.casefold() for name in names) > 1:
            raise ExciteError(
                "name occurs twice", where=where, hint="give each arm its own name", exit_code=BAD_USAGE
            )
        if arm.baseline is not None and (arm.baseline not in names or arm.baseline == arm.name):
            raise unknown_name("arm", arm.baseline, [name for name in names if name != arm.name], where=where)
        for name in arm.options:
            if name not in HINTS:
                raise unknown_name("option", name, HINTS, where=where)
            if name in OF_THE_STUDY:
                what = f"{name} must be the same for all arms of a study"
                raise ExciteError(what, where=where, hint="set it for the whole study", exit_code=BAD_USAGE)


def parse_arm(text: str) -> Arm:
    """Parse ``NAME:MODEL+ATTENTION,option=value``, such as ``se8:densenet121+se,reduction=8``."""
    name, colon, rest = text.partition(":")
    where = f"--arm {text}"
    if not colon or not name or not rest:
        raise ExciteError("must have the form NAME:MODEL", where=where, hint=FORM, exit_code=BAD_USAGE)
    # A comma separates options only if another one follows: stages=4,5 is one option.
    network, *settings = re.split(r",(?=[A-Za-z_.]+=)", rest)
    model, _, attention = network.partition("+")
    if "," in network:
        raise ExciteError(
            "options must have the form name=value", where=where, hint=FORM, exit_code=BAD_USAGE
        )
    config = TrainConfig(model=model, attention=attention or "none")
    baseline = None
    for setting in settings:
        option, _, value = setting.partition("=")
        if option == "baseline":
            baseline = value
            continue
        try:
            config = apply_override(config, f"{SHORT.get(option, option)}={value}")
        except ExciteError as error:
            raise ExciteError(error.what, where=where, hint=error.hint, exit_code=BAD_USAGE) from None
    return Arm(name, changes(config) | {"model": model, "attention": attention or "none"}, baseline)


def changes(config: TrainConfig) -> dict[str, Any]:
    """The options that differ from the defaults."""
    plain = TrainConfig().to_dict()
    return {name: value for name, value in config.to_dict().items() if value != plain[name]}


def arm_config(base: TrainConfig, arm: Arm) -> TrainConfig:
    """All options of an arm; mappings are merged with the shared ones."""
    merged = {
        name: {**getattr(base, name), **value} if isinstance(value, Mapping) else value
        for name, value in arm.options.items()
    }
    if merged.get("attention", base.attention) == "none":  # shared options of attention do not apply
        merged = {**OF_ATTENTION, **merged}
    return base.replace(**merged)


def plan_from_yaml(path: Path) -> Plan:
    """Read a plan from YAML: ``data``, ``arms``, ``seeds``, ``folds``, ``metric`` and shared ``options``.

    Raises:
        ExciteError: with the file and the error in it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ExciteError(f"invalid YAML: {reason}", where=path, exit_code=BAD_USAGE) from error
    known = ("data", "arms", "seeds", "folds", "metric", "options")
    if not isinstance(content, dict):
        raise ExciteError("is not a plan", where=path, hint="keys: " + ", ".join(known), exit_code=BAD_USAGE)
    for name in content:
        if name not in known:
            raise unknown_name("key", name, known, where=path)
    arms, options = content.get("arms") or {}, content.get("options") or {}
    if not isinstance(arms, dict) or not all(isinstance(value, dict) for value in arms.values()):
        hint = "arms: {plain: {model: densenet121, attention: none}, se: {...}}"
        raise ExciteError("arms must map names to options", where=path, hint=hint, exit_code=BAD_USAGE)
    if not isinstance(options, dict):
        raise ExciteError("options must map names to values", where=path, exit_code=BAD_USAGE)
    counts = {name: content.get(name) for name in ("seeds", "folds")}
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise ExciteError(f"{name} must be an integer", where=path, exit_code=BAD_USAGE)
    try:
        base = TrainConfig().replace(**{str(name): value for name, value in options.items()})
        return Plan(
            base.replace(data=str(content.get("data") or "")),
            [arm_of(str(name), dict(value)) for name, value in arms.items()],
            counts["seeds"] or 5,
            counts["folds"],
            str(content.get("metric") or METRIC),
        )
    except ExciteError as error:
        where = f"{path}: {error.where}" if error.where else path
        raise ExciteError(error.what, where=where, hint=error.hint, exit_code=BAD_USAGE) from None


def arm_of(name: str, values: dict[str, Any]) -> Arm:
    baseline = values.pop("baseline", None)
    options: dict[str, Any] = {}
    for option, value in values.items():
        whole, _, part = SHORT.get(option, option).partition(".")
        if part:
            options[whole] = {**options.get(whole, {}), part: value}
        else:
            options[whole] = value
    return Arm(name, options, None if baseline is None else str(baseline))
