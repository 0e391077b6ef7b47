"""F20: a mail server that misbehaves in every way, while notifyd is killed at every step of sending."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import trio
from sqlalchemy import select

from notifyd.store.schema import outbox
from notifyd.store.sql import Call, open_database
from tests.chaos.publishers import ADMIN_KEY, PUBLISH_KEY
from tests.chaos.readers import token_for
from tests.chaos.run import VICTIM, Load, Run, fault
from tests.chaos.sink import BOUNCING, Sink, open_sink

if TYPE_CHECKING:
    from tests.chaos.world import World

NOBODY = Load(users=1, readers=0, publishers=0)
#: A kill for so many mails; steps of sending between two of them, at most.
MAILS_PER_KILL = 50
STEPS = 40
#: Seconds after a kill in which the mail server has noticed it on every connection.
SETTLE_S = 0.6
#: Seconds for everything to come to its end.
PATIENCE_S = 900.0
STEPS_OF_SENDING = ("mail", "rcpt", "data", "before-250", "after-250", "bounce")


class Killer:
    """Kills the server at a step of sending that was drawn, as often as it may."""

    def __init__(self, world: World, kills: int) -> None:
        self._world = world
        self._left = kills
        self.kills = 0
        self._draw()

    def _draw(self) -> None:
        self._step = self._world.rng.choice(STEPS_OF_SENDING[:5])
        self._count = self._world.rng.randrange(1, STEPS)

    def passed(self, step: str) -> None:
        """A step of some conversation; perhaps the last of this life."""
        if self._left == 0 or step != self._step or not self._world.server.running:
            return
        self._count -= 1
        if self._count == 0:
            self._left -= 1
            self.kills += 1
            with suppress(ProcessLookupError):
                os.kill(self._world.server.pid, signal.SIGKILL)
            self._draw()


class Trial:
    """One server that is started again after each kill; `window`: mails left between 250 and commit."""

    def __init__(self, world: World, sink: Sink) -> None:
        self.world = world
        self.sink = sink
        self.window: set[str] = set()

    async def revive(self) -> None:
        """Look at what a kill has left, once the mail server has seen it, and begin the next life."""
        await trio.sleep(0.05)
        if not self.world.server.running:
            await trio.sleep(SETTLE_S)
            self.window |= _taken_but_not_noted(self.world, self.sink)
            await self.world.server.start()

    async def call(self, method: str, path: str, key: str, body: Any = None) -> Any:
        """Until it is answered: the server may just have been killed."""
        async with httpx2.AsyncClient(timeout=8, trust_env=False) as http:
            while True:
                with suppress(httpx2.TransportError):
                    headers = {"Authorization": f"Bearer {key}"}
                    url = f"{self.world.server.target.url}{path}"
                    answer = await http.request(method, url, json=body, headers=headers)
                    if answer.status_code < 500:
                        return answer.raise_for_status().json() if answer.content else None
                await self.revive()


@fault("smtp", "F20", promises="P14", n=1000)
async def smtp(run: Run) -> None:
    """N mails to a mail server that answers 4xx and 5xx, greylists, hangs in each phase, closes before and
    after its 250, greets badly and is slow, while notifyd is killed at each step of sending: none is lost, no
    more are doubled than kills left between 250 and commit, each has one Message-ID, none goes out after a
    hard bounce or after unsubscribing."""
    async with run.world(NOBODY, NOTIFYD_CANARY_SECONDS="0", NOTIFYD_LOG_LEVEL="error") as world:
        killer = Killer(world, max(2, run.n // MAILS_PER_KILL))
        sink = Sink(world.rng, killer.passed)
        async with open_sink(sink) as port:
            more = {"NOTIFYD_SMTP_URL": f"smtp://127.0.0.1:{port}", "NOTIFYD_EMAIL_GRACE_SECONDS": "0"}
            world.server.settings |= more | {"CHAOS_MAIL": "quick"}
            world.server.command = VICTIM
            await world.server.start()
            names, trial = _names(run.n), Trial(world, sink)
            with trio.fail_after(PATIENCE_S):
                await _publish(trial, names)
                await _until_all_is_sent(run, trial)
                await _once_more_to_who_is_not_to_be_written_to(trial, names)
            await world.server.stop()
            _judge(run, sink, names, trial.window)
        run.trials = run.n
        run.figures |= {"kills": killer.kills, "in_window": len(trial.window), "doubles": _doubles(sink)}
        run.figures["troubles"] = sum(sink.troubles.values())


def _names(n: int) -> list[str]:
    """One in twenty is refused for ever."""
    return [f"{BOUNCING if number % 20 == 0 else 'user-'}{number}" for number in range(n)]


def _address(name: str) -> str:
    return f"{name}@home.example"


async def _publish(trial: Trial, names: list[str]) -> None:
    for start in range(0, len(names), 500):
        users = [{"user_id": each, "email": _address(each)} for each in names[start : start + 500]]
        await trial.call("POST", "/v1/users", PUBLISH_KEY, {"users": users})
    for start in range(0, len(names), 50):
        body = {
            "user_ids": names[start : start + 50],
            "type": "system-message",
            "data": {"message": "hello"},
            "idempotency_key": f"mail-{start}",
        }
        await trial.call("POST", "/v1/notifications", PUBLISH_KEY, body)


async def _until_all_is_sent(run: Run, trial: Trial) -> None:
    wanted = run.n - len([each for each in _names(run.n) if each.startswith(BOUNCING)])
    told = trio.current_time()
    while True:
        for each in (await trial.call("GET", "/v1/outbox?limit=500", ADMIN_KEY))["messages"]:
            if not each["error"].startswith("RCPT: 550"):  # eight unlucky tries: an operator has another
                await trial.call("POST", f"/v1/outbox/{each['message_id']}/retry", ADMIN_KEY)
        waiting = (await trial.call("GET", "/v1/outbox?status=waiting", ADMIN_KEY))["messages"]
        if not waiting and len(trial.sink.recipients) >= wanted:
            return
        if trio.current_time() > told + 5:
            told = trio.current_time()
            run.progress(f"{len(trial.sink.recipients)} of {wanted} mails, {len(trial.window)} in the window")
        await trio.sleep(0.3)
        await trial.revive()


def _taken_but_not_noted(world: World, sink: Sink) -> set[str]:
    with open_database(world.server.database_url, busy_s=4) as database:
        query = select(outbox.c.message_id).where(outbox.c.status == "waiting")
        found = database.read(lambda tx: set(tx.execute(query).scalars()), Call(1))
    return {name for name in sink.taken if name.partition("@")[0] in found}


async def _once_more_to_who_is_not_to_be_written_to(trial: Trial, names: list[str]) -> None:
    """One more to those who bounced and to some who want none, and as a fence to one who does."""
    unsubscribed = [each for each in names if not each.startswith(BOUNCING)][:20]
    for each in unsubscribed:
        await trial.call("PUT", "/v1/preferences", token_for(each), {"policy": "never"})
    users = [{"user_id": "fence", "email": _address("fence")}]
    await trial.call("POST", "/v1/users", PUBLISH_KEY, {"users": users})
    again = [each for each in names if each.startswith(BOUNCING)] + unsubscribed + ["fence"]
    body = {"user_ids": again, "type": "system-message", "data": {"message": "again"}}
    await trial.call("POST", "/v1/notifications", PUBLISH_KEY, body)
    while True:
        sent = await trial.call("GET", "/v1/outbox?status=sent&limit=500", ADMIN_KEY)
        while sent["messages"] and sent["next"]:
            after = sent["next"]
            sent = await trial.call("GET", f"/v1/outbox?status=sent&limit=500&after={after}", ADMIN_KEY)
        if any(each["user_id"] == "fence" for each in sent["messages"]):
            return
        await trial.revive()


def _doubles(sink: Sink) -> int:
    return sum(count - 1 for count in sink.taken.values())


def _judge(run: Run, sink: Sink, names: list[str], window: set[str]) -> None:
    good = [each for each in names if not each.startswith(BOUNCING)]
    lost = [each for each in good if sink.recipients[_address(each)] == 0]
    run.expect(not lost, f"{len(lost)} lost, as {lost[:3]}")
    run.expect(_doubles(sink) <= len(window), f"{_doubles(sink)} doubles, {len(window)} in the window")
    strange = {name for name, count in sink.taken.items() if count > 1} - window
    run.expect(not strange, f"doubled outside the window: {sorted(strange)[:3]}")
    several = [each for each in good if len(sink.ids.get(_address(each), ())) > 1]
    run.expect(not several, f"several Message-IDs, or mail after unsubscribing: {several[:3]}")
    for each in names:
        if each.startswith(BOUNCING):
            run.expect(sink.recipients[_address(each)] == 0, f"{each} was written to")
    kept_trying = {name: count for name, count in sink.bounced.items() if count > 2}
    run.expect(not kept_trying, f"tried again after a hard bounce: {kept_trying}")
