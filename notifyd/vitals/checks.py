"""What the server asks of itself while it runs, and what that says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from notifyd.vitals.canary import Canary
from notifyd.vitals.loop_lag import LoopLag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.broker.memory import Broker
    from notifyd.inbox import Inbox
    from notifyd.jobs import Jobs
    from notifyd.meters import Histogram


class Checks:
    """The loop's lag and, unless `canary_s` is 0, the canary."""

    def __init__(self, inbox: Inbox, broker: Broker, canary_s: float) -> None:
        self.loop_lag = LoopLag()
        self.canary = Canary(inbox, broker, canary_s) if canary_s else None
        self._inbox = inbox
        self._broker = broker

    def start(self, jobs: Jobs) -> None:
        jobs.start("loop-lag", self.loop_lag.run)
        if self.canary is not None:
            jobs.start("canary", self.canary.run)

    def reasons(self) -> Sequence[str]:
        """Why the server is not ready."""
        late = None if self.canary is None else self.canary.late()
        failed = "the database failed to commit" if self._inbox.failed else None
        return [reason for reason in (late, failed) if reason is not None]

    def statistics(self) -> dict[str, Any]:
        """For people; `/metrics` has the whole distributions."""
        spread = self._inbox.distributions()
        ways = {
            "commit": spread.commit,
            "commit_to_written": self._broker.commit_to_written,
            "commit_to_acknowledged": spread.acknowledged,
        }
        if self.canary is not None:
            ways["canary"] = self.canary.round_trip
        lag, now = self.loop_lag, trio.current_time()
        return {
            "loop": _summary(lag.seconds)
            | {"recent_max_ms": _ms(lag.longest(now)), "now_max_ms": _ms(lag.longest_now(now))},
            "latency": {name: _summary(histogram) for name, histogram in ways.items()},
            "canary": None
            if self.canary is None
            else {"waiting_s": round(self.canary.waiting_s(), 1), "failures": self.canary.failures},
        }


def _summary(histogram: Histogram) -> dict[str, float]:
    return {
        "count": histogram.total,
        "p50_ms": _ms(histogram.quantile(0.5)),
        "p99_ms": _ms(histogram.quantile(0.99)),
        "max_ms": _ms(histogram.largest),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
