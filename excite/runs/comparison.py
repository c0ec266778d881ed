"""A comparison of runs as ``excite compare --json`` prints it, which also is a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from excite.system.notebook import table_html

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("first", "second", "metric", "value", "low", "high", "p", "n", "groups", "reason")


class Comparison(dict[str, Any]):
    """What ``compare_runs`` or ``compare_configurations`` returns; ``table`` has the differences.

    >>> pair = {"first": "a", "second": "b", "n": 9, "groups": 9, "metrics": {}}
    >>> Comparison(runs=[], differences=[pair]).table.empty
    True
    """

    @property
    def table(self) -> pd.DataFrame:
        """A row for each pair and metric: names of the two, the difference, its interval, and p."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()), columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        rows = [[_shown(row[name]) for name in COLUMNS[:-1]] for row in self._rows()]
        numbers = COLUMNS[3:-1]
        return table_html(COLUMNS[:-1], rows, right=numbers, below="value = second - first")

    def _rows(self) -> Iterator[dict[str, Any]]:
        pairs = self.get("differences")
        for pair in [self] if pairs is None else pairs:
            names = {side: _name(pair[side]) for side in ("first", "second")}
            if not pair.get("metrics") and "reason" in pair:
                yield dict.fromkeys(COLUMNS) | names | {"metric": "", "reason": pair["reason"]}
            for name, found in pair.get("metrics", {}).items():
                yield (
                    names
                    | {"metric": name}
                    | _numbers(found)
                    | {each: pair[each] for each in ("n", "groups")}
                )


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("value", "low", "high", "p")} | {"reason": found["reason"] or ""}


def _name(side: Any) -> str:
    return side if isinstance(side, str) else ", ".join(map(str, side))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
