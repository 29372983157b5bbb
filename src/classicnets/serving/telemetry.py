"""`Telemetry`: what a server counts, in the format of Prometheus. No image and no name of a client is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from classicnets.serving.models import Served

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Telemetry:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "classicnets_requests", "Requests, by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "classicnets_request_seconds", "Time from the first byte to the answer.", ["route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.images = Counter(
            "classicnets_images", "Images that were answered, by model and class.", ["model", "label"],
            registry=self.registry,
        )  # fmt: skip
        self.bad = Counter(
            "classicnets_bad_images", "Images that could not be read.", ["model"], registry=self.registry
        )
        self.unlike = Counter(
            "classicnets_unlike_training", "Images unlike the training images.", ["model"], registry=self.registry
        )
        self.drift = Gauge(
            "classicnets_drift_evidence",
            "Log10 of the evidence that images do not look like the validation images; an alarm is at 2.",
            ["model"], registry=self.registry,
        )  # fmt: skip
        self.alarm = Gauge(
            "classicnets_drift_alarm",
            "1 if images do not look like the validation images; without drift, it is 1 in at most 1 % of the windows "
            "of 10,000 images.",
            ["model"], registry=self.registry,
        )  # fmt: skip
        self.inside = Gauge("classicnets_inside", "Requests that are computed or wait.", registry=self.registry)
        self.loads = Counter(
            "classicnets_model_loads", "Times that a model was loaded.", ["model"], registry=self.registry
        )

    def text(self, models: Iterable[Served]) -> bytes:
        """Return all of it as Prometheus reads it, with what the models' drift tests say now."""
        self.drift.clear()
        self.alarm.clear()
        for served in models:
            if served.drift is not None:
                state = served.drift.state()
                self.drift.labels(served.name).set(state.evidence)
                self.alarm.labels(served.name).set(state.alarm)
        return generate_latest(self.registry)
