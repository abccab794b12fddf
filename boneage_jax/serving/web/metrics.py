"""Counts and times for Prometheus, without names, addresses or anything of a radiograph."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120)
_BATCHES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Of one server.

    Attributes:
      requests: by method, route and status.
      seconds: from a request's first byte to its answer's last, by route.
      refused: requests that got a problem, by its kind.
      upload_bytes: of forms with radiographs.
      radiographs: that were answered, by the status of their records.
      batches: numbers of radiographs that were read together.
    """

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        of = self._registry
        self.requests = Counter("boneage_http_requests", "Requests.", ["method", "route", "status"], registry=of)
        self.seconds = Histogram(
            "boneage_http_request_seconds", "Time for a request.", ["route"], buckets=_SECONDS, registry=of
        )
        self.refused = Counter("boneage_refused", "Requests that got a problem, by its kind.", ["kind"], registry=of)
        self.upload_bytes = Counter("boneage_upload_bytes", "Bytes of forms with radiographs.", registry=of)
        self.radiographs = Counter("boneage_radiographs", "Radiographs answered.", ["status"], registry=of)
        self.batches = Histogram(
            "boneage_batch_radiographs", "Radiographs read together.", buckets=_BATCHES, registry=of
        )

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Adds a number that is asked for each time."""
        Gauge(name, help, registry=self._registry).set_function(value)

    def answered(self, status: str) -> int:
        """Returns how many radiographs were answered with a status."""
        return int(self._registry.get_sample_value("boneage_radiographs_total", {"status": status}) or 0)

    def text(self) -> bytes:
        """Returns all of them in Prometheus's text format."""
        return generate_latest(self._registry)
