"""For the tests of programs that build on notifyd: a whole server in the test, clients that hide nothing,
and a network that misbehaves. On real sockets and in real time:

    async with open_test_server() as server, open_proxy(server.url) as proxy:
        proxy.to_client.latency_s = 0.2
        async with open_client(proxy.url, server.token("ann")) as client: ...

or with everything in one seed's hand, in virtual time: `run_simulation(story, seed=7)`. The fakes of
`clients` work in both. Nothing in notifyd imports this.
"""

from __future__ import annotations

from notifyd.testing.clients import (
    FakeClient,
    FakeSse,
    FakeWebSocket,
    Received,
    Refused,
    connect_fake,
    open_fake,
)
from notifyd.testing.http import Answer, Ended, call, dial_url
from notifyd.testing.network import MemoryNetwork, MemoryStream
from notifyd.testing.pipes import Weather
from notifyd.testing.proxy import Link, Proxy, open_proxy
from notifyd.testing.server import TestServer, open_test_server
from notifyd.testing.simulation import Simulation, Trace, run_simulation

__all__ = [
    "Answer",
    "Ended",
    "FakeClient",
    "FakeSse",
    "FakeWebSocket",
    "Link",
    "MemoryNetwork",
    "MemoryStream",
    "Proxy",
    "Received",
    "Refused",
    "Simulation",
    "TestServer",
    "Trace",
    "Weather",
    "call",
    "connect_fake",
    "dial_url",
    "open_fake",
    "open_proxy",
    "open_test_server",
    "run_simulation",
]
