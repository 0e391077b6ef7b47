"""Prometheus metrics, in a registry that belongs to one server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Prometheus text exposition format, version 0.0.4.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class Metrics:
    """Counters of the HTTP API, and the server's statistics as gauges."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "notifyd_http_requests",
            "HTTP requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )

    def answered(self, method: str, route: str, status: int) -> None:
        """Count one answer; `route` is the pattern, so that nothing a client invents makes a new series."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()

    def render(self, statistics: Mapping[str, Any]) -> bytes:
        """Everything in Prometheus' text format."""
        gauges = CollectorRegistry()
        gauges.register(_Gauges(statistics))
        return generate_latest(self.registry) + generate_latest(gauges)


class _Gauges(Collector):
    def __init__(self, statistics: Mapping[str, Any]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, value in _numbers("notifyd", self._statistics):
            yield GaugeMetricFamily(name, "See /v1/stats", value=value)


def _numbers(prefix: str, statistics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in statistics.items():
        name = f"{prefix}_{_NOT_IN_NAMES.sub('_', key)}"
        if isinstance(value, list):
            value = {str(index): each for index, each in enumerate(value)}
        if isinstance(value, dict):
            yield from _numbers(name, value)
        elif isinstance(value, bool | int | float):
            yield name, float(value)
