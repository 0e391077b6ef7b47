"""A load as applications make it: real clients, mixed publishes over HTTP, and every message looked at.

A few dozen clients in a process of their own, by trio-websocket or an SSE parser over httpx2, several of them
the same user. Four tasks publish side by side to everyone and to single users, texts of many lengths. In the
end each client must have got exactly what was published for it, in the order of the ids that the publisher
was answered, each with its own text: anything lost, repeated, out of order, altered or meant for somebody
else fails the run, whatever its speed.

That it would be noticed is tried in tests/bench/test_realistic.py: a proxy between server and clients leaves
out, repeats or exchanges single frames.

    python -m bench.realistic < job.json      as the benches start it
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import trio
from trio_websocket import open_websocket_url

from bench.load import LoadFailed
from bench.report import Row, figure
from bench.server import notifyd, pin_load
from notifyd.messages import custom
from notifyd.publisher import open_publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from notifyd.publisher import Publisher

USERS = 12
CLIENTS_OF_USER = 3
PUBLISHERS = 4
#: Publishes a second of each, about.
RATE = 30.0
LONGEST_TEXT = 2000
#: How long the last message may take, and how long one too many is waited for.
PATIENCE_S = 10.0
EXTRA_S = 0.3
TYPE = "x-bench"


class Entry(NamedTuple):
    """One notification as it was stored: its place in the log and its number."""

    seq: int
    number: int


class Stored(NamedTuple):
    entry: Entry
    user: str | None  # None: everyone


class Checked(NamedTuple):
    """A run in which every message was right."""

    clients: int
    published: int
    messages: int


@dataclasses.dataclass(frozen=True)
class Job:
    """What the process of the clients is told."""

    url: str
    key: str
    tokens: dict[str, str]
    kind: str
    seconds: float
    patience_s: float = PATIENCE_S


def run(kind: str, *, seconds: float) -> Checked:
    """Start notifyd and, in another process, the clients. Raises LoadFailed unless all was right."""
    users = [f"user-{number}" for number in range(USERS)]
    with notifyd() as server:
        job = Job(
            url="http://{}:{}".format(*server.address),
            key=server.publish_key,
            tokens={user: server.token(user) for user in users},
            kind=kind,
            seconds=seconds,
        )
        done = subprocess.run(
            [sys.executable, "-m", "bench.realistic"],
            input=json.dumps(dataclasses.asdict(job)),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise LoadFailed(f"realistic load: {done.stdout.strip() or 'it broke down'}")
    return Checked(*json.loads(done.stdout))


def row(checked: Checked) -> Row:
    """What a run proved, as a row."""
    return figure(
        f"messages of a realistic load to {checked.clients} clients, none wrong", checked.messages, ""
    )


async def converse(job: Job) -> Checked:
    """Connect, publish, compare. Raises LoadFailed."""
    listeners = [Listener(user) for user in job.tokens for _ in range(CLIENTS_OF_USER)]
    open_one = open_websocket if job.kind == "websocket" else open_stream
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            await nursery.start(listener.listen, open_one(job.url, job.tokens[listener.user]))
        async with open_publisher(job.url, job.key) as publisher:
            stored = await publish_for(publisher, list(job.tokens), job.seconds)
        with trio.move_on_after(job.patience_s):
            for listener in listeners:
                await listener.until(len(expected(stored, listener.user)))
        await trio.sleep(EXTRA_S)
        nursery.cancel_scope.cancel()
    found = [
        f"{listener.user}: {fault}"
        for listener in listeners
        for fault in [*listener.faults, *faults(expected(stored, listener.user), listener.got)]
    ]
    if found:
        raise LoadFailed(f"{len(found)} faults: {'; '.join(found[:5])}")
    return Checked(len(listeners), len(stored), sum(len(listener.got) for listener in listeners))


def expected(stored: Iterable[Stored], user: str) -> list[Entry]:
    """What a client of `user` should get, in this order."""
    return sorted(each.entry for each in stored if each.user in (None, user))


def faults(due: Sequence[Entry], got: Sequence[Entry]) -> list[str]:
    """What is wrong with `got`, in words; nothing when it is `due`."""
    times = Counter(got)
    found = [f"lost {entry}" for entry in due if entry not in times]
    found += [f"repeated {entry}" for entry, count in times.items() if count > 1]
    strange = set(times).difference(due)
    found += [f"never meant for it: {entry}" for entry in sorted(strange)]
    if list(got) != sorted(got):
        found.append("out of order")
    return found


def text_of(number: int) -> str:
    """A text that only this number has, of any length."""
    draw = random.Random(number)
    return f"{number}:" + "".join(draw.choices('abcdef^ü\n"\\ ', k=draw.randrange(LONGEST_TEXT)))


# --- clients -------------------------------------------------------------------------------------------


class Listener:
    """One client and what it got."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.got: list[Entry] = []
        self.faults: list[str] = []
        self._changed = trio.Event()

    async def listen(
        self,
        messages: AbstractAsyncContextManager[AsyncIterator[str]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take down messages until cancelled; started once the first has come."""
        async with messages as stream:
            async for text in stream:
                message = json.loads(text)
                if message["type"] == "connection-established":
                    task_status.started()
                elif message["type"] == TYPE:
                    self._note(message)
        self.faults.append("the server ended the stream")

    async def until(self, count: int) -> None:
        while len(self.got) < count:
            await self._changed.wait()

    def _note(self, message: dict[str, Any]) -> None:
        number = int(message["data"]["number"])
        if message["data"]["text"] != text_of(number):
            self.faults.append(f"the text of {number} was altered")
        self.got.append(Entry(seq_of(message["id"]), number))
        self._changed.set()
        self._changed = trio.Event()


def seq_of(cursor: str) -> int:
    return int(cursor.rpartition("-")[2])


@asynccontextmanager
async def open_websocket(url: str, token: str) -> AsyncIterator[AsyncIterator[str]]:
    """The texts that a trio-websocket client gets."""
    headers = [(b"Authorization", f"Bearer {token}".encode())]
    address = url.replace("http", "ws", 1) + "/ws"
    async with open_websocket_url(address, extra_headers=headers) as connection:
        yield _texts(connection.get_message)


async def _texts(get_message: Callable[[], Awaitable[str | bytes]]) -> AsyncIterator[str]:
    while True:
        yield str(await get_message())


@asynccontextmanager
async def open_stream(url: str, token: str) -> AsyncIterator[AsyncIterator[str]]:
    """The data of each event that an SSE client gets."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    timeout = httpx2.Timeout(PATIENCE_S, read=None)
    async with (
        httpx2.AsyncClient(timeout=timeout) as http,
        http.stream("GET", f"{url}/events", headers=headers) as response,
    ):
        if response.status_code != 200:
            raise LoadFailed(f"GET /events was answered {response.status_code}")
        yield _events(response.aiter_lines())


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The specification's parser as far as the server goes: data lines up to an empty one."""
    data: list[str] = []
    async for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data.clear()


# --- publishing ----------------------------------------------------------------------------------------


async def publish_for(publisher: Publisher, users: Sequence[str], seconds: float) -> list[Stored]:
    """Four tasks publish side by side; every other notification is for everyone."""
    stored: list[Stored] = []
    numbers = iter(range(1_000_000))
    until = trio.current_time() + seconds

    async def publish() -> None:
        while trio.current_time() < until:
            number = next(numbers)
            user = users[number // 2 % len(users)] if number % 2 else None
            draft = custom(TYPE, {"number": number, "text": text_of(number)})
            answer = await publisher.publish(draft, user_id=user, broadcast=user is None)
            stored.append(Stored(Entry(seq_of(answer.id), number), user))
            await trio.sleep(random.expovariate(RATE))

    async with trio.open_nursery() as nursery:
        for _ in range(PUBLISHERS):
            nursery.start_soon(publish)
    return stored


def main() -> int:
    """The process of the clients: a job on standard input, what came of it on standard output."""
    pin_load()
    job = Job(**json.load(sys.stdin))
    try:
        print(json.dumps(trio.run(converse, job)))
    except LoadFailed as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
