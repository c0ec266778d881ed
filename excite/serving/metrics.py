"""Metrics for Prometheus: requests by outcome, queue, latency, classes, abstentions, and drift."""

from __future__ import annotations

import os
from typing import Any, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

from excite.bundle.format import BundleInfo
from excite.serving.callers import Callers
from excite.serving.drift import Drift
from excite.serving.images import Answer
from excite.system.text import printable
from excite.version import __version__

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with which the processes of a service share their metrics, through a folder."""
Mode = Literal["livesum", "livemostrecent"]  # how the gauges of several processes become one
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of a process, or together with others of all processes of the service.

    Args:
        info: of the classifier.
        callers: whose queue is shown.
    """

    def __init__(self, info: BundleInfo, callers: Callers) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.drift = Drift(info.classes, info.reference, task=info.task)
        self._labels = {name: printable(name) for name in info.classes}
        registry = self.registry
        self.requests = Counter("excite_requests", "Requests by outcome.", ["outcome"], registry=registry)
        self.seconds = Histogram(
            "excite_request_seconds",
            "Time from the headers of a request to its answer.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self.decoding = Histogram(
            "excite_decoding_seconds", "Time to decode an image.", registry=registry, buckets=_BUCKETS
        )
        self.network = Histogram(
            "excite_network_seconds", "Time of the network for an image.", registry=registry, buckets=_BUCKETS
        )
        self.predictions = Counter(
            "excite_predictions", "Images by predicted class.", ["class"], registry=registry
        )
        self.abstentions = Counter(
            "excite_abstentions", "Images for which the classifier abstained.", registry=registry
        )
        self._add_queue(callers)
        self._add_drift()
        facts = Gauge(
            "excite_model_info",
            "The classifier, and the version of excite; always 1.",
            ["name", "classes", "version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        facts.labels(printable(info.name), str(len(info.classes)), __version__).set(1)
        if FOLDER not in os.environ:
            ProcessCollector(registry=registry)

    def _gauge(self, name: str, help: str, mode: Mode, labels: tuple[str, ...] = ()) -> Any:
        return Gauge(name, help, labels, registry=self.registry, multiprocess_mode=mode)

    def _add_queue(self, callers: Callers) -> None:
        self._callers = callers
        self.waiting = self._gauge("excite_queue_images", "Images that wait for a caller.", "livesum")
        self.computing = self._gauge("excite_callers_busy", "Callers that compute.", "livesum")
        self._gauge("excite_queue_places", "Images that may wait.", "livesum").set(callers.places)
        self._gauge("excite_callers", "Images computed at the same time.", "livesum").set(callers.count)

    def _add_drift(self) -> None:
        mode: Mode = "livemostrecent"
        drift = self.drift
        self.window = self._gauge("excite_window_images", "Last images, for the gauges below.", mode)
        self.confidence = self._gauge(
            "excite_confidence", "Mean highest probability of the last images.", mode
        )
        self.confidence_difference = self._gauge(
            "excite_confidence_difference", "Of the mean from that of the validation images.", mode
        )
        self.fraction = self._gauge(
            "excite_class_fraction", "Fraction of a class among the last predictions.", mode, ("class",)
        )
        self.class_distance = self._gauge("excite_class_distance", drift.distance_text, mode)
        if drift.reference is None:
            return
        self._gauge(
            "excite_validation_confidence", "Mean highest probability of the validation images.", mode
        ).set(drift.reference["confidence"])
        fractions = self._gauge(
            "excite_validation_class_fraction",
            "Fraction of a class among the validation's predictions.",
            mode,
            ("class",),
        )
        for name, value in zip(drift.classes, drift.reference["class_fractions"], strict=True):
            fractions.labels(self._labels[name]).set(value)

    def add_answer(self, answer: Answer) -> None:
        """Count a classified image."""
        prediction = answer.prediction
        names = (prediction.label,) if prediction.labels is None else prediction.labels
        for name in names:
            self.predictions.labels(self._labels[name]).inc()
        if prediction.abstained:
            self.abstentions.inc()
        self.decoding.observe(answer.seconds[0])
        self.network.observe(answer.seconds[1])
        self.drift.add(names, max(prediction.probabilities.values()))

    def add_request(self, outcome: str, seconds: float) -> None:
        """Count a finished request."""
        self.requests.labels(outcome).inc()
        self.seconds.observe(seconds)

    def render(self) -> bytes:
        """The text format of Prometheus, for all processes of the service."""
        self._refresh()
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _refresh(self) -> None:
        drift = self.drift
        self.waiting.set(self._callers.waiting)
        self.computing.set(self._callers.computing)
        self.window.set(len(drift))
        if not len(drift):
            return
        self.confidence.set(drift.confidence)
        for name, value in zip(drift.classes, drift.fractions, strict=True):
            self.fraction.labels(self._labels[name]).set(value)
        if drift.reference is not None:
            self.confidence_difference.set(drift.confidence_difference)
            self.class_distance.set(drift.class_distance)
