"""What many connections would take, from what one of each thing took. Pure."""

from __future__ import annotations

from typing import NamedTuple

#: A processor that is busier than this has no room for a moment with more to do.
BUSY = 0.5
#: A WebSocket gets a Ping frame and a `ping` message every 30 seconds and answers both.
HEARTBEAT_S = 30.0
#: What a user's page is told, and what everyone is told, in the example.
OWN_A_MINUTE = 1.0
BROADCASTS_A_MINUTE = 1.0
#: Descriptors of a process are limited; 20,000 where this was measured.
CONNECTIONS_OF_PROCESS = 19_000


class Costs(NamedTuple):
    """Measured: processor time in seconds, the kernel's included, and bytes."""

    delivery_s: float
    heartbeat_s: float
    own_notification_s: float  # published in batches, stored and delivered
    publish_s: float  # one call over HTTP
    process_bytes: float
    kernel_bytes: float  # the server's end


class Needs(NamedTuple):
    """Cores' worth of work, and gigabytes."""

    heartbeat_cores: float
    own_cores: float
    single_cores: float  # the same notifications, each by a call of its own
    broadcast_cores: float
    process_gb: float
    kernel_gb: float
    broadcast_s: float  # of one core, for one broadcast to everyone

    @property
    def busy_cores(self) -> float:
        return self.heartbeat_cores + self.own_cores + self.broadcast_cores

    @property
    def cores(self) -> float:
        """With room left."""
        return self.busy_cores / BUSY


def needs(connections: int, costs: Costs) -> Needs:
    """What so many take, each getting OWN_A_MINUTE and BROADCASTS_A_MINUTE."""
    broadcast_s = connections * costs.delivery_s + costs.publish_s
    return Needs(
        heartbeat_cores=connections * costs.heartbeat_s / HEARTBEAT_S,
        own_cores=connections * OWN_A_MINUTE / 60 * costs.own_notification_s,
        single_cores=connections * OWN_A_MINUTE / 60 * costs.publish_s,
        broadcast_cores=BROADCASTS_A_MINUTE / 60 * broadcast_s,
        process_gb=connections * costs.process_bytes / 1e9,
        kernel_gb=connections * costs.kernel_bytes / 1e9,
        broadcast_s=broadcast_s,
    )
