"""The checks in ``on_a_backend`` with each backend, in a process of its own: Keras has one for good."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
BACKENDS = ("torch", "tensorflow", "jax")
QUICK = {
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",  # JAX compiles much and runs little of it
}

Steps = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def steps() -> Steps:
    """Backend -> the weights after one training step."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_holds_on(backend: str, steps: Steps, tmp_path: Path) -> None:
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    checks = sorted(map(str, (HERE / "on_a_backend").glob("check_*.py")))
    if backend == "torch":  # what no backend changes is looked at once, where it is quickest
        checks += sorted(map(str, (HERE / "on_a_backend").glob("once_*.py")))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *checks],
        cwd=HERE.parents[1],
        env={**os.environ, **QUICK, "KERAS_BACKEND": backend, "EXCITE_STEP": str(tmp_path / "step.npz")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout
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
