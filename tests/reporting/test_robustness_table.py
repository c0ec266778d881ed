"""Which weights have the lower loss under corruptions."""

from __future__ import annotations

from excite.reporting.robustness_table import build_robustness_table


def test_the_summary_names_the_weights_with_the_lower_loss_and_the_mean_is_a_row() -> None:
    def row(name: str, start: float, tuned: float) -> dict[str, object]:
        figures = {"start": start, "tuned": tuned, "final": (start + tuned) / 2}
        return {
            "corruption": name,
            **{kind: {"accuracy": 1 - v, "log_loss": v} for kind, v in figures.items()},
        }

    rows = [row("clean", 0.5, 0.3), row("darker", 0.4, 0.6), row("noisy", 0.2, 0.8)]
    table = build_robustness_table({"fraction": 0.25, "probe": False, "n": 40, "rows": rows})
    assert "the initial weights have the lower mean log loss" in table.summary
    assert "on the clean images, the fine-tuned weights do." in table.summary
    assert "The final weights are 25% fine-tuned and 75% initial" in table.summary
    assert table.rows[-1] == ("mean of the corruptions", ("70.0 %, 0.300", "30.0 %, 0.700", "50.0 %, 0.500"))
    agreed_rows = [rows[0], row("darker", 0.6, 0.4)]
    agreed = build_robustness_table({"fraction": 0.0, "probe": True, "n": 40, "rows": agreed_rows})
    assert "the final model is the linear probe, refitted on train + val" in agreed.summary
    assert "the fine-tuned weights have the lower mean log loss" in agreed.summary
    assert "the fine-tuned weights do, too." in agreed.summary
