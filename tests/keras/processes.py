"""Tests in a process of their own, because Keras keeps the backend that it was imported with."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
IMPORT_KERAS = [
    "test_applications.py",
    "test_cloning.py",
    "test_convert.py",
    "test_densenet.py",
    "test_examples.py",
    "test_families.py",
    "test_finder.py",
    "test_insertion.py",
    "test_probabilities.py",
    "test_squeeze_excitation.py",
]
QUICK = {
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "EXCITE_KERNELS": "off",  # the PyTorch side is the reference; compiling its operators takes 8 s
    "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling takes longer than running
}


def run_tests(backend: str, *options: str, **environment: str) -> None:
    """Runs the tests of this folder that import Keras; skips where the backend is not installed."""
    require_installed("keras", backend)
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "--disable-warnings"],
            *options,
            *(str(HERE / name) for name in IMPORT_KERAS),
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
    """Skips if one is missing, without importing it: triton crashes after TensorFlow or JAX."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
