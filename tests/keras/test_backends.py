"""The checks in ``on_a_backend`` with each backend, in a process of its own: Keras has one for good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .processes import run_checks

BACKENDS = ("torch", "tensorflow", "jax")
Steps = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def steps() -> Steps:
    """Backend -> the weights after one training step."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_holds_on(backend: str, steps: Steps, tmp_path: Path) -> None:
    run_checks(backend, "check_*.py", EXCITE_STEP=str(tmp_path / "step.npz"))
    with np.load(tmp_path / "step.npz") as step:
        steps[backend] = dict(step)


@pytest.mark.slow
def test_one_step_from_the_same_weights_is_the_same_on_all_backends(steps: Steps) -> None:
    if len(steps) < 2:
        pytest.skip("there are not two backends to compare")
    first, *others = steps.values()
    for other in others:
        assert other.keys() == first.keys()
        for name, value in first.items():
            np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-4, err_msg=name)
