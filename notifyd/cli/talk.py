"""Commands that talk to a running server: publish, listen."""

import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import trio
from cyclopts import Parameter

from notifyd.cli.options import Once, Server, check_header, check_user, say, seconds
from notifyd.cli.wording import line_of, status_line
from notifyd.client import Client, Status, open_client
from notifyd.errors import ConfigError
from notifyd.messages import Draft, ErrorData, encode_json, parse_cursor

#: Seconds that a token made by `listen --user` holds; it makes a new one for each connection.
LISTEN_TOKEN_SECONDS = 3600.0
#: Errors after which the server closes; how it closes says the same.
_TOLD_BY_THE_CLOSE = frozenset({"unauthorized", "token_expired"})


async def publish(
    file: Annotated[
        Path | None,
        Parameter(help="JSON lines, one notification each; - is standard input", allow_leading_hyphen=True),
    ] = None,
    /,
    *,
    user: Annotated[list[str] | None, Parameter(help="addressee; repeatable", negative="")] = None,
    broadcast: Annotated[bool, Parameter(help="everyone instead", negative="")] = False,
    type_: Annotated[
        str | None, Parameter(name="--type", help="type of the notification [default: system-message]")
    ] = None,
    data: Annotated[str | None, Parameter(help="its data, a JSON object; - reads standard input")] = None,
    message: Annotated[str | None, Parameter(help="the text, in place of or added to --data")] = None,
    severity: Annotated[
        Literal["info", "warning", "error"] | None, Parameter(help="of a system-message")
    ] = None,
    critical: Annotated[bool, Parameter(help="of a system-message", negative="")] = False,
    expires_in: Annotated[str | None, Parameter(help="when it is no news any more: 15m, 1h, 7d")] = None,
    idempotency_key: Annotated[str | None, Parameter(help="the same key stores it only once")] = None,
    batch: Annotated[
        str | None, Parameter(help="with FILE: the same lines under another name are other notifications")
    ] = None,
    retry: Annotated[
        str | None, Parameter(help="how long to try again what may pass [default: 10s; with FILE 10m]")
    ] = None,
    json: Annotated[
        bool, Parameter(help="print the answer as JSON; with FILE one for each line", negative="")
    ] = False,
    server: Server | None = None,
) -> int:
    """Publish a notification, or a file of them; 1 when some were rejected."""
    server = server or Server()
    if file is not None:
        given = (user, broadcast, type_, data, message, severity, critical, expires_in, idempotency_key)
        if any(given):
            raise ConfigError("with FILE each line says all of its notification; leave those options out")
        return await _publish_lines(server, file, batch or "", seconds(retry or "10m"), json=json)
    if batch is not None:
        raise ConfigError("--batch goes with FILE; give one notification an --idempotency-key")
    if bool(user) == broadcast:
        raise ConfigError("say who gets it: --user USER (repeatable) or --broadcast")
    for each in user or ():
        check_user(each)
    draft = Draft(type_ or "system-message", _data(data, message, severity, critical=critical))
    options = {
        "expires_in_s": None if expires_in is None else seconds(expires_in),
        "idempotency_key": idempotency_key,
    }
    await _publish_one(server, draft, _addressee(user) | options, seconds(retry or "10s"), json=json)
    return 0


async def _publish_one(
    server: Server, draft: Draft, options: dict[str, Any], give_up_s: float, *, json: bool
) -> None:
    from notifyd.publisher import open_publisher

    address, key = server.address(), server.publish_key()
    async with open_publisher(address, key, give_up_s=give_up_s, on_retry=Once(say)) as publisher:
        stored = await publisher.publish(draft, **options)
    if json:
        print(encode_json(stored._asdict()).decode())
    else:
        again = ", as it was before" if stored.repeated else ""
        print(f"stored as {stored.notification_id} at {stored.id}{again}; live: {stored.live_connections}")


async def _publish_lines(server: Server, file: Path, batch: str, give_up_s: float, *, json: bool) -> int:
    from notifyd.cli.bulk import Bulk, publish_lines, tell_line
    from notifyd.cli.lines import Reader
    from notifyd.cli.progress import progress
    from notifyd.publisher import open_publisher

    address, key = server.address(), server.publish_key()
    with progress("lines") as (notice, on_progress):
        async with open_publisher(address, key, give_up_s=give_up_s, on_retry=Once(notice)) as publisher:
            tell = partial(tell_line, notice, json=json)
            bulk = Bulk(publisher.publish_bodies, Reader(batch), tell)
            await publish_lines(file, bulk, on_progress=on_progress)
    if not json:
        print(bulk.counts)
    return 1 if bulk.counts.rejected else 0


def _addressee(users: list[str] | None) -> dict[str, Any]:
    if not users:
        return {"broadcast": True}
    return {"user_id": users[0]} if len(users) == 1 else {"user_ids": users}


def _data(text: str | None, message: str | None, severity: str | None, *, critical: bool) -> dict[str, Any]:
    if text is None and message is None:
        raise ConfigError("say what to publish: --message TEXT or --data JSON")
    try:
        given: dict[str, Any] = msgspec.json.decode(
            (sys.stdin.read() if text == "-" else text) or "{}", type=dict[str, Any]
        )
    except (msgspec.DecodeError, UnicodeError) as fault:
        raise ConfigError(f"--data is not a JSON object: {fault}") from None
    flags = {"message": message, "severity": severity, "critical": critical or None}
    return given | {name: value for name, value in flags.items() if value is not None}


async def listen(
    *,
    user: Annotated[
        str | None, Parameter(help="whose; a token is made with the secret in the settings")
    ] = None,
    token: Annotated[str | None, Parameter(env_var="NOTIFYD_TOKEN", help="the user's token")] = None,
    cursor: Annotated[str | None, Parameter(help="go on after this id of a message")] = None,
    transport: Annotated[
        Literal["auto", "websocket", "sse"],
        Parameter(help="auto: WebSocket, and SSE where a proxy does not let one through"),
    ] = "auto",
    json: Annotated[bool, Parameter(help="print the messages as JSON", negative="")] = False,
    count: Annotated[int | None, Parameter(help="stop after so many")] = None,
    server: Server | None = None,
) -> None:
    """Print a user's notifications, a line each, until SIGINT or SIGTERM."""
    server = server or Server()
    if (user is None) == (token is None):
        raise ConfigError("say whose notifications: --user USER or --token TOKEN")
    address = server.address()
    source = _token_source(server, user) if token is None else check_header("--token", token)
    if cursor is not None and parse_cursor(cursor) is None:
        raise ConfigError(f"--cursor {cursor!r} is none: give the id of a message")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        async with open_client(
            address, source, cursor=cursor, transport=transport, on_state=_say_status
        ) as client:
            await _print_messages(client, count, json=json)
        nursery.cancel_scope.cancel()


def _token_source(server: Server, user: str | None) -> Callable[[], str]:
    from notifyd.cli.server import mint

    settings = server.settings()
    mint(settings, user or "", LISTEN_TOKEN_SECONDS)  # so that a missing secret is told before connecting
    return lambda: mint(settings, user or "", LISTEN_TOKEN_SECONDS)


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _print_messages(client: Client, count: int | None, *, json: bool) -> None:
    left = count
    async for message in client:
        if isinstance(message.data, ErrorData):
            if message.data.code not in _TOLD_BY_THE_CLOSE:
                say(line_of(message))
            continue
        print(encode_json(message).decode() if json else line_of(message), flush=True)
        left = None if left is None else left - 1
        if left == 0:
            return


def _say_status(status: Status) -> None:
    line = status_line(status)
    if line is not None:
        say(line)
