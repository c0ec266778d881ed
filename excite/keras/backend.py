"""Checks that Keras 3 and its backend are installed; imported before the other modules of this package."""

from __future__ import annotations

import importlib
import os

from excite.errors import ExciteError, unknown_name

BACKENDS = ("tensorflow", "jax", "torch")


def backend() -> str:
    """The name of Keras's backend: ``tensorflow``, ``jax``, or ``torch``.

    Raises:
        ExciteError: if Keras 3 or its backend is not installed, or Keras runs on another backend.
    """
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        if missing == "keras":
            raise ExciteError("Keras is not installed", hint='pip install "excite[keras]"') from error
        hint = f"pip install {missing}; or set KERAS_BACKEND=torch, which is installed"
        raise ExciteError(f"{missing}, the selected backend of Keras, is not installed", hint=hint) from error
    except ValueError as error:  # Keras does not know the backend
        raise unknown_name("Keras backend", os.environ.get("KERAS_BACKEND"), BACKENDS) from error
    if int(keras.__version__.partition(".")[0]) < 3:
        what = f"Keras {keras.__version__} is too old: version 3 is required"
        raise ExciteError(what, hint='pip install --upgrade "excite[keras]"')
    name: str = keras.config.backend()
    if name not in BACKENDS:
        raise unknown_name("Keras backend", name, BACKENDS)
    return name


backend()
