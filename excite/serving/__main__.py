"""``python -m excite.serving SETTINGS``: the supervisor, without the libraries of the command line."""

from __future__ import annotations

import sys

from excite.errors import ExciteError
from excite.serving.settings import Settings
from excite.serving.supervisor import Supervisor
from excite.system.text import printable

if __name__ == "__main__":
    try:
        sys.exit(Supervisor(Settings.from_json(sys.argv[1])).run())
    except ExciteError as error:
        print(printable(f"excite: error: {error}"), file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
