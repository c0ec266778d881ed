"""The tests that import Keras, on each backend, in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from tests.keras.processes import require_installed, run_tests

BACKENDS = ("torch", "tensorflow", "jax")
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights_after_a_step(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Weights]:
    """Runs all tests on a backend once; the weights after the training step in ``test_densenet.py``."""

    @cache
    def run(backend: str) -> Weights:
        path = tmp_path_factory.mktemp(backend) / "step.npz"
        options = () if backend == "torch" else ("-m", "not once")
        run_tests(backend, *options, EXCITE_TEST_STEP=str(path))
        with np.load(path) as step:
            return dict(step)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_tests_pass_on(backend: str, weights_after_a_step: Callable[[str], Weights]) -> None:
    assert weights_after_a_step(backend)


@pytest.mark.slow
def test_a_step_from_the_same_weights_is_the_same_on_all_backends(
    weights_after_a_step: Callable[[str], Weights],
) -> None:
    require_installed("keras")
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend) is not None]
    if len(installed) < 2:
        pytest.skip(f"only one backend of Keras is installed: {installed[0]}")
    first, *others = map(weights_after_a_step, installed)
    for other in others:
        assert other.keys() == first.keys()
        for name, value in first.items():
            np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-4, err_msg=name)
