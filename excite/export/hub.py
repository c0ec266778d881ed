"""Export to a folder as the Hugging Face hub wants it, which timm loads, too, where it knows the network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from excite.config.task import MULTILABEL
from excite.data.sources import PixelSubset
from excite.errors import ExciteError
from excite.export.parity import Reading, Written
from excite.export.source import Source
from excite.inference.predict import predict_logits
from excite.runs.classifier import Classifier
from excite.runs.classifier_file import read_classifier_file
from excite.runs.run import Run
from excite.system.files import write_text

CARD, EXAMPLE, FACTS = "README.md", "example.py", "excite.json"
_CROP_MODES = {"crop": "center", "stretch": "squash", "pad": "border"}
_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)

EXAMPLE_TEXT = '''"""Classify images. pip install excite"""

import sys
from pathlib import Path

import excite

classifier = excite.Classifier.load(Path(__file__).parent)
for prediction in classifier.predict(sys.argv[1:]):
    print(f"{prediction.path}: {prediction.label} {prediction.probability:.1%}")
'''
_SHOWN, _LABELS_SHOWN = "{prediction.label} {prediction.probability:.1%}", "{', '.join(prediction.labels)}"


def write(source: Source, path: Path) -> Written:
    """Write ``model.safetensors``, ``classifier.json``, ``config.json``, a model card, and an example.

    ``config.json`` has timm's form; if timm has the network, ``timm.create_model("local-dir:FOLDER",
    pretrained=True)`` loads it, which is tried.

    Raises:
        ExciteError: if a file cannot be written.
    """
    path.mkdir()
    for folder in (source.run, *_members(source.run)):
        own = path / folder.path.relative_to(source.run.path)
        own.mkdir(parents=True, exist_ok=True)
        if folder.weights.is_file():
            shutil.copyfile(folder.weights, own / "model.safetensors")
        facts = read_classifier_file(folder)
        write_text(own / "classifier.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    write_text(path / FACTS, source.info.to_json())
    is_labels = source.classifier.task == MULTILABEL
    write_text(path / EXAMPLE, EXAMPLE_TEXT.replace(_SHOWN, _LABELS_SHOWN) if is_labels else EXAMPLE_TEXT)
    config, note = _config(source, path)
    write_text(path / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    write_text(path / CARD, _card(source, config))
    return Written(partial(_ask, path), (note,))


def _members(run: Run) -> list[Run]:
    return [Run(run.path / member["run"]) for member in read_classifier_file(run).get("members", ())]


def _ask(path: Path, pixels: np.ndarray, images: Sequence[str], batch_sizes: Sequence[int]) -> Reading:
    """Load the folder as users do."""
    classifier = Classifier.load(path)
    source = PixelSubset(pixels)
    return Reading(np.stack([classifier.probabilities(source, size) for size in batch_sizes]))


def _config(source: Source, path: Path) -> tuple[dict[str, Any], str]:
    """timm's ``config.json``, and whether timm loads it with equal logits."""
    classifier = source.classifier
    config: dict[str, Any] = {
        "library_name": "excite",
        "num_classes": len(classifier.classes),
        "label_names": list(classifier.classes),
    }
    named = _timm_arguments(classifier)
    if named is not None:
        name, arguments = named
        candidate = config | {"architecture": name, "model_args": arguments}
        candidate["pretrained_cfg"] = _pretrained_config(classifier)
        write_text(path / "config.json", json.dumps(candidate))
        if _timm_agrees(classifier, path):
            return candidate, "timm loads it, with equal logits, as local-dir:FOLDER or hf-hub:OWNER/NAME"
    return config, "timm does not have this network; excite.Classifier.load reads the folder"


def _timm_arguments(classifier: Classifier) -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of the network in timm; None if it cannot have it."""
    if classifier.is_ensemble:
        return None
    from timm.models import get_arch_name, is_model  # late: it takes as long to import as torch

    arguments = dict(classifier.architecture)
    library, _, name = arguments.pop("name").rpartition(":")
    attention, truncated = arguments.pop("attention", None), arguments.pop("truncate_after", None)
    if library == "torchvision" or attention is not None or truncated is not None:
        return None
    for other in ("num_classes", "image_size", "placement", "attention_options", "stem", "where", "stages"):
        arguments.pop(other, None)
    base = get_arch_name(name)
    return (base, arguments) if is_model(base) else None


def _pretrained_config(classifier: Classifier) -> dict[str, Any]:
    """The preprocessing in timm's words."""
    preprocessing = classifier.preprocessing
    size = preprocessing.image_size
    return {
        "num_classes": len(classifier.classes),
        "input_size": [3, size, size],
        "crop_pct": 1.0,
        "crop_mode": _CROP_MODES[preprocessing.resize_mode],
        "interpolation": preprocessing.interpolation,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "custom_load": False,
    }


@torch.no_grad()
def _timm_agrees(classifier: Classifier, path: Path) -> bool:
    """Whether timm loads the folder, and its logits of drawn images equal those of the run's network."""
    import timm

    size = classifier.preprocessing.image_size
    random = np.random.default_rng(0)
    pixels = PixelSubset(random.integers(0, 256, (4, size, size, 3), dtype=np.uint8))
    try:
        model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    except Exception:  # another network of the same name, or options that timm lacks
        return False
    model.to(memory_format=torch.channels_last)
    networks = (model, classifier.model)
    device = classifier.device
    one, two = (predict_logits(each, pixels, classifier.preprocessing, device=device) for each in networks)
    return np.allclose(one, two, rtol=1e-5, atol=1e-5)


def _card(source: Source, config: dict[str, Any]) -> str:
    """The model card of the run, with the front matter that the hub reads, and how to use the folder."""
    text, front = "", {}
    try:
        text = (source.run.path / "model_card.md").read_text(encoding="utf-8")
    except OSError:  # a run without a report
        text = f"# {source.info.name}\n"
    if found := _FRONT.match(text):
        front, text = yaml.safe_load(found[1]), text[found.end() :]
    front["library_name"] = "timm" if "architecture" in config else "excite"
    front["pipeline_tag"] = "image-classification"
    if source.license:
        front["license"] = source.license
    card = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    use = ["import excite", "", 'classifier = excite.Classifier.load("hub:OWNER/NAME")  # or this folder']
    use += ['print(classifier.predict("new.jpg"))']
    if "architecture" in config:
        use += ["", "import timm", "", 'model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True)']
    body = f"---\n{card}---\n{text.rstrip()}\n\n## Use\n\n```python\n" + "\n".join(use) + "\n```\n"
    return _without_paths(source.run, body)


def _without_paths(run: Run, text: str) -> str:
    """The text with the name of the data set instead of its path, which tells about the machine."""
    try:
        data = str(run.config.data)
    except ExciteError:
        return text
    return text.replace(data, Path(data).name) if "/" in data else text
