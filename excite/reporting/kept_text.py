"""What the final network keeps of its training, where that is not what was asked for."""

from __future__ import annotations

from excite.reporting.run_facts import RunFacts
from excite.reporting.text import many


def kept_text(facts: RunFacts) -> str:
    """That nothing of the fine-tuning is kept, or that attention has no effect, as sentences; else ""."""
    fractions, gates = facts.kept_fractions, facts.identity_gates
    nothing, idle = fractions.count(0), sum(gates)
    text = ""
    if nothing:
        where = "" if len(fractions) == 1 else f" in {nothing} of {len(fractions)} folds"
        text = f"Nothing of the fine-tuning is kept{where}: the weights before it were not worse than the "
        text += (
            "fine-tuned ones by more than chance on the validation images. --keep tuned keeps the weights "
        )
        text += "of the best epoch."
    if idle:
        whose = "the final network" if len(gates) == 1 else f"{idle} of {many(len(gates), 'network')}"
        text += f" The attention of {whose} has no effect: every gate is one."
    return text.strip()
