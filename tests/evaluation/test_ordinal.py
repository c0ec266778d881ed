"""Metrics of ordered classes, held against scikit-learn and simulations with known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from excite.errors import ExciteError
from excite.evaluation.comparison import compare
from excite.evaluation.evaluate import EvaluationSpec, evaluate_predictions
from excite.evaluation.folds import measure_repeats, pool
from excite.evaluation.measure import measure
from excite.evaluation.ordinal import complete_order, format_order, parse_order
from excite.evaluation.predictions import Predictions
from excite.evaluation.resampling import GroupSums
from excite.evaluation.seed_comparison import compare_seeds
from tests.conftest import Command
from tests.evaluation.simulated import softmax

NAMES = ("mild", "none", "severe", "very severe")
ORDER = ("none", "mild", "severe", "very severe")


def graded(random: np.random.Generator, groups: int, *, size: int = 1, noise: float = 0.8) -> Predictions:
    """Images of groups with a hidden degree; near degrees are confused more often. The names are unsorted."""
    degree = random.uniform(0, 3.99, groups)
    codes = np.repeat(np.arange(groups), size)
    seen = degree[codes] + noise * (random.normal(size=groups)[codes] + random.normal(size=len(codes))) / 1.5
    logits = -3 * np.abs(seen[:, None] - 0.5 - np.arange(4))
    places = np.array([ORDER.index(name) for name in NAMES])
    targets = np.array([NAMES.index(ORDER[int(d)]) for d in degree])[codes]
    groups_of = np.array([f"g{code}" for code in codes], dtype=object)
    paths = tuple(f"{row}.png" for row in range(len(codes)))
    return Predictions(targets, softmax(logits[:, places]), NAMES, groups_of, paths, order=ORDER)


def as_ranks(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    names = np.array(predictions.classes)
    rank = {name: place for place, name in enumerate(ORDER)}
    true, found = (names[codes] for codes in (predictions.targets, predictions.predicted))
    return np.array([rank[name] for name in true]), np.array([rank[name] for name in found])


@given(
    targets=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
)
def test_the_metrics_are_those_of_scikit_learn(targets: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).dirichlet(np.ones(4), len(targets))
    predictions = Predictions(np.array(targets), rows, NAMES, order=ORDER)
    true, found = as_ranks(predictions)
    point = GroupSums(predictions, ranking=False).point().overall
    assert point["mean_absolute_error"][0] == pytest.approx(mean_absolute_error(true, found))
    assert point["off_by_one"][0] == pytest.approx(np.mean(np.abs(true - found) == 1))
    if len(set(targets)) == 1:
        assert np.isnan(point["quadratic_kappa"][0])
    else:
        expected = cohen_kappa_score(true, found, weights="quadratic", labels=range(4))
        assert point["quadratic_kappa"][0] == pytest.approx(expected, abs=1e-9)


def test_weights_of_groups_are_copies_of_images() -> None:
    predictions = graded(np.random.default_rng(0), 30, size=3)
    weights = np.random.default_rng(1).integers(0, 4, (30, 5)).astype(float)
    values = GroupSums(predictions, ranking=False).values(weights).overall
    for column in range(5):
        rows = np.repeat(np.arange(len(predictions)), weights[predictions.group_codes, column].astype(int))
        true, found = (ranks[rows] for ranks in as_ranks(predictions))
        expected = cohen_kappa_score(true, found, weights="quadratic")
        assert values["quadratic_kappa"][column] == pytest.approx(expected)
        assert values["mean_absolute_error"][column] == pytest.approx(mean_absolute_error(true, found))


def test_the_order_of_the_columns_does_not_matter() -> None:
    one = graded(np.random.default_rng(0), 50)
    shuffle = np.array([2, 0, 3, 1])
    other = Predictions(
        np.argsort(shuffle)[one.targets],
        one.probabilities[:, shuffle],
        tuple(np.array(NAMES)[shuffle]),
        one.groups,
        one.paths,
        order=ORDER,
    )
    for name in ("quadratic_kappa", "mean_absolute_error", "off_by_one"):
        first, second = (measure(each)[name] for each in (one, other))
        assert [first[key] for key in ("value", "low", "high")] == pytest.approx(
            [second[key] for key in ("value", "low", "high")]
        )


def test_measure_has_them_only_with_an_order() -> None:
    predictions = graded(np.random.default_rng(0), 60, size=2)
    found = measure(predictions)
    assert found["order"] == list(ORDER)
    for name in ("quadratic_kappa", "mean_absolute_error", "off_by_one"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert found["quadratic_kappa"]["method"] == "jackknife"
    assert found["off_by_one"]["method"] == "wilson"
    plain = measure(predictions.with_order(()))
    assert not {"order", "quadratic_kappa"} & plain.keys()
    assert {name: plain[name] for name in ("accuracy", "kappa")} == {
        name: found[name] for name in ("accuracy", "kappa")
    }


def test_an_evaluation_takes_the_order_from_its_spec() -> None:
    predictions = graded(np.random.default_rng(0), 60)
    by_spec = evaluate_predictions(predictions.with_order(()), EvaluationSpec(ordinal=ORDER))
    assert by_spec["quadratic_kappa"] == measure(predictions)["quadratic_kappa"]
    by_name = evaluate_predictions(predictions, EvaluationSpec(ordinal=("classes",)))
    assert by_name["order"] == list(NAMES)
    assert by_name["quadratic_kappa"]["value"] < by_spec["quadratic_kappa"]["value"]


def test_folds_and_repeats_keep_the_order() -> None:
    predictions = graded(np.random.default_rng(0), 60)
    halves = [predictions.take(np.arange(30)), predictions.take(np.arange(30, 60))]
    assert pool(halves).order == ORDER
    repeats = [pool(halves), pool(halves[::-1])]
    found = measure_repeats(repeats)
    assert found["quadratic_kappa"]["value"] == pytest.approx(
        measure(predictions)["quadratic_kappa"]["value"]
    )
    assert found["mean_absolute_error"]["high"] > found["mean_absolute_error"]["value"]
    assert found["off_by_one"]["low"] < found["off_by_one"]["value"]


@pytest.mark.parametrize("size", [1, 4])
def test_an_equal_classifier_differs_by_chance_and_a_worse_one_by_more(size: int) -> None:
    random = np.random.default_rng(3)
    base = graded(random, 120, size=size, noise=0.4)
    worse = graded(np.random.default_rng(3), 120, size=size, noise=1.6)
    found = compare(base, worse, ("quadratic_kappa", "mean_absolute_error", "off_by_one"))
    assert found["quadratic_kappa"].high < 0
    assert found["mean_absolute_error"].low > 0
    for name in ("quadratic_kappa", "mean_absolute_error"):
        assert found[name].p < 0.01
    true, first = as_ranks(base)
    second = as_ranks(worse)[1]
    gap = mean_absolute_error(true, second) - mean_absolute_error(true, first)
    assert found["mean_absolute_error"].value == pytest.approx(gap)


def test_seeds_are_compared_by_ordinal_metrics() -> None:
    sides = []
    for noise in (0.4, 1.6):
        runs = []
        for seed in range(3):
            one = graded(np.random.default_rng(0), 100, noise=0.0)
            off = np.random.default_rng(seed + int(10 * noise)).normal(size=(100, 4)) * 6 * noise
            runs.append(
                Predictions(one.targets, softmax(np.log(one.probabilities + 1e-9) + off), NAMES, order=ORDER)
            )
        sides.append(runs)
    found = compare_seeds(*sides, ("quadratic_kappa",))["quadratic_kappa"]
    assert found.high < 0
    with pytest.raises(ExciteError, match="unknown metric"):
        compare_seeds(*([[run.with_order(()) for run in side] for side in sides]), ("quadratic_kappa",))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
def test_the_intervals_hold_their_level(size: int) -> None:
    """Of 300 samples of 60 groups, about 95 % of the intervals hold the value in the population."""
    random = np.random.default_rng(7)
    truth = GroupSums(graded(random, 40_000, size=size), ranking=False).point().overall
    names = ("quadratic_kappa", "mean_absolute_error", "off_by_one")
    inside = dict.fromkeys(names, 0)
    for _ in range(300):
        found = measure(graded(random, 60, size=size))
        for name in names:
            inside[name] += found[name]["low"] <= truth[name][0] <= found[name]["high"]
    for name, count in inside.items():
        assert 0.915 < count / 300 < 0.985, (name, count)


@given(
    st.lists(
        st.text(min_size=1).map(str.strip).filter(lambda t: t and "\0" not in t and t.isprintable()),
        min_size=2,
        unique=True,
    )
)
def test_names_of_any_kind_survive_the_option(names: list[str]) -> None:
    import unicodedata

    composed = tuple(unicodedata.normalize("NFC", name) for name in names)
    assert parse_order(format_order(composed)) == composed


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("none", "mild", "severe"), "the order lacks class 'very severe'"),
        (("none", "mild", "severe", "very sever"), "unknown class 'very sever'.*did you mean 'very severe'"),
        (("none", "mild", "severe", "none"), "'none' is named twice"),
    ],
)
def test_an_order_names_every_class_once(order: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExciteError, match=message) as caught:
        complete_order(order, NAMES)
    assert caught.value.where == "--ordinal"


def table(path: Path, predictions: Predictions) -> Path:
    frame = pd.DataFrame(predictions.probabilities, columns=[f"p:{name}" for name in NAMES])
    frame.insert(0, "path", predictions.paths)
    frame.insert(1, "label", np.array(NAMES)[predictions.targets])
    frame.to_csv(path, index=False)
    return path


def test_the_commands_print_and_write_them(tmp_path: Path, excite_command: Command) -> None:
    first = graded(np.random.default_rng(0), 80, noise=0.4)
    work = tmp_path / "work"
    table(work / "first.csv", first)
    table(work / "second.csv", graded(np.random.default_rng(0), 80, noise=1.6))
    order = ",".join(ORDER)
    done = excite_command("evaluate", "first.csv", "--ordinal", order, "--out", "evaluation")
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.split())
    assert "classes in order: none < mild < severe < very severe; quadratic weighted kappa 0." in printed
    page = (work / "evaluation" / "evaluation.html").read_text()
    assert "quadratic weighted κ" in page
    written = json.loads((work / "evaluation" / "metrics.json").read_text())["table"]
    true, found = as_ranks(first)
    expected = cohen_kappa_score(true, found, weights="quadratic")
    assert written["quadratic_kappa"]["value"] == pytest.approx(expected)
    done = excite_command("compare", "first.csv", "second.csv", "--ordinal", order, "--json")
    (pair,) = json.loads(done.stdout)["differences"]
    assert pair["metrics"]["quadratic_kappa"]["value"] < 0
    assert excite_command("compare", "first.csv", "second.csv", "--ordinal", order).returncode == 0
    done = excite_command("compare", "first.csv", "second.csv", "--metrics", "quadratic_kappa")
    assert done.returncode == 2
    assert "quadratic_kappa needs the order of the classes" in done.stderr
    done = excite_command("evaluate", "first.csv", "--ordinal", "none,mild")
    assert done.returncode == 2
    assert "the order lacks class 'severe'" in done.stderr


def test_a_training_refuses_a_wrong_order_before_it_begins_and_records_a_right_one(
    tmp_path: Path, pictures: Path, excite_command: Command
) -> None:
    options = [
        "--model",
        "cifar_resnet20",
        "--image-size",
        16,
        "--epochs",
        1,
        "--no-near-duplicates",
        "--device",
        "cpu",
    ]
    done = excite_command("train", pictures, "--ordinal", "a,b", *options)
    assert done.returncode == 2
    assert "the order lacks class 'c'" in done.stderr
    assert not (tmp_path / "work" / "runs").exists()
    done = excite_command("train", pictures, "--ordinal", "classes", "--out", "run", *options)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "work" / "run"
    assert "ordinal: a,b,c" in (run / "config.yaml").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["order"] == metrics["val"]["order"] == ["a", "b", "c"]
    assert "quadratic weighted κ" in (run / "report.html").read_text()
    assert "quadratic weighted κ" in (run / "model_card.md").read_text()
    done = excite_command("compare", "run", "run", "--json")
    assert json.loads(done.stdout)["runs"][0]["off_by_one"]["value"] == metrics["test"]["off_by_one"]["value"]
