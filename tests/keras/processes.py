"""Checks in a process of their own, since Keras keeps the backend that it began with."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
QUICK = {
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",  # JAX compiles much and runs little of it
}


def run_checks(backend: str, files: str, **environment: str) -> None:
    """All checks in ``on_a_backend`` whose files are called so; skips where the backend is not installed."""
    require_installed("keras", backend)
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "--disable-warnings"],
            *sorted(map(str, (HERE / "on_a_backend").glob(files))),
        ],
        cwd=HERE.parents[1],
        env={**os.environ, **QUICK, "KERAS_BACKEND": backend, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def require_installed(*packages: str) -> None:
    """Skips where one is missing; imports nothing: triton crashes after TensorFlow or JAX."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
