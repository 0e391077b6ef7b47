"""notifyd as its own process on one core, and a publisher on a kept connection."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from notifyd.auth import mint_token

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_CORE = 0
LOAD_CORE = 1


def pin_load() -> None:
    """Keep this process off the server's core, where there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})


def _pin_server() -> None:
    if os.cpu_count() != 1:
        os.sched_setaffinity(0, {SERVER_CORE})


@contextlib.contextmanager
def on_server_core(*command: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on the server's core while the block lasts."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, preexec_fn=_pin_server
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


class Notifyd:
    """A running server with a database of its own, and its keys."""

    def __init__(self, address: tuple[str, int], secret: str, key: str, pid: int) -> None:
        self.address = address
        self.pid = pid
        self._secret = secret
        self.publish_key = key
        self._publisher = socket.create_connection(address)
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def token(self, user_id: str) -> str:
        return mint_token(self._secret, user_id, now_ms=round(time.time() * 1000), ttl_s=3600)

    def publish_request(self, body: bytes) -> bytes:
        """`POST /v1/notifications` as bytes on a kept connection."""
        host, port = self.address
        head = (
            f"POST /v1/notifications HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Authorization: Bearer {self.publish_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def send_publish(self, body: bytes) -> None:
        """Begin `POST /v1/notifications`."""
        self._publisher.sendall(self.publish_request(body))

    def read_answer(self) -> None:
        """Wait for its 201. Raises RuntimeError for any other answer."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._publisher.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(body) < length:
            body += self._publisher.recv(65536)
        if not head.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(f"publishing failed: {body[:300]!r}")


def broadcast_body(text: str, times: int = 1) -> bytes:
    """A publish of `times` announcements."""
    one = {"broadcast": True, "type": "x-bench", "data": {"text": text}}
    return json.dumps(one if times == 1 else {"notifications": [one] * times}).encode()


@contextlib.contextmanager
def notifyd() -> Iterator[Notifyd]:
    """A server on a free port, pinned to its core, with fsync and all."""
    secret, key = secrets.token_hex(32), secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        env = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")}
        env |= {
            "NOTIFYD_LISTEN": "127.0.0.1:0",
            "NOTIFYD_DATABASE_URL": f"sqlite:///{folder}/bench.db",
            "NOTIFYD_JWT_SECRET": secret,
            "NOTIFYD_PUBLISH_KEYS": key,
            "NOTIFYD_MAX_CONNECTIONS_PER_USER": "100000",
            "NOTIFYD_DRAIN_SECONDS": "0",
            "NOTIFYD_LOG_LEVEL": "error",
        }
        with on_server_core(sys.executable, "-m", "notifyd", "serve", env=env) as process:
            assert process.stdout is not None
            host, _, port = process.stdout.readline().decode().split("//")[1].strip().rpartition(":")
            yield Notifyd((host, int(port)), secret, key, process.pid)
