"""Rows of text on the setup of a run, its audit, and the command that reproduces it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from excite.config.train_config import TrainConfig
from excite.reporting.decision_text import intercept_text
from excite.reporting.run_charts import best_epoch
from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import folds_text, split_sizes
from excite.reporting.text import many
from excite.runs.run import Run
from excite.system.text import command_line

Row = tuple[str, str]


def setup_rows(facts: RunFacts) -> list[Row]:
    """(name, value) for data, network, recipe, and machine."""
    config = facts.resolved
    rows = [("data", f"{facts.config.data}: {split_sizes(facts)}"), ("split", _split(facts))]
    rows += [
        ("network", _network(facts)),
        ("attention", _attention(facts)),
        ("initial weights", _start(facts)),
    ]
    rows.append(("input", _input(facts)))
    rows.append(("recipe", _recipe(facts)))
    if config.recipe != "probe":  # a probe has none of these
        augmentation = f"{config.augment}, flips {config.flips}{_options(config.augment_options)}"
        rows.append(("augmentation", augmentation))
        rows.append(("optimizer", _optimizer(config)))
        rows.append(("epochs", _epochs(facts)))
    if "calibration" in facts.classifier_metadata:
        fold = "first fold: " if facts.folds else ""
        fitted = _calibration(facts.classifier_metadata["calibration"], facts)
        text = f"{fold}{fitted}, fitted on the validation images"
        if "ensemble" in facts.metrics:
            fitted = _calibration(facts.metrics["ensemble"]["calibration"], facts)
            text += f"; {fitted} for the ensemble, fitted out of fold"
        rows.append(("calibration", text))
    rows.append(("seed", str(facts.config.seed)))
    environment = facts.environment
    if environment:
        code = environment.get("git")
        state = (
            f", commit {code['commit'][:12]}{' with local changes' if code.get('changed') else ''}"
            if code
            else ""
        )
        rows.append(
            (
                "versions",
                f"excite {environment['excite']}{state}; "
                f"Python {environment['python']}; {environment['system']}",
            )
        )
        libraries = ", ".join(
            f"{name} {version}" for name, version in environment.get("libraries", {}).items()
        )
        rows.append(("libraries", libraries))
        threads = many(environment.get("threads", 1), "thread")
        processes = many(environment.get("processes", 1), "process", "processes")
        rows.append(
            (
                "machine",
                f"{environment.get('device')}, {processes}, {threads}, {config.precision}",
            )
        )
    rows.append(("finished", facts.finished))
    return rows


def audit_rows(audit: Mapping[str, Any]) -> list[Row]:
    """(name, finding) of ``audit.json``."""
    sizes = audit.get("group_sizes", {})
    largest = f", the largest with {many(sizes['largest'], 'image')}" if sizes.get("largest", 0) > 1 else ""
    rows = [
        ("searched for", ", ".join(audit.get("passes", ())) or "not recorded"),
        ("images", f"{audit['images']:,} in {many(audit['groups'], 'group')}{largest}"),
    ]
    for kind, count in audit.get("kinds", {}).items():
        rows.append((f"pairs: {kind}", f"{count:,}"))
    leaks = audit.get("leaks", {})
    if leaks.get("images"):
        text = "no group on both sides of the given split"
        if leaks.get("groups"):
            counts = ", ".join(f"{count:,} in {split}" for split, count in leaks["images"].items())
            text = f"{many(leaks['groups'], 'group')} on both sides of the given split; "
            text += f"images with a near-duplicate elsewhere: {counts}"
        rows.append(("leaks", text))
    conflicts = audit.get("label_conflicts", ())
    rows.append(
        (
            "label conflicts",
            many(len(conflicts), "photo") + " with conflicting labels" if conflicts else "none",
        )
    )
    for shortcut in audit.get("shortcuts", ()):
        text = f"{shortcut['feature']}: balanced accuracy {100 * shortcut['score']:.1f} % "
        text += f"without the image content (shuffled labels: {100 * shortcut['chance']:.1f} %)"
        rows.append(("shortcut", text))
    for oversized in audit.get("oversized_groups", ()):
        rows.append(
            ("oversized group", f"{many(oversized['images'], 'image')}: false pairs may have merged groups")
        )
    files = audit.get("files", {})
    rows.append(
        (
            "unreadable files",
            many(len(files.get("bad", ())), "file") + " excluded" if files.get("bad") else "none",
        )
    )
    if odd := files.get("odd"):
        kinds: dict[str, int] = {}
        for file in odd:
            kinds[file["kind"]] = kinds.get(file["kind"], 0) + 1
        rows.append(("odd files", ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())))
    return rows


def command(config: TrainConfig) -> str:
    """The command that reproduces the training: all options that differ from the defaults, as resolved."""
    words: list[object] = ["excite", "train", Path(config.data)]
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if each.name in ("data", "out") or value == default_of(each) or value is None:
            continue
        flag = each.name.replace("_", "-")
        if isinstance(value, Mapping):
            for key, part in value.items():
                words += ["--set", f"{each.name}.{key}={json.dumps(part, ensure_ascii=False)}"]
        elif isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            for part in value:
                words += [f"--{flag}", str(part)]
        else:
            words += [f"--{flag}", str(value)]
    return command_line(*words)


def typed_command(environment: Mapping[str, Any]) -> str:
    """The command that started the run; "" if it was not started from the command line."""
    words = [str(word) for word in environment.get("command", ())]
    if len(words) < 2 or PurePath(words[0]).name not in ("excite", "__main__.py") or words[1] != "train":
        return ""
    return command_line("excite", *words[1:])


def default_of(each: dataclasses.Field[Any]) -> Any:
    """The default of a field of the configuration."""
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return each.default


def _split(facts: RunFacts) -> str:
    config = facts.config
    if facts.folds:
        unit = "by group" if any(facts.group_kinds) else "by image"
        return f"{folds_text(facts)}: {unit}" + (
            f"; groups by {config.group_pattern}" if config.group_pattern else ""
        )
    how = {"folder": "given by the data", "grouped": "by group", "random": "by image"}
    text = f"{config.split}: {how[config.split]}" if config.split in how else config.split
    given = facts.audit.get("files", {}).get("splits", {})
    if config.split == "folder" and config.test_from == "val":
        text += "; tested on its val, with validation images drawn from train"
    elif config.split == "folder" and given and (drawn := [s for s in ("val", "test") if s not in given]):
        text += f"; {' and '.join(drawn)} drawn from train"
    return text + (f"; groups by {config.group_pattern}" if config.group_pattern else "")


def _network(facts: RunFacts) -> str:
    architecture = facts.classifier_metadata.get("architecture", {})
    excluded = (
        "name",
        "num_classes",
        "image_size",
        "attention",
        "placement",
        "attention_options",
        "where",
        "stages",
    )
    other_options = {key: value for key, value in architecture.items() if key not in excluded}
    return str(architecture.get("name", facts.resolved.model)) + _options(other_options)


def _attention(facts: RunFacts) -> str:
    config, architecture = facts.resolved, facts.classifier_metadata.get("architecture", {})
    if config.attention == "none":
        return "none"
    text = f"{config.attention}, placement {config.placement}"
    sites = architecture.get("where") or []
    if isinstance(sites, list) and sites:
        text += f", at {many(len(sites), 'site')}: " + (
            sites[0] if len(sites) == 1 else f"{sites[0]} to {sites[-1]}"
        )
    elif config.where:
        text += f", where {config.where}"
    if config.stages:
        text += f", stages {config.stages}"
    text += (", identity start" if config.identity else "") + _options(config.attention_options)
    if idle := sum(facts.identity_gates):
        where = "" if len(facts.identity_gates) == 1 else f" in {idle} of {len(facts.identity_gates)} folds"
        text += f"; without effect{where}: every gate is one"
    return text


def _start(facts: RunFacts) -> str:
    config = facts.resolved
    if config.pretrained and (source := facts.environment.get("packaged_weights")):
        return f"pretrained: {source}"
    if config.weights:
        return f"from {config.weights}"
    return "pretrained" if config.pretrained else "random"


def _recipe(facts: RunFacts) -> str:
    recipe = facts.resolved.recipe
    if recipe == "scratch":
        return f"scratch: {_trained(facts.resolved)}"
    if recipe == "finetune":
        text = f"finetune: {_trained(facts.resolved)}, starting from a linear probe"
        if facts.fell_back_to_probe:
            text += (
                "; fine-tuning did not improve on the probe by more than chance on the validation images: "
            )
            return text + f"the final model is {_probe(facts.run, 'probe.csv')}"
        return text + _kept(facts)
    if recipe != "probe":
        return recipe
    return f"probe: {_probe(None if facts.folds else facts.run, 'metrics.csv')}"


def _trained(config: TrainConfig) -> str:
    """Which weights the optimizer changes."""
    if config.train != "all":
        return f"only the weights of {' and '.join(config.train.split(','))} are trained"
    if not config.frozen_layers:
        return "all weights are trained"
    inserted = "" if config.attention == "none" else ", and the attention,"
    return f"the last {12 - config.frozen_layers} of 12 parts of the network{inserted} are trained"


def _kept(facts: RunFacts) -> str:
    """How much of the fine-tuning the final weights keep."""
    fractions = facts.kept_fractions
    if facts.folds and fractions:
        return f"; nothing of the fine-tuning is kept in {fractions.count(0)} of {len(fractions)} folds"
    if not fractions:
        return ""
    if fractions[0] == 1:
        return "; the final weights are those of the best epoch"
    return f"; the final weights are {fractions[0]:.0%} fine-tuned and {1 - fractions[0]:.0%} initial"


def _probe(run: Run | None, table: str) -> str:
    """A description of a probe, with its C, the inverse of regularization strength, if known."""
    chosen = ""
    if run is not None and (run.path / table).is_file():
        tried = run.table(table)
        best = int(tried["val_loss"].to_numpy().argmin())
        chosen = f" (C = {float(tried['C'].iloc[best]):.3g})"
    return f"a linear probe{chosen} on the features of the frozen network"


def _input(facts: RunFacts) -> str:
    side = facts.classifier_metadata.get("preprocessing", {}).get("image_size", facts.resolved.image_size)
    size = "auto" if side is None else f"{side} x {side} pixels"
    return f"{size}, {facts.resolved.resize_mode}; normalized: {facts.resolved.normalization}"


def _optimizer(config: TrainConfig) -> str:
    rate, decay = ("auto" if value is None else f"{value:g}" for value in (config.lr, config.weight_decay))
    text = f"{config.optimizer}, learning rate {rate}, weight decay {decay}, batches of {config.batch_size}"
    if config.loss != "cross_entropy":
        text += f", loss {config.loss}{_options(config.loss_options)}"
    text += f", label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    text += f", classes balanced by {config.balance}" if config.balance != "none" else ""
    return text + (
        f"; weights averaged over {config.ema:g} epoch{'' if config.ema == 1 else 's'}" if config.ema else ""
    )


def _epochs(facts: RunFacts) -> str:
    config = facts.resolved
    if facts.history is None or not len(facts.history):
        return f"up to {facts.config.epochs} in each fold" if facts.folds else str(facts.config.epochs)
    best = best_epoch(facts.history, config.monitor)
    text = f"{len(facts.history)} of {facts.config.epochs}; best epoch: {best}"
    text += " (not kept)" if 0 in facts.kept_fractions else ""
    seconds = float(facts.history["seconds"].iloc[-1]) if "seconds" in facts.history else 0.0
    return text + (f"; {_duration(seconds)}" if seconds else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _options(options: Mapping[str, Any]) -> str:
    return "".join(f", {key} {value}" for key, value in options.items())


def _calibration(calibration: Mapping[str, Any], facts: RunFacts) -> str:
    """The temperature and, if there are any, the intercepts; of several labels, one of both for each."""
    if isinstance(calibration["temperature"], list):
        low, high = min(calibration["temperature"]), max(calibration["temperature"])
        return f"a temperature ({low:.3g} to {high:.3g}) and an intercept for each label"
    named = dict(zip(facts.predictions.classes, calibration["intercept"], strict=True))
    text, intercepts = f"temperature {calibration['temperature']:.4g}", intercept_text(named)
    return text + (f" and intercepts {intercepts}" if intercepts else "")
