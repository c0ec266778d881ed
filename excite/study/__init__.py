"""Arms compared over seeds and folds.

The package can be called, as ``excite.api.study``, which trains the arms:

>>> import excite
>>> options = {"model": "cifar_resnet20", "image_size": 32, "epochs": 1, "device": "cpu"}
>>> study = excite.study(photos, {"plain": {}, "se": {"attention": "se"}}, seeds=1, quiet=True, **options)
>>> list(study.arms)
['plain', 'se']
"""

from excite.system.callable_package import make_callable

make_callable(__name__, "excite.api", "study")
