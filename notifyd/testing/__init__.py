"""For the tests of programs that build on notifyd: a whole server in the test, and a network that misbehaves.

    async with open_test_server() as server, open_proxy(server.url) as proxy:
        proxy.to_client.latency_s = 0.2
        async with open_client(proxy.url, server.token("ann")) as client: ...

`server` runs notifyd in this process on a free port; `proxy` is a TCP proxy with faults. Nothing in notifyd
imports this.
"""

from __future__ import annotations

from notifyd.testing.proxy import Link, Proxy, open_proxy
from notifyd.testing.server import TestServer, open_test_server

__all__ = ["Link", "Proxy", "TestServer", "open_proxy", "open_test_server"]
