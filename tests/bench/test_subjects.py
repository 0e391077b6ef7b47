"""notifyd's messages are as long as those of the servers that it is measured against."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bench.subjects import NOTIFYD, NOTIFYD_SSE, SIZE, broadcast_body

if TYPE_CHECKING:
    from bench.subjects import Running, Subject


@pytest.mark.parametrize("subject", [NOTIFYD, NOTIFYD_SSE], ids=lambda subject: subject.name)
def test_a_message_is_as_long_as_a_peers(subject: Subject) -> None:
    with subject.start() as server:
        assert abs(len(_message(server)) - SIZE) <= 2


def _message(server: Running) -> bytes:
    """The first message that a client is sent: from its first brace to its last."""
    (request, ready) = server.steps[0]
    with socket.create_connection(("127.0.0.1", server.client_port), timeout=10) as client:
        client.sendall(request)
        heard = b""
        while ready not in heard or not heard.rstrip().endswith(b"}"):
            heard += client.recv(4096)
        assert server.notifyd is not None
        server.notifyd.call("POST", "/v1/notifications", broadcast_body())
        heard = b""
        while b"x-bench" not in heard or not heard.rstrip().endswith(b"}"):
            heard += client.recv(4096)
    return heard[heard.index(b"{") :].rstrip()
