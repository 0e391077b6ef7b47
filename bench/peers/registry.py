"""The servers, each with how it is started and spoken to. README.md says why each is set as it is."""

from __future__ import annotations

import functools
from pathlib import Path

from bench.peers import installed
from bench.peers.installed import NODE, PYTHON, ROOT
from bench.peers.peer import TRIGGER, Peer, payload

SERVERS = Path(__file__).parent / "servers"


def _upgrade(path: str) -> bytes:
    """The opening handshake of RFC 6455 section 4.1; no extension is offered, so nobody compresses."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455 section 1.3
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode()


def _post(size: int) -> bytes:
    head = f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + payload(size)


def _trigger(size: int) -> bytes:
    return TRIGGER


def _python(module: str, folder: Path, size: int) -> list[str]:
    return ["env", f"PYTHONPATH={ROOT}", str(PYTHON), "-m", f"bench.peers.servers.{module}", str(size)]


def _node(script: str, folder: Path, size: int) -> list[str]:
    return ["env", f"NODE_PATH={NODE}", "node", str(SERVERS / script), payload(size).decode()]


def _bare(folder: Path, size: int) -> list[str]:
    build = '"$1" -O2 -o "$2/bare" "$3" && exec "$2/bare" "$4"'
    compiler = installed.compiler() or "cc"
    return ["sh", "-c", build, "sh", compiler, str(folder), str(SERVERS / "bare.c"), payload(size).decode()]


def _nchan(folder: Path, size: int) -> list[str]:
    return ["env", f"PYTHONPATH={ROOT}", "python3", "-m", "bench.peers.servers.nchan", str(folder)]


def _socket_io_message(size: int) -> bytes:
    return b'42["m","%s"]' % payload(size)


#: Sent by a server that answers the handshake before it has put the client among the receivers.
_GREETING = b"ready"
#: A Socket.IO client joins the main namespace by the packet `40`, here in a masked frame.
_JOIN = b"\x81\x82maskYQ"


def _python_peer(name: str, module: str, package: str, wait_for: bytes) -> Peer:
    return Peer(
        name=name,
        kind="websocket",
        command=functools.partial(_python, module),
        steps=((_upgrade("/ws"), wait_for),),
        publish=_trigger,
        answered=False,
        message=payload,
        version=functools.partial(installed.python_version, package),
        missing=functools.partial(installed.python_missing, package),
    )


PEERS: tuple[Peer, ...] = (
    Peer(
        name="bare C loop",
        kind="websocket",
        command=_bare,
        steps=(),
        publish=_trigger,
        answered=False,
        message=payload,
        version=installed.compiler_version,
        missing=installed.compiler_missing,
    ),
    Peer(
        name="Node ws",
        kind="websocket",
        command=functools.partial(_node, "ws.cjs"),
        steps=((_upgrade("/ws"), b"\r\n\r\n"),),
        publish=_trigger,
        answered=False,
        message=payload,
        version=functools.partial(installed.node_version, "ws"),
        missing=functools.partial(installed.node_missing, "ws"),
    ),
    Peer(
        name="Socket.IO",
        kind="websocket",
        command=functools.partial(_node, "socketio.cjs"),
        steps=(
            (_upgrade("/socket.io/?EIO=4&transport=websocket"), b'"maxPayload":'),
            (_JOIN, b'40{"sid":'),
        ),
        publish=_trigger,
        answered=False,
        message=_socket_io_message,
        version=functools.partial(installed.node_version, "socket.io"),
        missing=functools.partial(installed.node_missing, "socket.io"),
    ),
    _python_peer("picows", "picows_uvloop", "picows", b"\r\n\r\n"),
    _python_peer("websockets", "websockets_uvloop", "websockets", _GREETING),
    _python_peer("websockets on Trio", "websockets_trio", "websockets", _GREETING),
    _python_peer("Quart-Trio", "quart_hypercorn", "quart-trio", b"\r\n\r\n"),
    _python_peer("FastAPI", "fastapi_uvicorn", "fastapi", _GREETING),
    Peer(
        name="nchan",
        kind="websocket",
        command=_nchan,
        steps=((_upgrade("/ws"), b"\r\n\r\n"),),
        publish=_post,
        answered=True,
        message=payload,
        version=installed.nchan_version,
        missing=installed.nchan_missing,
    ),
    Peer(
        name="nchan EventSource",
        kind="sse",
        command=_nchan,
        steps=((_get("/events"), b": hi"),),
        publish=_post,
        answered=True,
        message=payload,
        version=installed.nchan_version,
        missing=installed.nchan_missing,
    ),
    Peer(
        name="sse-starlette",
        kind="sse",
        command=functools.partial(_python, "sse_uvicorn"),
        steps=((_get("/events"), b": " + _GREETING),),
        publish=_trigger,
        answered=False,
        message=payload,
        version=functools.partial(installed.python_version, "sse-starlette"),
        missing=functools.partial(installed.python_missing, "sse-starlette"),
    ),
)
