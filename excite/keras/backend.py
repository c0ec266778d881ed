"""Keras and its backend are there, or one line says what to install; imported before all else here."""

from __future__ import annotations

import importlib
import os

from excite.errors import ExciteError, unknown_name

BACKENDS = ("tensorflow", "jax", "torch")


def backend() -> str:
    """The backend that Keras is set to: ``tensorflow``, ``jax`` or ``torch``.

    Raises: ExciteError if Keras 3 or its backend is not installed, or is none of the three.
    """
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        if missing == "keras":
            raise ExciteError("Keras is not installed", hint='pip install "excite[keras]"') from error
        hint = f"pip install {missing}; or set KERAS_BACKEND=torch, which is here"
        raise ExciteError(f"{missing}, which Keras is set to run on, is not installed", hint=hint) from error
    except ValueError as error:  # Keras knows no such backend
        raise unknown_name("Keras backend", os.environ.get("KERAS_BACKEND"), BACKENDS) from error
    if int(keras.__version__.partition(".")[0]) < 3:
        what = f"Keras {keras.__version__} is too old: 3 is needed"
        raise ExciteError(what, hint='pip install --upgrade "excite[keras]"')
    name: str = keras.config.backend()
    if name not in BACKENDS:
        raise unknown_name("Keras backend", name, BACKENDS)
    return name


backend()
