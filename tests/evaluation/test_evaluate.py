"""Which parts an evaluation has, and that each is the result of its own function on the right images."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from excite.errors import ExciteError
from excite.evaluation.abstention import choose_confidence
from excite.evaluation.calibration import Calibration, safe_log
from excite.evaluation.evaluate import EvaluationSpec, choose_point, evaluate_predictions
from excite.evaluation.measure import measure
from excite.evaluation.operating_point import choose_threshold
from excite.evaluation.predictions import Predictions
from tests.evaluation.simulated import simulate, softmax


@pytest.fixture(scope="module")
def validation() -> Predictions:
    return simulate(np.random.default_rng(0), 300)


@pytest.fixture(scope="module")
def evaluated() -> Predictions:
    return simulate(np.random.default_rng(1), 200)


def test_without_requests_there_are_metrics_and_class_calibration_only(evaluated: Predictions) -> None:
    found = evaluate_predictions(evaluated, EvaluationSpec())
    assert set(found) == {*measure(evaluated), "class_calibration"}
    assert {name: found[name] for name in measure(evaluated)} == measure(evaluated)
    json.dumps(found, allow_nan=False)


def test_the_threshold_is_chosen_on_validation_and_measured_on_test(
    validation: Predictions, evaluated: Predictions
) -> None:
    spec = EvaluationSpec(positive="b", specificity=0.9)
    found = evaluate_predictions(evaluated, spec, validation=validation)["operating_point"]
    chosen = choose_threshold(validation, "b", specificity=0.9)
    assert found["chosen"] == asdict(chosen)
    called = evaluated.probabilities[:, 1] >= chosen.threshold
    healthy = evaluated.targets == 0
    assert found["test"]["specificity"]["value"] == pytest.approx((~called[healthy]).mean())
    assert choose_point(validation, EvaluationSpec(positive="b")) == choose_threshold(
        validation, "b", sensitivity=0.95
    )


def test_a_selective_accuracy_is_chosen_on_validation_and_overrides_nothing_else(
    validation: Predictions, evaluated: Predictions
) -> None:
    threshold = choose_confidence(validation, 0.8)
    found = evaluate_predictions(evaluated, EvaluationSpec(selective_accuracy=0.8), validation=validation)[
        "abstention"
    ]
    accepted = evaluated.confidences >= threshold
    assert found["threshold"] == threshold
    assert found["coverage"]["value"] == pytest.approx(accepted.mean())
    assert found["accuracy"]["value"] == pytest.approx(evaluated.correct[accepted].mean())
    given = evaluate_predictions(evaluated, EvaluationSpec(abstain_below=0.7))["abstention"]
    assert given["answered"] == (evaluated.confidences >= 0.7).sum()


def test_the_calibration_report_compares_with_the_predictions_before_it(evaluated: Predictions) -> None:
    calibration = Calibration(2.0, (0.0, 0.0))
    calibrated = calibration.apply(evaluated)
    found = evaluate_predictions(calibrated, EvaluationSpec(), calibration=calibration)["calibration"]
    for side, one in (("before", evaluated), ("after", calibrated)):
        loss = -np.log(one.probabilities[np.arange(len(one)), one.targets]).mean()
        assert found[side]["log_loss"]["value"] == pytest.approx(loss)
    assert calibrated.probabilities == pytest.approx(softmax(safe_log(evaluated.probabilities) / 2))


def test_copies_of_a_photo_are_also_measured_as_one() -> None:
    once = simulate(np.random.default_rng(2), 60)
    rows = np.repeat(np.arange(60), 3)
    copies = Predictions(
        once.targets[rows],
        once.probabilities[rows],
        once.classes,
        rows.astype(str),
        photos=rows.astype(str),
    )
    found = evaluate_predictions(copies, EvaluationSpec())
    assert (found["n"], found["photos"]["n"]) == (180, 60)
    assert found["photos"]["log_loss"]["value"] == pytest.approx(measure(once)["log_loss"]["value"])


def test_subgroups_are_the_images_with_each_value(evaluated: Predictions) -> None:
    site = np.where(np.arange(len(evaluated)) % 3 == 0, "north", "south")
    found = evaluate_predictions(
        evaluated, EvaluationSpec(subgroups=("site",)), columns={"site": site.tolist()}
    )["subgroups"]
    [table] = found
    rows = {row["value"]: row for row in table["rows"]}
    for value in ("north", "south"):
        inside = site == value
        assert rows[value]["n"] == inside.sum()
        assert rows[value]["accuracy"]["value"] == pytest.approx(evaluated.correct[inside].mean())


@pytest.mark.parametrize("spec", [EvaluationSpec(positive="b"), EvaluationSpec(selective_accuracy=0.9)])
def test_a_threshold_needs_validation_images(spec: EvaluationSpec, evaluated: Predictions) -> None:
    with pytest.raises(ExciteError, match=r"needs predictions of validation images .*--validation"):
        evaluate_predictions(evaluated, spec)
    assert "operating_point" not in evaluate_predictions(evaluated, spec.without_validation())
