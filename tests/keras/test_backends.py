"""The checks in ``on_a_backend`` with each backend, in a process of its own: Keras has one for good."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from .processes import require_installed, run_checks

BACKENDS = ("torch", "tensorflow", "jax")
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights_after_a_step(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Weights]:
    """Runs all checks on a backend, once; the weights after the training step that they end with."""

    @cache
    def run(backend: str) -> Weights:
        path = tmp_path_factory.mktemp(backend) / "step.npz"
        run_checks(backend, "check_*.py", EXCITE_STEP=str(path))
        with np.load(path) as step:
            return dict(step)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_holds_on(backend: str, weights_after_a_step: Callable[[str], Weights]) -> None:
    assert weights_after_a_step(backend)


@pytest.mark.slow
def test_one_step_from_the_same_weights_is_the_same_on_all_backends(
    weights_after_a_step: Callable[[str], Weights],
) -> None:
    require_installed("keras")
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend) is not None]
    if len(installed) < 2:
        pytest.skip(f"of Keras's backends {installed[0]} alone is installed")
    first, *others = map(weights_after_a_step, installed)
    for other in others:
        assert other.keys() == first.keys()
        for name, value in first.items():
            np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-4, err_msg=name)
