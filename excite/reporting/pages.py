"""All pages and figures of a finished run."""

from __future__ import annotations

from excite.config.task import MULTILABEL
from excite.reporting.label_report import write_label_report
from excite.reporting.png_figures import draw_figures
from excite.reporting.report import write_report
from excite.runs.run import Run


def write_pages(run: Run, *, thumbnails: bool = False) -> None:
    """Write ``report.html``, ``model_card.md``, and ``figures/*.png``.

    Args:
        thumbnails: show images; mind the privacy of the people in them.

    Raises:
        ExciteError: if the run is not finished, one of its files is damaged, or a file cannot be written.
    """
    if run.task == MULTILABEL:
        write_label_report(run, thumbnails=thumbnails)
        return
    draw_figures(run, thumbnails=thumbnails)
    write_report(run, thumbnails=thumbnails)
