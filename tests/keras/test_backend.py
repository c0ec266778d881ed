"""Messages for a missing Keras or backend, and what the import of excite.keras imports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.keras.processes import require_installed


def output_of_import(code: str, **environment: str) -> str:
    """The output of code, then of importing excite.keras, in a process of its own."""
    code += """
try:
    import excite.keras
except Exception as error:
    print(type(error).__name__, error)
"""
    variables = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_missing_keras_gets_one_line() -> None:
    message = output_of_import("import sys; sys.modules['keras'] = None")
    assert message == 'ExciteError Keras is not installed (pip install "excite[keras]")'


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_missing_backend_gets_one_line(backend: str) -> None:
    require_installed("keras")
    message = output_of_import(f"import sys; sys.modules[{backend!r}] = None", KERAS_BACKEND=backend)
    assert message == (
        f"ExciteError {backend}, the selected backend of Keras, is not installed "
        f"(pip install {backend}; or set KERAS_BACKEND=torch, which is installed)"
    )


def test_an_unknown_backend_is_refused_with_the_nearest() -> None:
    require_installed("keras")
    message = output_of_import("", KERAS_BACKEND="tensorflo")
    assert message == "ExciteError unknown Keras backend 'tensorflo' (did you mean 'tensorflow'?)"


def test_importing_excite_imports_no_keras() -> None:
    code = "import sys, excite, excite.cli.app; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_with_another_backend_importing_excite_keras_imports_no_torch() -> None:
    require_installed("jax", "keras")
    code = "import sys, excite.keras; print('torch' in sys.modules, excite.keras.backend())"
    variables = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False jax"
