"""A Python client: one user's messages, each log entry once, whatever happens to the connection.

    async with open_client("https://notify.example", token) as client:
        async for message in client:
            ...

`policy` decides when and how to come back and what was already seen, `renewal` when a fresh token is due,
`events` reads SSE (all pure); `dial` opens byte streams, `http` asks on one. `talk` is one connection,
`conversation` over WebSocket and `streaming` over SSE; `core` the client over all of them, `opening` its
nursery. Imports only messages, errors and the publisher, so it can be used without the server. To publish:

    async with open_publisher("https://notify.example", key) as publisher:
        await publisher.publish(system_message("Hello"), user_id="7")
"""

from __future__ import annotations

from notifyd.client.core import Client, Status
from notifyd.client.opening import open_client
from notifyd.client.policy import ServerRefused
from notifyd.publisher import Publisher, open_publisher

__all__ = ["Client", "Publisher", "ServerRefused", "Status", "open_client", "open_publisher"]
