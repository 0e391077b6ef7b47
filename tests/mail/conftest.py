"""A real database without threads under virtual time, and carriers that answer as a test says."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from sqlalchemy import select

from notifyd.inbox import Publication, open_inbox
from notifyd.mail.carrying import Sent
from notifyd.mail.planner import Planner
from notifyd.mail.sender import Sender
from notifyd.messages import custom
from notifyd.store import preferences, profiles
from notifyd.store.deliveries import Channels
from notifyd.store.profiles import Profile
from notifyd.store.schema import deliveries, outbox
from notifyd.store.sql import open_database, prepare
from tests.inbox.conftest import FaultyStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from notifyd.inbox import Inbox
    from notifyd.mail.carrying import Outcome, Parcel
    from notifyd.messages import Draft
    from notifyd.preferences import Preferences

BEGIN_MS = 1_780_000_000_000
GRACE_S = 60.0


def now_ms() -> int:
    """Wall time that passes as Trio's clock says."""
    return BEGIN_MS + round(trio.current_time() * 1000)


class Recorder:
    """A carrier that keeps what it is given. `answers` are given in their order, then `Sent`."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.times: list[float] = []
        self.answers: deque[Outcome | Exception] = deque()
        self.takes_s = 0.0
        self.at_once = self.most_at_once = 0

    async def carry(self, parcel: Parcel) -> Outcome:
        self.parcels.append(parcel)
        self.times.append(trio.current_time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        answer = self.answers.popleft() if self.answers else Sent()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def users(self) -> list[str]:
        return [parcel.message.user_id for parcel in self.parcels]

    @property
    def texts(self) -> list[list[str]]:
        """What each message tells of, by the texts of the notifications."""
        return [[item.notification_id for item in parcel.items] for parcel in self.parcels]


class Post:
    """An inbox, the planner and the sender over one store, all running."""

    def __init__(self, store: FaultyStore, inbox: Inbox, channels: Channels, carrier: Recorder) -> None:
        self.store = store
        self.inbox = inbox
        self.channels = channels
        self.carrier = carrier
        self.every: set[str] = set()
        carriers = {"mail": carrier, "webhook": carrier}
        self.sender = Sender(store, inbox, now_ms, carriers, chance=lambda: 0.5)
        self.planner = Planner(
            store,
            inbox,
            now_ms,
            grace_ms=round(GRACE_S * 1000),
            is_every=self.every.__contains__,
            on_messages=self.sender.wake,
            draw=secrets.token_hex,
        )

    async def user(self, user_id: str, **more: Any) -> None:
        known = {"email": f"{user_id}@shop.example", "locale": None, "time_zone": None} | more
        await self.store.write(lambda tx: profiles.put(tx, [Profile(user_id, **known)]))

    async def users(self, names: Sequence[str]) -> None:
        """Many, each with an address."""
        for start in range(0, len(names), profiles.BATCH):
            some = [
                Profile(each, f"{each}@a.example", None, None)
                for each in names[start : start + profiles.BATCH]
            ]
            await self.store.write(partial(profiles.put, profiles=some))

    async def prefer(self, user_id: str, wanted: Preferences) -> None:
        await self.store.write(lambda tx: preferences.put(tx, user_id, wanted))
        self.planner.wake()

    async def tell(self, *user_ids: str, draft: Draft | None = None, by: str = "p", **more: Any) -> Any:
        """Publish to users, or to everyone when none is named."""
        what = custom("x-note", {"text": "hello"}) if draft is None else draft
        return await self.inbox.append(Publication(what, user_ids or None, by, **more))

    async def rows(self) -> dict[tuple[str, int], Any]:
        """The deliveries by user and seq."""
        found = await self.store.read(lambda tx: tx.execute(select(deliveries)).all())
        return {(row.user_id, row.seq): row for row in found}

    async def reasons(self) -> list[str | None]:
        return [row.reason for _, row in sorted((await self.rows()).items())]

    async def messages(self) -> list[Any]:
        return list(await self.store.read(lambda tx: tx.execute(select(outbox)).all()))


class _Clock:
    def __call__(self) -> int:
        return now_ms()

    ms = BEGIN_MS


@pytest.fixture
def clockless_store(database_url: str) -> Iterator[FaultyStore]:
    with open_database(database_url, busy_s=1) as database:
        clock: Any = _Clock()
        yield FaultyStore(database, prepare(database, BEGIN_MS), clock)


@pytest.fixture
def open_post(
    clockless_store: FaultyStore,
) -> Callable[..., AbstractAsyncContextManager[Post]]:
    """Opens the post office; with `idle` nothing is planned or sent by itself."""

    @asynccontextmanager
    async def opened(*, idle: bool = False, mail: bool = True) -> AsyncIterator[Post]:
        store, channels = clockless_store, Channels(mail=mail)
        more: dict[str, Any] = {"retention_ms": 10**11, "max_rows_per_user": 10_000}
        async with open_inbox(store, clock=now_ms, deliver=channels.deliver, **more) as inbox:
            post = Post(store, inbox, channels, Recorder())
            inbox.on_commit = lambda _entries, _withdrawn: post.planner.wake()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(inbox.run_acks)
                if not idle:
                    nursery.start_soon(post.planner.run)
                    nursery.start_soon(post.sender.run)
                yield post
                nursery.cancel_scope.cancel()

    return opened


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem "
        "-out cert.pem -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"
