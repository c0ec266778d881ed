"""What a data set hides: near-duplicates, leaks, conflicting labels, and shortcuts.

The package can be called, as ``excite.api.audit``:

>>> import excite
>>> len(excite.audit(photos, near_duplicates=False))
60
"""

from excite.system.callable_package import make_callable

make_callable(__name__, "excite.api", "audit")
