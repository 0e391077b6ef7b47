"""What `/metrics` says of the server, gathered when it is asked. docs/operations.md has the same table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from notifyd import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from prometheus_client import Metric

    from notifyd.broker.memory import Broker
    from notifyd.inbox import Inbox, Mover
    from notifyd.jobs import Jobs
    from notifyd.meters import Histogram
    from notifyd.store.sql import SqlStore
    from notifyd.transport.door import Door
    from notifyd.transport.registry import Connections
    from notifyd.vitals.checks import Checks

    #: Label values and a number, as often as there are series.
    Series: TypeAlias = Mapping[Any, float]

_ALONE: Final[tuple[str, ...]] = ()


class Outbox(Protocol):
    """What is asked of the mailer, which this module may not import."""

    def waiting(self) -> Mapping[tuple[str, str], int]: ...
    def outcomes(self) -> Mapping[tuple[str, str], int]: ...


class ServerCollector(Collector):
    """Reads the parts of one server; they count for themselves."""

    def __init__(
        self,
        connections: Connections,
        doors: Sequence[Door],
        broker: Broker,
        inbox: Inbox,
        store: SqlStore,
        jobs: Jobs,
        checks: Checks,
        mover: Mover | None,  # None: applications cannot publish by SQL
        outbox: Outbox,
    ) -> None:
        self._connections = connections
        self._doors = doors
        self._broker = broker
        self._inbox = inbox
        self._store = store
        self._jobs = jobs
        self._checks = checks
        self._mover = mover
        self._outbox = outbox

    def collect(self) -> Iterable[Metric]:
        yield _gauge("build_info", "Always 1; the version that runs.", ("version",), {(__version__,): 1})
        yield from self._of_connections()
        yield from self._of_doors()
        yield from self._of_inbox()
        yield from self._of_outgoing()
        yield from self._of_broker()
        yield from self._of_outbox()
        yield from self._of_loop()

    def _of_connections(self) -> Iterator[Metric]:
        now = self._connections.statistics()
        tally = self._connections.tally
        by_transport = {("websocket",): now.websocket, ("sse",): now.sse}
        yield _gauge("connections", "Live connections.", ("transport",), by_transport)
        yield _gauge("connected_users", "Users with at least one live connection.", now.users)
        yield _gauge(
            "connections_unauthenticated",
            "Connections that have yet to say who they are.",
            now.unauthenticated,
        )
        yield _gauge(
            "connections_catching_up", "Connections whose client or position lags behind.", now.catching_up
        )
        yield _gauge("connections_queued_bytes", "Bytes that wait for slow clients.", now.queued_bytes)
        sent = {(name,): count for name, count in self._connections.sent_bytes().items()}
        yield _counter("connection_sent_bytes", "Bytes given to the kernel.", ("transport",), sent)
        yield _counter(
            "connection_closes",
            "Connections that have ended, by close code; 1006 where no Close came.",
            ("transport", "code"),
            tally.closes,
        )
        yield _counter(
            "connections_refused",
            "Clients that were turned away.",
            ("transport", "reason"),
            tally.refusals.counts,
        )

    def _of_doors(self) -> Iterator[Metric]:
        binds = dict(zip(("main", "operator"), (door.statistics() for door in self._doors), strict=False))
        states: dict[tuple[str, ...], float] = {}
        for bind, now in binds.items():
            states |= {
                (bind, "http_idle"): now.http_idle,
                (bind, "http_busy"): now.http_busy,
                (bind, "other"): now.open - now.http_idle - now.http_busy,
            }
        yield _gauge("door_sockets", "Open sockets, by what they do.", ("bind", "state"), states)
        for name, text in (
            ("accepted", "Sockets accepted."),
            ("refused", "Sockets turned away because there was no room."),
            ("faults", "Sockets that a defect of the server has ended."),
        ):
            values = {(bind,): getattr(now, name) for bind, now in binds.items()}
            yield _counter(f"door_{name}", text, ("bind",), values)

    def _of_inbox(self) -> Iterator[Metric]:
        now, spread = self._inbox.statistics(), self._inbox.distributions()
        yield _counter("publishes", "Publications stored, each counted once.", now.publications)
        yield _counter("rows", "Rows appended to the log.", now.rows)
        yield _counter("rows_trimmed", "Rows that retention has deleted.", now.trimmed)
        yield _counter("commits", "Transactions committed.", now.commits)
        yield _counter("store_reads", "Reads of the database, each in a snapshot.", self._store.reads)
        yield _counter("commits_failed", "Transactions rolled back or lost.", now.failed_groups)
        yield _gauge("writes_queued", "Writes that wait for a transaction.", now.queued)
        yield _gauge("writes_queue_limit", "Writes that may wait; more are refused.", now.queue_size)
        yield _counter("writes_refused", "Writes answered 503 and not done.", now.refused)
        yield _counter("writes_unknown", "Writes whose outcome was not known in time.", now.unknown)
        yield _counter("writes_run_alone", "Writes repeated alone after their group failed.", now.run_alone)
        yield _gauge("acks_pending", "Users whose acknowledgement waits to be written.", now.pending_acks)
        yield _histogram("commit_group_writes", "Writes that shared one commit.", spread.group_sizes)
        yield _histogram(
            "commit_duration_seconds", "One transaction, from its begin to its fsync.", spread.commit
        )
        yield _histogram(
            "commit_to_written_seconds",
            "From a commit until the last connection that it concerns was visited.",
            self._broker.commit_to_written,
        )
        yield _histogram(
            "commit_to_acknowledged_seconds",
            "From a commit to a client's acknowledgement; at most one sample a user and second.",
            spread.acknowledged,
        )

    def _of_outgoing(self) -> Iterator[Metric]:
        counts = None if self._mover is None else self._mover.counts
        for name, text in (
            ("waiting", "Rows published by SQL that are not in the log yet; PostgreSQL only."),
            ("rejected", "Rows published by SQL that cannot be notifications; PostgreSQL only."),
        ):
            found = {} if counts is None else {_ALONE: getattr(counts, name)}
            yield _gauge(f"outgoing_{name}", text, _ALONE, found)

    def _of_broker(self) -> Iterator[Metric]:
        now = self._broker.statistics()
        yield _counter(
            "deliveries",
            "Entries put on connections: live, or replayed to those that came or lagged.",
            ("path",),
            {("live",): now.delivered, ("replay",): now.replayed},
        )
        yield _gauge("window_entries", "Entries of the log in memory.", now.window_entries)
        yield _gauge("window_size_bytes", "What the window counts for them.", now.window_bytes)
        yield _gauge("window_floor_seq", "Everything after this seq is in memory.", now.window_floor)
        yield _gauge("window_head_seq", "The newest seq.", now.window_head)
        yield _gauge("dispatched_seq", "Everyone has been offered all up to this seq.", now.settled)

    def _of_outbox(self) -> Iterator[Metric]:
        depth = self._outbox.waiting()
        yield _gauge(
            "outbox_messages",
            "Mails and webhook calls that wait to be sent, and dead letters; some seconds old.",
            ("status", "channel"),
            depth,
        )
        yield _counter(
            "outbox_outcomes",
            "What came of tries to send: sent, retried later, dead, dropped as no longer wanted.",
            ("channel", "outcome"),
            self._outbox.outcomes(),
        )

    def _of_loop(self) -> Iterator[Metric]:
        yield _histogram("loop_lag_seconds", "How late the event loop is.", self._checks.loop_lag.seconds)
        longest = self._checks.loop_lag.longest(trio.current_time())
        yield _gauge("loop_lag_max_seconds", "The longest lag of the last minute or two.", longest)
        canary = self._checks.canary
        yield _histogram(
            "canary_round_trip_seconds",
            "The server's own notification, from append to receipt.",
            None if canary is None else canary.round_trip,
        )
        waiting = {} if canary is None else {_ALONE: canary.waiting_s()}
        yield _gauge(
            "canary_waiting_seconds", "How long it has been missing; 0 when it came back.", (), waiting
        )
        failures = {} if canary is None else {_ALONE: canary.failures}
        yield _counter("canary_failures", "Tries that did not come back.", (), failures)
        jobs = self._jobs.statistics()
        up = {(job.name,): float(job.seconds_down == 0) for job in jobs}
        yield _gauge("job_up", "1 while the job works, 0 while it is down.", ("job",), up)
        restarts = {(job.name,): job.restarts for job in jobs}
        yield _counter("job_restarts", "Crashes of the job.", ("job",), restarts)


def _gauge(name: str, text: str, labels: Any, series: Series | None = None) -> Metric:
    """`labels` is the number itself when there are none."""
    return _filled(GaugeMetricFamily, name, text, labels, series)


def _counter(name: str, text: str, labels: Any, series: Series | None = None) -> Metric:
    return _filled(CounterMetricFamily, name, text, labels, series)


def _filled(kind: Any, name: str, text: str, labels: Any, series: Series | None) -> Metric:
    if series is None:
        labels, series = _ALONE, {_ALONE: labels}
    family: Any = kind(f"notifyd_{name}", text, labels=labels)
    for values, number in series.items():
        family.add_metric(values, number)
    result: Metric = family
    return result


def _histogram(name: str, text: str, histogram: Histogram | None) -> Metric:
    family = HistogramMetricFamily(f"notifyd_{name}", text)
    if histogram is not None:
        bounds = [*map(str, map(float, histogram.bounds)), "+Inf"]
        buckets = [(bound, float(count)) for bound, count in zip(bounds, histogram.cumulative(), strict=True)]
        family.add_metric((), buckets, histogram.sum)
    return family
