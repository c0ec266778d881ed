"""Tests that import Keras run in a process of each backend, which ``test_on_each_backend.py`` starts.

Keras keeps the backend that it was imported with, and a process can crash where parts of PyTorch are imported
after TensorFlow or JAX. So these files are collected only where KERAS_BACKEND is set, or by name:
``KERAS_BACKEND=torch pytest tests/keras/test_densenet.py``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest

from tests.keras.processes import IMPORT_KERAS

collect_ignore = [] if "KERAS_BACKEND" in os.environ else IMPORT_KERAS


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once: does not depend on the backend, and runs on PyTorch alone")


@pytest.fixture(autouse=True)
def global_states() -> Iterator[None]:
    """Keras draws seeds from global generators and imports TensorFlow on first use, which sets variables."""
    states, environment = (random.getstate(), np.random.get_state()), dict(os.environ)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def resnet() -> object:
    """Two residual blocks, named as in keras.applications."""
    import keras

    def block(x: object, width: int, name: str) -> object:
        y = x
        for number in (1, 2, 3):
            y = keras.layers.Conv2D(width, 3, padding="same", name=f"{name}_{number}_conv")(y)
            y = keras.layers.BatchNormalization(name=f"{name}_{number}_bn")(y)
        y = keras.layers.Add(name=f"{name}_add")([x, y])
        return keras.layers.Activation("relu", name=f"{name}_out")(y)

    images = keras.Input((9, 9, 8), name="images")
    x = block(block(images, 8, "conv2_block1"), 8, "conv2_block2")
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(name="avg_pool")(x), name="little")
