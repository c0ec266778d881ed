"""The printed results of a study, as text and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

from excite.cli.study.output import print_analysis, print_document
from excite.study.results.analysis import analyze
from excite.study.study import Study


@pytest.mark.slow
def test_the_document_agrees_with_the_store(done: Study, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = analyze(done)
    print_document(done, analysis)
    document = json.loads(capsys.readouterr().out)
    assert (document["study"], document["done"], document["planned"]) == (str(done.folder), 8, 8)
    values = {
        arm: np.mean(
            [r.result["figures"]["balanced_accuracy"] for r in done.store.results(done.name) if r.arm == arm]
        )
        for arm in ("plain", "se")
    }
    [pair] = document["comparisons"]
    assert (pair["baseline"], pair["arm"]) == ("plain", "se")
    assert pair["difference"] == pytest.approx(values["se"] - values["plain"])
    assert [row["name"] for row in document["arms"]] == ["plain", "se"]


@pytest.mark.slow
def test_the_text_contains_every_arm_verdict_and_the_looks(
    done: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = analyze(done)
    print_document(done, analysis)
    document = json.loads(capsys.readouterr().out)
    print_analysis(analysis)
    text = " ".join(capsys.readouterr().out.split())
    for sentence in document["verdicts"]:
        assert " ".join(sentence.split()) in text
    assert "looked at once, with 8 finished cells" in text
    assert text.startswith("arm cells balanced accuracy 95 % interval parameters multiply-adds plain")
