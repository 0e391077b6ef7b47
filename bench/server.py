"""notifyd as its own process on one core, and how to speak to it."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from notifyd.auth import mint_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVER_CORE = 0
LOAD_CORE = 1


def pin_load() -> None:
    """Keep this process off the server's core, where there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})


def _pin_server() -> None:
    if os.cpu_count() != 1:
        os.sched_setaffinity(0, {SERVER_CORE})


def _unpin_server() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


@contextlib.contextmanager
def on_server_core(
    *command: str, env: dict[str, str] | None = None, pinned: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on the server's core while the block lasts, or on whichever it likes."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env,
        preexec_fn=_pin_server if pinned else _unpin_server,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


class Place(NamedTuple):
    """What a server finds again when it is started anew: its database, and its keys."""

    folder: str
    secret: str
    key: str
    admin_key: str


@contextlib.contextmanager
def new_place() -> Iterator[Place]:
    """A place of its own, as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        yield Place(folder, secrets.token_hex(32), secrets.token_hex(16), secrets.token_hex(16))


class Notifyd:
    """A running server, and its keys."""

    def __init__(self, address: tuple[str, int], place: Place, process: subprocess.Popen[bytes]) -> None:
        self.address = address
        self.process = process
        self.pid = process.pid
        self._secret = place.secret
        self.publish_key = place.key
        self._admin_key = place.admin_key

    def token(self, user_id: str) -> str:
        return mint_token(self._secret, user_id, now_ms=round(time.time() * 1000), ttl_s=3600)

    def metric(self, name: str) -> float:
        """A figure of `/metrics` that has no labels."""
        lines = self.call("GET", "/metrics", key=self._admin_key).decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def call(self, method: str, path: str, body: bytes | None = None, *, key: str = "") -> bytes:
        """The body of an answer, asked for on a connection of its own. Raises RuntimeError for a refusal."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {"Authorization": f"Bearer {key or self.publish_key}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path} failed: {data[:300]!r}")
        return data

    def publish_request(self, body: bytes) -> bytes:
        """`POST /v1/notifications` as bytes on a kept connection."""
        host, port = self.address
        head = (
            f"POST /v1/notifications HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Authorization: Bearer {self.publish_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@contextlib.contextmanager
def notifyd(
    place: Place | None = None,
    *,
    program: tuple[str, ...] = ("-m", "notifyd", "serve"),
    pinned: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Notifyd]:
    """A server on a free port, pinned to its core, with fsync and all; in a place of its own without one.

    `settings`: variables of its environment besides.
    """
    with contextlib.ExitStack() as stack:
        place = place or stack.enter_context(new_place())
        env = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")}
        env |= {
            "NOTIFYD_LISTEN": "127.0.0.1:0",
            "NOTIFYD_DATABASE_URL": f"sqlite:///{place.folder}/bench.db",
            "NOTIFYD_JWT_SECRET": place.secret,
            "NOTIFYD_PUBLISH_KEYS": place.key,
            "NOTIFYD_ADMIN_KEYS": place.admin_key,
            "NOTIFYD_MAX_CONNECTIONS_PER_USER": "100000",
            "NOTIFYD_PUBLISH_RATE": "0",
            "NOTIFYD_DRAIN_SECONDS": "0",
            "NOTIFYD_LOG_LEVEL": "error",
            **(settings or {}),
        }
        process = stack.enter_context(on_server_core(sys.executable, *program, env=env, pinned=pinned))
        assert process.stdout is not None
        host, _, port = process.stdout.readline().decode().split("//")[1].strip().rpartition(":")
        yield Notifyd((host, int(port)), place, process)
