"""explain.html: explanations of images, what refutes them, gates, and shortcuts."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from excite.explain.faithfulness import PHRASES, area
from excite.explain.gate_analysis import AttentionReport, GateKinds
from excite.explain.images import Explanation
from excite.explain.run import Faithfulness
from excite.explain.shortcuts import ShortcutReport, text_of
from excite.reporting.evidence_pictures import (
    colored,
    common_scale,
    data_address,
    enlarged,
    overlay,
    png_bytes,
)
from excite.reporting.explanation_charts import curve_charts, gate_chart, shortcut_chart
from excite.reporting.html import common_folder, template
from excite.reporting.sentences import BAD, FINE, WARN, Statement
from excite.reporting.text import many
from excite.runs.run import Run
from excite.system.files import write_bytes, write_text

MOST_CARDS = 24
MOST_GATE_CHARTS = 6
UNRELATED = 0.2  # rank correlation of maps that have nothing in common
STEADY = 0.5  # rank correlation below which maps change more than the image

SCRIPT = """for (const slider of document.querySelectorAll("input[type=range]")) {
  const map = document.getElementById(slider.dataset.map);
  const show = () => { map.style.opacity = slider.value / 100; };
  slider.addEventListener("input", show);
  slider.closest(".control").hidden = false;
  show();
}"""


@dataclass(frozen=True, eq=False)
class ExplanationPage:
    """What the page shows; each part may be missing.

    Args:
        title: what was explained.
        classes: of the classifier.
        explanations: of images.
        labels: the true class of each image; "" if it is unknown.
        pixels: (N, S, S, 3), shown beside the maps; None: pictures are not shown.
        faithfulness: tests of the maps.
        attention: with ``targets``, (N,) classes of the images that its gates were measured on.
        shortcuts: what can be told without the object.
    """

    title: str
    classes: Sequence[str]
    explanations: Sequence[Explanation] = ()
    labels: Sequence[str] = ()
    pixels: np.ndarray | None = None
    faithfulness: Faithfulness | None = None
    attention: AttentionReport | None = None
    targets: np.ndarray | None = None
    shortcuts: ShortcutReport | None = None


def write_explanation(page: ExplanationPage, folder: Path) -> None:
    """Write ``explain.html``, a PNG for each image, and a JSON file for each part."""
    target = Run(folder)
    if page.explanations:
        document: dict[str, Any] = {
            "images": [
                each.to_dict() | {"label_true": true or None}
                for each, true in zip(page.explanations, page.labels, strict=True)
            ]
        }
        if page.faithfulness is not None:
            document["faithfulness"] = page.faithfulness.to_dict()
        target.write_json("explanation.json", document)
        scale = common_scale([each.map for each in page.explanations])
        for number, each in enumerate(page.explanations):
            pixels = None if page.pixels is None else page.pixels[number]
            picture = overlay(pixels, each.map, scale)
            write_bytes(folder / "maps" / f"{number + 1:04}.png", png_bytes(picture))
    if page.attention is not None:
        target.write_json("attention.json", page.attention.to_dict())
    if page.shortcuts is not None:
        target.write_json("shortcuts.json", page.shortcuts.to_dict())
    write_text(folder / "explain.html", explanation_page(page))


def explanation_page(page: ExplanationPage) -> str:
    """The page as HTML: one file, whose only script moves the sliders."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    faithfulness, attention, shortcuts = page.faithfulness, page.attention, page.shortcuts
    chosen = choose_examples(page.explanations, page.labels)
    scale = common_scale([each.map for each in page.explanations])
    return template("explain.html").render(
        title=page.title,
        script=SCRIPT,
        digest=digest,
        checks=checks(page),
        cards=[_card(page, number, scale) for number in chosen],
        images=len(page.explanations),
        pictures=page.pixels is not None,
        scale=f"{scale:.3g}",
        faithfulness=faithfulness,
        rivals=[] if faithfulness is None else _rival_rows(faithfulness),
        layers=[] if faithfulness is None else faithfulness.cascade,
        curves=[] if faithfulness is None else curve_charts(faithfulness.curves),
        attention=attention,
        sites=[] if attention is None else [_site_row(site) for site in attention.sites],
        gates=[] if attention is None or page.targets is None else _gate_charts(attention, page),
        positions=[] if attention is None else _position_maps(attention),
        fold="" if attention is None else fold_command(attention, page.title),
        shortcuts=shortcuts,
        tests=[] if shortcuts is None else _test_rows(shortcuts),
        shortcut_chart=None if shortcuts is None else shortcut_chart(shortcuts),
    )


