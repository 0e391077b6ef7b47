"""Commands that talk to a running server: publish, listen."""

import signal
import sys
from collections.abc import Callable
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
    *,
    user: Annotated[list[str] | None, Parameter(help="addressee; repeatable", negative="")] = None,
    broadcast: Annotated[bool, Parameter(help="everyone instead", negative="")] = False,
    type_: Annotated[str, Parameter(name="--type", help="type of the notification")] = "system-message",
    data: Annotated[str | None, Parameter(help="its data, a JSON object; - reads standard input")] = None,
    message: Annotated[str | None, Parameter(help="the text, in place of or added to --data")] = None,
    severity: Annotated[
        Literal["info", "warning", "error"] | None, Parameter(help="of a system-message")
    ] = None,
    critical: Annotated[bool, Parameter(help="of a system-message", negative="")] = False,
    expires_in: Annotated[str | None, Parameter(help="when it is no news any more: 15m, 1h, 7d")] = None,
    idempotency_key: Annotated[str | None, Parameter(help="the same key stores it only once")] = None,
    retry: Annotated[str, Parameter(help="how long to try again what may pass")] = "10s",
    json: Annotated[bool, Parameter(help="print the answer as JSON", negative="")] = False,
    server: Server | None = None,
) -> None:
    """Publish a notification and say where it is stored."""
    from notifyd.publisher import open_publisher

    if bool(user) == broadcast:
        raise ConfigError("say who gets it: --user USER (repeatable) or --broadcast")
    for each in user or ():
        check_user(each)
    draft = Draft(type_, _data(data, message, severity, critical=critical))
    expires_in_s = None if expires_in is None else seconds(expires_in)
    server = server or Server()
    address, key = server.address(), server.publish_key()
    async with open_publisher(address, key, give_up_s=seconds(retry), on_retry=Once(say)) as publisher:
        stored = await publisher.publish(
            draft, **_addressee(user), expires_in_s=expires_in_s, idempotency_key=idempotency_key
        )
    if json:
        print(encode_json(stored._asdict()).decode())
    else:
        again = ", as it was before" if stored.repeated else ""
        print(f"stored as {stored.notification_id} at {stored.id}{again}; live: {stored.live_connections}")


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
        async with open_client(address, source, cursor=cursor, on_state=_say_status) as client:
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
