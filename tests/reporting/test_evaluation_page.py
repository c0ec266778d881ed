"""evaluation.html: one file without scripts, with metrics of all images and of unseen ones."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from PIL import Image

from excite.evaluation.calibration import Calibration
from excite.evaluation.evaluate import EvaluationSpec, evaluate_predictions
from excite.evaluation.predictions import Predictions
from excite.reporting.evaluation_page import evaluation_page, write_evaluation
from excite.runs.evaluate import Evaluation
from excite.runs.training_overlap import SeenImage
from tests.reporting.run_folders import simulated

AWKWARD = ("<script>alert(1)</script>", "a\"b'c&d", "{{ 7*7 }}")


def evaluation(
    folder: Path, classes: tuple[str, ...] = ("benign", "malignant"), seen: int = 3, names: str = "{}.png"
) -> Evaluation:
    """Simulated predictions of which the first ``seen`` images were seen in training, with real files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = simulated(classes, 40, 1)
    paths = tuple(str(folder / names.format(row)) for row in range(len(found)))
    predictions = Predictions(found.targets, found.probabilities, found.classes, paths=paths)
    images = []
    for row in range(seen):
        counterpart = str(folder / f"trained-{row}.png")
        for path in (paths[row], counterpart):
            colors = np.random.default_rng(row).integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(colors).resize((200, 160)).save(path)
        images.append(
            SeenImage(row, paths[row], counterpart, "same photo", f"{row + 9} of 60 <features>", 0.9)
        )
    rest = predictions.take(np.arange(len(predictions)) >= seen)
    asked, calibration = EvaluationSpec(), Calibration(1.5, (0.0,) * len(classes))
    figures = evaluate_predictions(predictions, asked, calibration=calibration) | {"grouped_by": "image"}
    figures |= {"seen_in_training": seen, "seen_images": [image.to_dict() for image in images]}
    figures["without_seen"] = evaluate_predictions(rest, asked, calibration=calibration)
    return Evaluation("all", figures, predictions, rest, tuple(images))


def test_the_page_needs_nothing_from_outside_and_runs_no_script(tmp_path: Path) -> None:
    text = evaluation_page(evaluation(tmp_path))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    assert "<script" not in text
    assert not re.search(r"@import|https?://", text)
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert address.startswith(("data:", "#"))


def test_seen_images_are_beside_their_counterparts_and_metrics_are_given_twice(tmp_path: Path) -> None:
    result = evaluation(tmp_path)
    text = evaluation_page(result)
    cards = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert len(cards) == 3
    for image, card in zip(result.seen, cards, strict=True):
        assert card.count("<img") == 2
        assert Path(image.path).name in card
        assert Path(image.counterpart).name in card
        assert image.evidence.replace("<", "&lt;").replace(">", "&gt;") in card
    for figures in (result.metrics, result.metrics["without_seen"]):
        assert f"<b>{100 * figures['accuracy']['value']:.1f} %</b>" in text
    assert "3 of 40 images were seen in training" in text
    assert text.count('class="table stack classes"') == text.count('class="table heat"') == 2
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_data_of_which_nothing_was_seen_has_each_table_once(tmp_path: Path) -> None:
    text = evaluation_page(evaluation(tmp_path, seen=0))
    assert "Seen in training" not in text
    assert text.count('class="table stack classes"') == text.count('class="table heat"') == 1


def test_names_of_any_kind_stay_text(tmp_path: Path) -> None:
    result = evaluation(tmp_path, AWKWARD, names='<b>&amp;"{}.png')
    text = evaluation_page(result, title="<i>run</i>", source="<i>data</i>")
    assert "<script" not in text
    assert "<i>" not in text
    assert "<b>&amp;" not in text
    assert "{{ 7*7 }}" in text


def test_a_missing_picture_is_replaced_by_a_word(tmp_path: Path) -> None:
    result = evaluation(tmp_path)
    Path(result.seen[0].counterpart).unlink()
    text = evaluation_page(result)
    assert text.count("file not found") == 1
    assert text.count("<img") == 5


def test_the_table_lists_all_seen_images(tmp_path: Path) -> None:
    for seen in (3, 0):
        result = evaluation(tmp_path / "data", seen=seen)
        write_evaluation(result, tmp_path / "out")
        with (tmp_path / "out" / "seen_in_training.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert [(row["path"], row["counterpart"], row["evidence"]) for row in rows] == [
            (image.path, image.counterpart, image.evidence) for image in result.seen
        ]