def choose_examples(
    explanations: Sequence[Explanation], labels: Sequence[str], most: int = MOST_CARDS
) -> list[int]:
    """Numbers of the images to show: of each class the surest and least sure answers, right and wrong."""
    piles: list[list[int]] = []
    for name in sorted(set(labels)):
        rows = [row for row, label in enumerate(labels) if label == name]
        for right in (False, True):
            pile = [row for row in rows if (explanations[row].predicted == name) == right or not name]
            pile.sort(key=lambda row: -explanations[row].probability)
            piles += [pile[: (len(pile) + 1) // 2], pile[: (len(pile) - 1) // 2 : -1]]
    chosen: list[int] = []
    while len(chosen) < min(most, len(explanations)):
        taken = [pile.pop(0) for pile in piles if pile]
        if not taken:
            break
        chosen += [row for row in dict.fromkeys(taken) if row not in chosen]
    return chosen[:most]


def checks(page: ExplanationPage) -> list[Statement]:
    """What was checked, and what failed."""
    found = []
    if page.explanations:
        good = sum(each.adds_up for each in page.explanations)
        n = len(page.explanations)
        largest = max(each.gap for each in page.explanations)
        if good == n:
            text = (
                f"The evidence of {'the image' if n == 1 else f'all {n} images'} adds up to the logit: the "
            )
            found.append(Statement(text + f"largest gap is {largest:.1g}.", FINE))
        else:
            text = f"Approximate: the evidence of {n - good} of {many(n, 'image')} does not add up to the "
            found.append(Statement(text + f"logit; the largest gap is {largest:.2g}.", WARN))
    if (tests := page.faithfulness) is not None:
        beaten = all((each.interval.low or 0.0) > 0 for each in tests.rivalries)
        found.append(Statement(tests.verdict, FINE if beaten else WARN))
        related = abs(tests.random_head) > UNRELATED
        text = "The maps hardly depend on the head" if related else "The maps depend on the head"
        text += f": with a random one the rank correlation is {tests.random_head:.2f}."
        found.append(Statement(text, BAD if related else FINE))
        if np.isfinite(tests.stability):
            steady = tests.stability >= STEADY
            text = (
                f"Small shifts that do not change the answer {'keep' if steady else 'change'} the maps: rank "
            )
            text += f"correlation {tests.stability:.2f} over {many(tests.shifts, 'shift')}."
            found.append(Statement(text, FINE if steady else WARN))
        if (at := tests.pointing) is not None:
            better = (at.interval.low or 0.0) > 0
            text = (
                f"{at.inside:.0%} of the positive evidence is on the object, which is {at.object:.0%} of the "
            )
            text += f"image; the highest position is on it in {at.hits:.0%} of {many(at.images, 'image')}."
            found.append(Statement(text, FINE if better else WARN))
    if (gates := page.attention) is not None:
        found.append(Statement(attention_sentence(gates)))
    if (shortcuts := page.shortcuts) is not None:
        telling = any(test.telling and not test.shows_object for test in shortcuts.tests)
        found.append(Statement(shortcuts.sentence, WARN if telling else FINE))
        found += [Statement(f"Found: {text}.", WARN) for text in shortcuts.findings]
    return found


def attention_sentence(report: AttentionReport) -> str:
    """How many sites are constant in practice, and what the network loses without all of them together."""
    constant = report.constant
    text = f"{len(constant)} of {many(len(report.sites), 'attention site')} "
    text += f"{'is' if len(constant) == 1 else 'are'} constant in practice"
    if (joint := report.constant_at_means) is None:
        return text + "."
    interval = joint.interval
    bounds = ""
    if interval.low is not None and interval.high is not None:
        bounds = f" ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
    return (
        f"{text}: with {'its' if len(constant) == 1 else 'their'} gates at their means the accuracy changes "
        f"by {100 * joint.difference:+.2f} percentage points{bounds} on {many(report.images, 'image')}."
    )


def fold_command(report: AttentionReport, run: str) -> str:
    """Python that folds the constant gates of a run's network; "" if none can be folded."""
    if report.fold_tolerance is None:
        return ""
    tolerance = math.ceil(1e6 * report.fold_tolerance) / 1e6
    call = f"print(fold_run({run!r}, tolerance={tolerance:.6f}))"
    return f"from excite.explain.run_gates import fold_run\n{call}"


def _card(page: ExplanationPage, number: int, scale: float) -> dict[str, Any]:
    each = page.explanations[number]
    root = common_folder([one.path for one in page.explanations])
    photo = "" if page.pixels is None else data_address(enlarged(page.pixels[number]), photo=True)
    true = page.labels[number]
    return {
        "number": number + 1,
        "path": each.path.removeprefix(root) or f"image {number + 1}",
        "explained": each.label,
        "predicted": each.predicted,
        "probability": f"{100 * each.probability:.1f} %",
        "runner_up": each.runner_up,
        "true": true,
        "wrong": bool(true) and true != each.predicted,
        "photo": photo,
        "map": data_address(colored(each.map, scale)),
        "check": each.check,
        "for": f"{float(each.map.clip(min=0).sum()):.2f}",
        "against": f"{float(-each.map.clip(max=0).sum()):.2f}",
    }


def _rival_rows(tests: Faithfulness) -> list[dict[str, str]]:
    rows = [{"name": "evidence", "score": f"{tests.curves['evidence'].score.mean():.3f}", "gap": ""}]
    rows[0] |= _areas(tests, "evidence")
    for each in tests.rivalries:
        low, high = each.interval.low, each.interval.high
        bounds = each.interval.reason or ""
        if low is not None and high is not None:
            bounds = f"{low:+.3f} to {high:+.3f}"
        row = {
            "name": PHRASES[each.rival],
            "score": f"{each.score:.3f}",
            "gap": f"{each.value:+.3f} ({bounds})",
        }
        rows.append(row | _areas(tests, each.rival))
    return rows


def _areas(tests: Faithfulness, name: str) -> dict[str, str]:
    curves = tests.curves[name]
    return {
        "insertion": f"{area(curves.insertion).mean():.3f}",
        "deletion": f"{area(curves.deletion).mean():.3f}",
    }


def _site_row(report: Any) -> dict[str, str]:
    shares, kinds, change = report.shares, report.kinds, report.ablation
    low, high = change.interval.low, change.interval.high
    bounds = "" if low is None else f"{100 * low:+.2f} to {100 * high:+.2f}"
    percents = ["-"] * 3
    if shares is not None:
        percents = [f"{100 * v:.0f} %" for v in (shares.of_class, shares.of_image, shares.of_nothing)]
    return {
        "path": report.site.path,
        "variation": f"{100 * report.site.variation:.2g} %",
        "class": percents[0],
        "image": percents[1],
        "nothing": percents[2],
        "kinds": _kinds_text(kinds),
        "rank": str(kinds.rank),
        "change": f"{100 * change.difference:+.2f}",
        "bounds": bounds,
        "constant": "constant" if change.harmless else "",
    }


def _kinds_text(kinds: GateKinds) -> str:
    """Such as "16: 2 static, 12 twin"."""
    named = {"static": kinds.static, "dead": kinds.dead, "saturated": kinds.saturated, "twin": kinds.twins}
    parts = [f"{count} {name}" for name, count in named.items() if count]
    return f"{kinds.channels}" + (f": {', '.join(parts)}" if parts else "")


def _gate_charts(report: AttentionReport, page: ExplanationPage) -> list[Any]:
    """Charts of up to six sites, evenly spaced from the first to the last."""
    assert page.targets is not None
    several = [n for n, site in enumerate(report.sites) if site.site.gates.shape[2] > 1]
    picks = sorted(
        {several[int(k)] for k in np.linspace(0, len(several) - 1, MOST_GATE_CHARTS)} if several else []
    )
    return [gate_chart(report.sites[n], page.targets, page.classes, n) for n in picks]


def _position_maps(report: AttentionReport) -> list[dict[str, Any]]:
    """Spatial gates of a few images, as deviations from their mean."""
    rows = []
    for site in report.sites:
        if site.site.maps is None:
            continue
        mean = float(site.site.maps.mean())
        scale = common_scale([site.site.maps - mean])
        rows.append(
            {
                "path": site.site.path,
                "mean": f"{mean:.2f}",
                "scale": f"{scale:.2g}",
                "maps": [data_address(colored(each - mean, scale, 112)) for each in site.site.maps],
            }
        )
    return rows[:MOST_GATE_CHARTS]


def _test_rows(report: ShortcutReport) -> list[dict[str, str]]:
    return [
        {
            "name": test.name,
            "text": test.text,
            "source": {"network": "head on features", "pixels": "colors", "files": "files"}[test.source],
            "auroc": text_of(test.auroc),
            "shuffled": f"{test.auroc.shuffled:.2f}",
            "p": f"{test.auroc.p:.3f}",
            "object": "" if test.shows_object else "without object",
            "telling": "above chance" if test.telling else "",
        }
        for test in report.tests
    ]
