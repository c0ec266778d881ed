"""Label candidates: images of a cross-validation whose label is probably wrong."""

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
    """The strongest candidates as rows and a summary of all; None if the run did not search for them.

    Args:
        thumbnails: embed thumbnails; consider the privacy of the people in them.

    Raises:
        ExciteError: when the table of candidates is missing or damaged.
    """
    noise = facts.metrics.get("label_noise")
    if noise is None:
        return None
    table = _read(facts)
    root = common_folder(facts.predictions.paths or ())
    rows = []
    for row in table.head(SHOWN).to_dict("records"):
        range_ = intensity_range_of(facts.config)
        source = thumbnail(str(row["path"]), facts.config.max_pixels, range_) if thumbnails else ""
        rows.append(
            {
                "path": str(row["path"]).removeprefix(root),
                "more": int(row["images"]) - 1,
                "label": row["label"],
                "suggested": row["suggested"],
                "p_label": f"{100 * float(row['p_label']):.1f} %",
                "p_suggested": f"{100 * float(row['p_suggested']):.1f} %",
                "source": source,
                "small": source.startswith("data:image/png"),
            }
        )
    return {
        "rows": rows,
        "count": int(noise["candidates"]),
        "summary": candidates_text(facts),
        "root": root,
        "pictures": thumbnails,
        "unit": noise["unit"],
    }


def candidates_text(facts: RunFacts) -> str:
    """The number of candidates, how they were found, and what they do not prove."""
    noise = facts.metrics["label_noise"]
    units, unit, count = noise["units"], noise["unit"], noise["candidates"]
    if not count:
        return (
            f"Among {units:,} {unit}, there are no label candidates (confident learning, Northcutt et al. "
            "2021). Labels may still be wrong: the method misses label errors that the models reproduce."
        )
    return (
        f"{count:,} of {units:,} {unit} {'is a label candidate' if count == 1 else 'are label candidates'}: "
        "models that were not trained on them predict another class, as confidently as they usually do "
        "for that class (confident learning, Northcutt et al. 2021). Candidates need review: difficult or "
        "rare images are among them, too, and weaker models produce more of them. No label was changed, and "
        f"the metrics include all candidates. {FILE} lists them."
    )


def _read(facts: RunFacts) -> pd.DataFrame:
    path = facts.run.path / FILE
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ExciteError(f"cannot be read: {error}", where=path) from error
