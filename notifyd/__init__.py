"""notifyd: a notification server with one durable log, one cursor and any transport.

    service     puts the parts together: who owns whom, and in which order they stop
    transport   sockets: the front door, WebSocket, SSE, heartbeat, and Hypercorn behind the door
    api         the HTTP API (Quart-Trio)            checker   finds the deals
    inbox       appends to the log, reads it         broker    its newest entries in memory, and who listens
    keys        who may do what                      store     the database
    session, messages, auth, config                  pure: no I/O, no clock, no Trio
    client, publisher                                for programs that talk to a server
    testing                                          for the tests of such programs

Dependencies point down this list only. `async with open_service(config)` runs a server in a program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifyd.client import open_client
    from notifyd.config import Config, load_config
    from notifyd.messages import custom, deal_notification, job_completed, system_message
    from notifyd.publisher import open_publisher
    from notifyd.service import Service, open_service

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Service",
    "custom",
    "deal_notification",
    "job_completed",
    "load_config",
    "open_client",
    "open_publisher",
    "open_service",
    "system_message",
]

_HOMES = {
    "Config": "config",
    "Service": "service",
    "custom": "messages",
    "deal_notification": "messages",
    "job_completed": "messages",
    "load_config": "config",
    "open_client": "client",
    "open_publisher": "publisher",
    "open_service": "service",
    "system_message": "messages",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used, so that `notifyd --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'notifyd' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"notifyd.{_HOMES[name]}"), name)
