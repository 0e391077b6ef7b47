"""What is measured: notifyd by either transport, and the peers, all started and spoken to alike."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import LoadFailed
from bench.peers import MARK, PEERS
from bench.server import notifyd, on_server_core
from notifyd.inbox.preparing import new_notification_id
from notifyd.messages import Cursor, custom, encode_entry, prepare

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from bench.load import Load
    from bench.peers import Peer
    from bench.server import Notifyd

#: Bytes of a peer's payload. notifyd's message has its envelope around a shorter text, and is as long.
SIZE = 200
#: Characters of the name of a log.
EPOCH = 16


@dataclass(frozen=True)
class Running:
    """A server that is up. `publish(times)` is what asks for so many broadcasts in one go."""

    pid: int
    client_port: int
    publish_port: int
    steps: tuple[tuple[bytes, bytes], ...]
    publish: Callable[[int], bytes]
    answers: Callable[[int], bool]
    notifyd: Notifyd | None = None

    def connect(self, load: Load, count: int, *, in_flight: int = 256) -> None:
        """Have `count` clients connected, and a publisher. Raises LoadFailed when one was refused."""
        opened = load.open(count, self.client_port, self.steps, in_flight=in_flight)
        if opened.refused:
            raise LoadFailed(f"{opened.refused} of {count} clients were refused")

    def prepare(self, load: Load, times: int = 1) -> None:
        """Let a run's publishes ask for `times` broadcasts each."""
        load.publisher(self.publish_port, [self.publish(times)], answered=self.answers(times))


@dataclass(frozen=True)
class Subject:
    """One server; `missing` says why it cannot run here, or None."""

    name: str
    kind: str  # websocket or sse
    start: Callable[[], contextlib.AbstractContextManager[Running]]
    version: Callable[[], str]
    missing: Callable[[], str | None]


def text(size: int = SIZE) -> str:
    """What makes a message of notifyd `size` bytes long, its mark last."""
    return "x" * (size - envelope() - 1) + MARK.decode()


@functools.cache
def envelope() -> int:
    """Bytes of a message around the text: type, timestamp, cursor, notification_id.

    With three digits in the cursor's number: a run goes through one to four.
    """
    data = prepare(custom("x-bench", {"text": ""}), notification_id=new_notification_id(0), user_id=None)
    return len(encode_entry("x-bench", data, 0, Cursor("0" * EPOCH, 100)))


def broadcast_body(times: int = 1, size: int = SIZE) -> bytes:
    """A publish of `times` announcements."""
    one = {"broadcast": True, "type": "x-bench", "data": {"text": text(size)}}
    return json.dumps(one if times == 1 else {"notifications": [one] * times}).encode()


@contextlib.contextmanager
def _notifyd(kind: str) -> Iterator[Running]:
    with notifyd() as server:
        host, port = server.address
        token = server.token("crowd")
        lines = ["GET /events HTTP/1.1", f"Host: {host}:{port}", "Accept: text/event-stream"]
        if kind == "websocket":
            lines = [
                "GET /ws HTTP/1.1",
                f"Host: {host}:{port}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455 section 1.3
                "Sec-WebSocket-Version: 13",
            ]
        request = "\r\n".join([*lines, f"Authorization: Bearer {token}", "", ""]).encode()
        yield Running(
            pid=server.pid,
            client_port=port,
            publish_port=port,
            steps=((request, b"connection-established"),),
            publish=lambda times: server.publish_request(broadcast_body(times)),
            answers=lambda times: True,
            notifyd=server,
        )


@contextlib.contextmanager
def _peer(peer: Peer) -> Iterator[Running]:
    with (
        tempfile.TemporaryDirectory() as folder,
        on_server_core(*peer.command(Path(folder), SIZE)) as process,
    ):
        client_port, publish_port = _ports(process, peer)
        yield Running(
            pid=process.pid,
            client_port=client_port,
            publish_port=publish_port,
            steps=peer.steps,
            publish=lambda times: peer.publish(SIZE) * times,
            answers=lambda times: peer.answered,
        )


def _ports(process: subprocess.Popen[bytes], peer: Peer) -> tuple[int, int]:
    assert process.stdout is not None
    line = process.stdout.readline().split()
    if len(line) != 3 or line[0] != b"READY":
        raise LoadFailed(f"{peer.name} did not start")
    return int(line[1]), int(line[2])


def _of_notifyd(name: str, kind: str) -> Subject:
    return Subject(name, kind, lambda: _notifyd(kind), lambda: "this", lambda: None)


def _of_peer(peer: Peer) -> Subject:
    return Subject(peer.name, peer.kind, lambda: _peer(peer), peer.version, peer.missing)


NOTIFYD = _of_notifyd("notifyd", "websocket")
NOTIFYD_SSE = _of_notifyd("notifyd SSE", "sse")
#: By name.
SUBJECTS = {each.name: each for each in [NOTIFYD, NOTIFYD_SSE, *map(_of_peer, PEERS)]}
