"""Channel attention for image classifiers: train on a folder of images, measure the model honestly.

Importing this package imports neither torch nor any other slow library: each public name, listed in
``__init__.pyi``, is loaded on first use (https://scientific-python.org/specs/spec-0001/).
"""

import lazy_loader

from excite.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
