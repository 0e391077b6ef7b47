"""Prometheus metrics, in a registry that belongs to one server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

#: Prometheus text exposition format, version 0.0.4.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


class Metrics:
    """The HTTP API's own counts, the process's, and what other parts of the server `add`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = _Requests()
        self.registry.register(self._requests)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def add(self, collector: Collector) -> None:
        """Show what `collector` gives, too."""
        self.registry.register(collector)

    def answered(self, method: str, route: str, status: int) -> None:
        """Count one answer; `route` is the pattern, so that nothing a client invents makes a new series."""
        self._requests.counts[method if method in _METHODS else "other", route, str(status)] += 1

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _Requests(Collector):
    """Counted without a lock, since only the event loop does."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def collect(self) -> Iterable[Metric]:
        labels = ("method", "route", "status")
        family = CounterMetricFamily("notifyd_http_requests", "HTTP requests answered.", labels=labels)
        for values, count in self.counts.items():
            family.add_metric(values, count)
        yield family
