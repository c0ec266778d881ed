"""Import the modules that register plug-ins: those that installed packages declare, and those the user names.

Importing a module runs its code. A run folder may come from anyone, so what it says about its plug-ins is
compared (``plugins/record.py``) and printed, but never imported. An installed package was chosen by whoever
installed it; an option, an argument, and a file named with ``--config`` are the user's own words.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from excite.errors import BAD_USAGE, ExciteError, ExciteWarning

GROUP = "excite.plugins"  # of entry points: name = module

_searched = False
_imported: set[str] = set()


def load_installed() -> None:
    """Import the modules that installed packages declare, once in a process; one that fails is a warning."""
    global _searched  # noqa: PLW0603 (once in a process)
    if _searched:
        return
    _searched = True
    from importlib import metadata  # takes longer than the rest of this module

    for entry in metadata.entry_points(group=GROUP):
        try:
            importlib.import_module(entry.module)
        except Exception as error:
            package = entry.dist.name if entry.dist is not None else entry.module
            text = f"the plug-in {entry.name} of the package {package} is left out: {_reason(error)}"
            warnings.warn(text, ExciteWarning, stacklevel=2)


def load_modules(names: Sequence[str], folder: Path | None = None) -> None:
    """Import modules that the user named.

    Args:
        names: of modules, such as ``my_parts`` or ``lab.attention``, or files, such as ``parts/mine.py``.
        folder: where they are besides Python's own places; None: the working directory.

    Raises:
        ExciteError: for a module that cannot be found or imported.
    """
    folder = (Path.cwd() if folder is None else folder).absolute()
    for name in names:
        if name in _imported:
            continue
        try:
            if name.endswith(".py"):
                _import_file(folder / Path(name).expanduser())
            else:
                _search_also(folder)
                importlib.import_module(name)
        except ExciteError:
            raise
        except Exception as error:
            raise ExciteError(_reason(error), where=f"--import {name}", exit_code=BAD_USAGE) from error
        _imported.add(name)


def import_flags(names: Sequence[str]) -> list[str]:
    """The options of a command line that import these modules."""
    return [word for name in names for word in ("--import", name)]


def _import_file(file: Path) -> ModuleType:
    """Import a file as a module of its name, with the modules beside it within reach."""
    where = f"--import {file}"
    if not file.is_file():
        raise ExciteError("there is no such file", where=where, exit_code=BAD_USAGE)
    name = file.stem
    before = sys.modules.get(name)
    if before is not None:
        if Path(getattr(before, "__file__", None) or "").resolve() == file.resolve():
            return before
        what, hint = f"another module is called {name}", "rename the file"
        raise ExciteError(what, where=where, hint=hint, exit_code=BAD_USAGE)
    _search_also(file.parent)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search_also(folder: Path) -> None:
    """Last, so that a file in the folder hides no installed module."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {error.name}"
    text = " ".join(str(error).split())
    return text if isinstance(error, ExciteError) else f"{type(error).__name__}: {text}"
