"""Labels that a cross-validation doubts, for a person to look at."""

from __future__ import annotations

from typing import Any

import pandas as pd

from excite.errors import ExciteError
from excite.reporting.html import common_folder, thumbnail
from excite.reporting.run_facts import RunFacts
from excite.runs.derive import intensity_range_of
from excite.runs.label_candidates import FILE

SHOWN = 24


def candidates_view(facts: RunFacts, *, thumbnails: bool = False) -> dict[str, Any] | None:
    """The strongest doubts as rows, and what is to be known of all; None: the run looked for none.

    Args:
        thumbnails: embed small pictures of them: mind whose they are.

    Raises:
        ExciteError: when the table of candidates is missing or damaged.
    """
    found = facts.metrics.get("label_noise")
    if found is None:
        return None
    table = _read(facts)
    root = common_folder(facts.predictions.paths or ())
    rows = []
    for one in table.head(SHOWN).to_dict("records"):
        range_ = intensity_range_of(facts.config)
        source = thumbnail(str(one["path"]), facts.config.max_pixels, range_) if thumbnails else ""
        rows.append(
            {
                "path": str(one["path"]).removeprefix(root),
                "more": int(one["images"]) - 1,
                "label": one["label"],
                "suggested": one["suggested"],
                "p_label": f"{100 * float(one['p_label']):.1f} %",
                "p_suggested": f"{100 * float(one['p_suggested']):.1f} %",
                "source": source,
                "small": source.startswith("data:image/png"),
            }
        )
    return {
        "rows": rows,
        "count": int(found["candidates"]),
        "said": candidates_text(facts),
        "root": root,
        "pictures": thumbnails,
        "unit": found["unit"],
    }


def candidates_text(facts: RunFacts) -> str:
    """How many labels are doubted, by what, and how little that proves."""
    found = facts.metrics["label_noise"]
    units, unit, count = found["units"], found["unit"], found["candidates"]
    if not count:
        return (
            f"Of {units:,} {unit} none is surely called another class by models that had not seen it. Labels "
            "may be wrong all the same: a model says nothing of mistakes that it makes too."
        )
    return (
        f"{count:,} of {units:,} {unit} {'is' if count == 1 else 'are'} called another class than the label "
        "says, as surely as that class usually is, by models that had not seen them (confident learning, "
        "Northcutt et al. 2021). These are candidates for a person's eye, not verdicts: a picture that is "
        "hard or of a rare kind looks like this too, and the weaker the models, the more of them. Nothing "
        f"was changed, and none of the figures leaves them out. {FILE} lists them."
    )


def _read(facts: RunFacts) -> pd.DataFrame:
    path = facts.run.path / FILE
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ExciteError(f"cannot be read: {error}", where=path) from error
