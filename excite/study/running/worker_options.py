"""What workers of a study get from the command that starts them, because no file may say it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from excite.plugins.loading import load_modules


@dataclass(frozen=True)
class WorkerOptions:
    """The user's modules and trackers.

    Args:
        imports: modules or files to import.
        track: hooks by name, for every cell.
        place: the folder that relative files and modules of ``imports`` are in; "" is the working directory.
    """

    imports: tuple[str, ...] = ()
    track: tuple[str, ...] = ()
    place: str = ""

    def load(self) -> None:
        """Import the modules. Raises: ExciteError for one that cannot be imported."""
        load_modules(self.imports, Path(self.place) if self.place else None)

    def here(self) -> WorkerOptions:
        """The same, for processes with another working directory.

        >>> WorkerOptions(("mine",)).here().place == str(Path.cwd())
        True
        """
        return WorkerOptions(self.imports, self.track, self.place or str(Path.cwd()))

    def to_json(self) -> str:
        """As one argument of a command."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerOptions:
        """From ``to_json``.

        >>> WorkerOptions.from_json(WorkerOptions(("mine",), ("mlflow",)).to_json())
        WorkerOptions(imports=('mine',), track=('mlflow',), place='')
        """
        values = json.loads(text)
        return cls(tuple(values["imports"]), tuple(values["track"]), values["place"])


NO_OPTIONS = WorkerOptions()
