"""The last layer of an exported classifier."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from excite.evaluation.decision_rule import DecisionRule
from excite.evaluation.predictions import Predictions
from excite.keras import ClassProbabilities, SqueezeExcitation
from tests.keras.nets import in_keras


def test_a_model_with_it_is_saved_and_loaded_without_custom_objects(tmp_path: Path) -> None:
    images = keras.Input((6, 6, 8))
    gated = SqueezeExcitation(2, gate="tanh")(images)
    logits = keras.layers.GlobalAveragePooling2D()(gated)
    model = keras.Model(
        images, ClassProbabilities("abcdefgh", 2.0, list(range(8)), name="probabilities")(logits)
    )
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    maps = np.random.default_rng(0).normal(size=(2, 6, 6, 8)).astype(np.float32)
    assert np.array_equal(in_keras(again, maps), in_keras(model, maps))
    assert again.get_layer("probabilities").classes == list("abcdefgh")
    np.testing.assert_allclose(in_keras(again, maps).sum(axis=1), 1, rtol=1e-5)


def test_it_is_the_softmax_of_calibrated_logits_in_float32() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    intercept = [0.5, -1.0, 0.5]
    powers = np.exp(logits / 2.5 + np.array(intercept))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        in_keras(ClassProbabilities("abc", 2.5, intercept), logits), expected, rtol=1e-5
    )
    half = ClassProbabilities("abc", 2.5, intercept, dtype="mixed_float16")(logits.astype(np.float16))
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(half), expected, atol=1e-3)


def test_the_rule_of_the_run_is_saved_with_the_model(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 40).astype(np.float32)
    for options in ({}, {"positive": "b", "threshold": 0.2}):
        logits = keras.Input((3,))
        layer = ClassProbabilities("abc", name="probabilities", **options)
        keras.Model(logits, layer(logits)).save(tmp_path / "x.keras")
        again = keras.saving.load_model(tmp_path / "x.keras").get_layer("probabilities")
        predicted = Predictions(np.zeros(40, dtype=int), rows, ("a", "b", "c"))
        if options:
            predicted = predicted.with_rule(DecisionRule("b", 0.2))
        assert again.decide(rows) == ["abc"[column] for column in predicted.predicted]
