"""What the page and programs are told about the classifier: the model card, and the limits of the service."""

from __future__ import annotations

from typing import Any

from excite.bundle.format import EVIDENCE
from excite.bundle.label_decision import LabelDecision
from excite.config.task import MULTICLASS
from excite.serving.service import Service


def model_card(service: Service) -> dict[str, Any]:
    """A JSON document."""
    info, settings, decision = service.info, service.settings, service.info.decision
    rule = decision.rule
    return {
        "name": info.name,
        **({} if info.task == MULTICLASS else {"task": info.task}),
        "classes": list(info.classes),
        "image_size": info.preprocessing.image_size,
        "resize_mode": info.preprocessing.resize_mode,
        "abstain_below": decision.abstain_below,
        **({"thresholds": list(decision.thresholds)} if isinstance(decision, LabelDecision) else {}),
        "positive": None if rule is None else {"label": rule.label, "threshold": float(rule.thresholds)},
        "has_sets": decision.sets is not None,
        "has_evidence": EVIDENCE in info.outputs,
        "members": info.members,
        "license": info.license,
        "metrics": dict(info.metrics),
        "reference": info.reference,
        "quantized": info.quantization is not None,
        "calibration": dict(info.calibration),
        "sha256": dict(info.sha256),
        "made_with": dict(info.made_with),
        "limits": {
            "formats": list(service.classifier.formats),
            "max_bytes": settings.max_bytes,
            "max_pixels": service.classifier.max_pixels,
            "max_images": settings.max_images,
        },
    }
