"""What was trained on what, what the audit found, and how to do it again: rows of text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from excite.config.train_config import TrainConfig
from excite.reporting.run_charts import kept_epoch
from excite.reporting.run_facts import RunFacts
from excite.reporting.sentences import folds_text, parts_text
from excite.reporting.text import many
from excite.runs.run import Run
from excite.system.text import command_line

Row = tuple[str, str]


def setup_rows(facts: RunFacts) -> list[Row]:
    """(what, how) of data, network, recipe and machine."""
    config = facts.settled
    rows = [("data", f"{facts.config.data}: {parts_text(facts)}"), ("split", _split(facts))]
    rows += [("network", _network(facts)), ("attention", _attention(facts)), ("starts from", _start(config))]
    rows.append(("input", _input(facts)))
    rows.append(("recipe", _recipe(facts)))
    if config.recipe != "probe":  # which knows none of these
        augmentation = f"{config.augment}, flips {config.flips}{_options(config.augment_options)}"
        rows.append(("augmentation", augmentation))
        rows.append(("optimizer", _optimizer(config)))
        rows.append(("epochs", _epochs(facts)))
    if "temperature" in facts.made:
        whose = "the first fold's, " if facts.folds else ""
        text = f"{facts.made['temperature']:.4g}, {whose}fitted on validation images"
        if "ensemble" in facts.metrics:
            text += f"; {facts.metrics['ensemble']['temperature']:.4g} on top for their mean, out of fold"
        rows.append(("temperature", text))
    rows.append(("seed", str(facts.config.seed)))
    made = facts.environment
    if made:
        code = made.get("git")
        state = (
            f", commit {code['commit'][:12]}{' and changes' if code.get('changed') else ''}" if code else ""
        )
        rows.append(
            ("made with", f"excite {made['excite']}{state}; Python {made['python']}; {made['system']}")
        )
        libraries = ", ".join(f"{name} {version}" for name, version in made.get("libraries", {}).items())
        rows.append(("libraries", libraries))
        threads = many(made.get("threads", 1), "thread")
        processes = many(made.get("processes", 1), "process", "processes")
        rows.append(
            (
                "machine",
                f"{made.get('device')}, {processes}, {threads}, {config.precision}",
            )
        )
    rows.append(("finished", facts.finished))
    return rows


def audit_rows(audit: Mapping[str, Any]) -> list[Row]:
    """(what, found) of ``audit.json``."""
    sizes = audit.get("group_sizes", {})
    alone = f", the largest of {many(sizes['largest'], 'image')}" if sizes.get("largest", 0) > 1 else ""
    rows = [
        ("looked for", ", ".join(audit.get("passes", ())) or "not said"),
        ("images", f"{audit['images']:,} in {many(audit['groups'], 'group')}{alone}"),
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
        ("label conflicts", many(len(conflicts), "photo") + " under two labels" if conflicts else "none")
    )
    for shortcut in audit.get("shortcuts", ()):
        text = f"{shortcut['feature']}: balanced accuracy {100 * shortcut['score']:.1f} % "
        text += f"without looking at a picture (shuffled labels: {100 * shortcut['chance']:.1f} %)"
        rows.append(("shortcut", text))
    for oversized in audit.get("oversized_groups", ()):
        rows.append(("giant group", f"{many(oversized['images'], 'image')}: false pairs may have chained it"))
    files = audit.get("files", {})
    rows.append(
        ("bad files", many(len(files.get("bad", ())), "file") + " left out" if files.get("bad") else "none")
    )
    if odd := files.get("odd"):
        kinds: dict[str, int] = {}
        for file in odd:
            kinds[file["kind"]] = kinds.get(file["kind"], 0) + 1
        rows.append(("odd files", ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())))
    return rows


def command(config: TrainConfig) -> str:
    """The training as one command line: all options that are not the default, settled ones among them."""
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
    """What was typed to make the run; "" where it was not made from the command line."""
    words = [str(word) for word in environment.get("command", ())]
    if len(words) < 2 or PurePath(words[0]).name not in ("excite", "__main__.py") or words[1] != "train":
        return ""
    return command_line("excite", *words[1:])


def default_of(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return each.default


def _split(facts: RunFacts) -> str:
    config = facts.config
    if facts.folds:
        kept = "whole groups" if any(facts.group_kinds) else "each image for itself"
        return f"{folds_text(facts)}: {kept}" + (
            f"; groups by {config.group_pattern}" if config.group_pattern else ""
        )
    how = {"folder": "as the data gives it", "grouped": "whole groups", "random": "each image for itself"}
    text = f"{config.split}: {how[config.split]}" if config.split in how else config.split
    return text + (f"; groups by {config.group_pattern}" if config.group_pattern else "")


def _network(facts: RunFacts) -> str:
    architecture = facts.made.get("architecture", {})
    aside = (
        "name",
        "num_classes",
        "image_size",
        "attention",
        "placement",
        "attention_options",
        "where",
        "stages",
    )
    further = {key: value for key, value in architecture.items() if key not in aside}
    return str(architecture.get("name", facts.settled.model)) + _options(further)


def _attention(facts: RunFacts) -> str:
    config, architecture = facts.settled, facts.made.get("architecture", {})
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
    return (
        text
        + (", every gate at one to begin with" if config.identity else "")
        + _options(config.attention_options)
    )


def _start(config: TrainConfig) -> str:
    if config.weights:
        return f"the weights in {config.weights}"
    return "published weights" if config.pretrained else "random weights"


def _recipe(facts: RunFacts) -> str:
    recipe = facts.settled.recipe
    if recipe == "scratch":
        return "scratch: all weights are trained"
    if recipe == "finetune":
        text = "finetune: all weights are trained further, from a fitted linear head on"
        if facts.came_back:
            text += (
                "; nothing of that is kept, for nothing was better by more than chance on validation images"
            )
            text += f": the answer is {_probe(facts.run, 'probe.csv')}"
        if facts.folds and (shares := [fold["fraction"] for fold in facts.folds if "fraction" in fold]):
            text += f"; nothing of that is kept in {shares.count(0)} of {len(shares)} folds"
        return text
    if recipe != "probe":
        return recipe
    return f"probe: {_probe(None if facts.folds else facts.run, 'metrics.csv')}"


def _probe(run: Run | None, table: str) -> str:
    """A probe in words, with its strength where that is known."""
    strength = ""
    if run is not None and (run.path / table).is_file():
        tried = run.table(table)
        best = int(tried["val_loss"].to_numpy().argmin())
        strength = f" (strength {float(tried['strength'].iloc[best]):.3g})"
    return f"a linear head{strength} on features of the network, which stays as it was"


def _input(facts: RunFacts) -> str:
    side = facts.made.get("preprocessing", {}).get("image_size", facts.settled.image_size)
    size = "auto" if side is None else f"{side} x {side} pixels"
    return f"{size}, {facts.settled.resize_mode}; normalized: {facts.settled.normalization}"


def _optimizer(config: TrainConfig) -> str:
    rate, decay = ("auto" if value is None else f"{value:g}" for value in (config.lr, config.weight_decay))
    text = f"{config.optimizer}, learning rate {rate}, weight decay {decay}, batches of {config.batch_size}"
    text += f", label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    text += f", classes balanced by {config.balance}" if config.balance != "none" else ""
    return text + (
        f"; weights averaged over {config.ema:g} epoch{'' if config.ema == 1 else 's'}" if config.ema else ""
    )


def _epochs(facts: RunFacts) -> str:
    if facts.history is None or not len(facts.history):
        return f"up to {facts.config.epochs} in each fold" if facts.folds else str(facts.config.epochs)
    text = f"{len(facts.history)} of {facts.config.epochs}; kept: epoch {kept_epoch(facts.history)}"
    seconds = float(facts.history["seconds"].iloc[-1]) if "seconds" in facts.history else 0.0
    return text + (f"; {_duration(seconds)}" if seconds else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _options(options: Mapping[str, Any]) -> str:
    return "".join(f", {key} {value}" for key, value in options.items())
