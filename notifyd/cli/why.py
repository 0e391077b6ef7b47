"""The command why: what became of a notification."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import httpx2
import msgspec
from cyclopts import Parameter

from notifyd.cli.options import OperatorsServer
from notifyd.cli.wording import printable
from notifyd.errors import Unavailable
from notifyd.publisher import UnexpectedAnswer, error_of

#: Seconds for the answer.
PATIENCE_SECONDS = 15.0


async def why(
    user: str,
    id_: Annotated[str, Parameter(name="ID")],
    /,
    *,
    json: Annotated[bool, Parameter(help="print the answer as JSON", negative="")] = False,
    server: OperatorsServer | None = None,
) -> None:
    """Say what became of a notification."""
    server = server or OperatorsServer()
    answer = await _ask(server.address(), server.admin_key(), user, id_)
    if json:
        print(answer.decode())
        return
    try:
        told = msgspec.json.decode(answer, type=_Trace)
    except msgspec.DecodeError as fault:
        raise UnexpectedAnswer(f"HTTP 200: {fault}") from None
    for line in lines_of(told):
        print(printable(line))


async def _ask(address: str, key: str, user: str, id_: str) -> bytes:
    transport = None
    if address.startswith("unix:"):
        transport = httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix:"))
        address = "http://localhost"
    async with httpx2.AsyncClient(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"},
        timeout=PATIENCE_SECONDS,
        transport=transport,
        trust_env=False,
    ) as http:
        try:
            path = f"/v1/notifications/{quote(id_, safe='')}/trace"
            response = await http.get(path, params={"user_id": user})
        except httpx2.TransportError as error:
            raise Unavailable(f"cannot reach {address}: {error or type(error).__name__}") from None
    if not response.is_success:
        raise error_of(response)
    return response.content


class _Step(msgspec.Struct, frozen=True):
    step: str
    at: str
    text: str
    connection_id: str | None = None


class _Connection(msgspec.Struct, frozen=True):
    connection_id: str
    transport: str
    connected_at: str
    text: str
    closed_at: str | None = None
    close_code: int | None = None
    close_reason: str | None = None


class _Mail(msgspec.Struct, frozen=True):
    text: str
    mailed_at: str | None = None


class _Trace(msgspec.Struct, frozen=True):
    notification_id: str
    id: str
    type: str
    state: str
    steps: list[_Step]
    connections: list[_Connection]
    mail: _Mail
    why_not: list[str]


def lines_of(told: Any) -> list[str]:
    """The trace for people: what happened, the user's connections since, and why not."""
    lines = [f"{told.notification_id}  {told.type}  {told.id}  {told.state}"]
    lines += [f"{_time(each.at)}  {each.step:<12}  {_step(each)}" for each in told.steps]
    lines += [
        f"{_time(each.connected_at)}  {each.transport:<12}  {each.connection_id}: {each.text}{_end(each)}"
        for each in told.connections
    ]
    if told.mail.mailed_at is None:
        lines.append(f"not mailed: {told.mail.text}")
    else:
        lines.append(f"{_time(told.mail.mailed_at)}  {'mailed':<12}  {told.mail.text}")
    return lines + [f"not confirmed: {reason}" for reason in told.why_not]


def _step(step: _Step) -> str:
    return step.text if step.connection_id is None else f"{step.text} ({step.connection_id})"


def _end(connection: _Connection) -> str:
    if connection.closed_at is None:
        return "; still open"
    reason = "" if connection.close_reason is None else f" {connection.close_reason}"
    return f"; closed {_time(connection.closed_at)} ({connection.close_code}{reason})"


def _time(text: str) -> str:
    moment = datetime.fromisoformat(text).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"
