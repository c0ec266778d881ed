"""``python -m excite`` and the command ``excite``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from excite.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
