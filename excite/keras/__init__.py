"""Squeeze-and-Excitation and DenseNet for Keras 3, on TensorFlow, JAX, or PyTorch.

The import loads Keras and its backend, and PyTorch only if that is the backend. It registers the layers, so
that ``keras.saving.load_model`` needs no custom objects.
"""

# First, so that a missing package is reported in one line before the other imports fail.
from excite.keras.backend import backend as backend
from excite.keras.convert import to_keras as to_keras
from excite.keras.convert import to_torch as to_torch
from excite.keras.densenet import densenet121 as densenet121
from excite.keras.densenet import densenet161 as densenet161
from excite.keras.densenet import densenet169 as densenet169
from excite.keras.densenet import densenet201 as densenet201
from excite.keras.densenet import densenet264 as densenet264
from excite.keras.finder import sites as sites
from excite.keras.insertion import insert as insert
from excite.keras.insertion import remove as remove
from excite.keras.probabilities import ClassProbabilities as ClassProbabilities
from excite.keras.squeeze_excitation import SqueezeExcitation as SqueezeExcitation
