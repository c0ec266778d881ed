"""Why a classifier answers as it does: evidence maps with checks, gates of attention, and shortcuts.

The package can be called, as ``excite.api.explain``:

>>> import excite
>>> import numpy as np
>>> from excite.data.preprocessing import Preprocessing
>>> model = excite.create_model("cifar_resnet20", num_classes=2)
>>> classifier = excite.Classifier(model, {}, ("cat", "dog"), Preprocessing(32))
>>> [explanation] = excite.explain(classifier, np.zeros((1, 32, 32, 3), np.uint8))
>>> explanation.map.shape
(8, 8)
"""

from excite.system.callable_package import make_callable

make_callable(__name__, "excite.api", "explain")
