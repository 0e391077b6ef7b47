"""Publishers: each asks for one notification after another and writes down what it was answered."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import trio

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.chaos.history import Recorder
    from tests.chaos.readers import Target

PUBLISH_KEY = "publish-key-of-the-chaos"
ADMIN_KEY = "admin-key-of-the-chaos"
#: Stands in every publication, and may stand in no log.
CANARY = "secret-of-"
#: Longer than the server's own limit for a write, so that its answer counts.
TIMEOUT_S = 8.0
#: Problem types after which nobody knows whether the notification is stored.
_UNKNOWN = ("outcome-unknown", "commit-failed", "internal")


@asynccontextmanager
async def open_http(target: Target, key: str = PUBLISH_KEY) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that authenticates with `key` and bypasses any system proxy."""
    async with httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        yield client


@dataclass
class Publisher:
    """One application. `pause_s`: mean wait between publications; `batch`: of how many, now and then."""

    name: str
    users: Sequence[str]
    target: Target
    recorder: Recorder
    rng: random.Random
    pause_s: float = 0.05
    broadcasts: float = 0.3
    batch: int = 1
    padding: int = 0
    repeats: float = 0.1
    limit: int | None = None
    asked: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    on_answer: Callable[[int, str], None] | None = None

    async def run(self) -> None:
        """Publish until cancelled, or `limit` publications."""
        async with open_http(self.target) as http:
            while self.limit is None or self.asked < self.limit:
                await self._one(http)
                await trio.sleep(self.rng.expovariate(1 / self.pause_s) if self.pause_s else 0)

    async def _one(self, http: httpx2.AsyncClient) -> None:
        if self.batch > 1:
            await self._many(http)
            return
        value = self._next_value()
        user = None if self.rng.random() < self.broadcasts else self.rng.choice(self.users)
        body = self.body(value, user)
        known = await self.ask(http, value, user, body)
        for _ in range(5):
            if known and self.rng.random() >= self.repeats:
                return
            await trio.sleep(self.rng.random() * 0.2)
            known = await self.ask(http, value, user, body)

    def _next_value(self) -> str:
        self.asked += 1
        return f"{self.name}-{self.asked}"

    def body(self, value: str, user: str | None) -> dict[str, Any]:
        data = {"value": value, "for": user, "canary": f"{CANARY}{user or 'everyone'}"}
        if self.padding:
            data["padding"] = "x" * self.padding
        whom = {"broadcast": True} if user is None else {"user_id": user}
        return {**whom, "type": "x-chaos", "data": data}

    async def ask(self, http: httpx2.AsyncClient, value: str, user: str | None, body: dict[str, Any]) -> bool:
        """One request, always with the same key for the same value; False when its outcome is unknown."""
        note = self.recorder.note
        note(self.name, "publish", outcome="invoke", value=value, user=user)
        try:
            answer = await http.post(
                f"{self.target.url}/v1/notifications", json=body, headers={"Idempotency-Key": value}
            )
            content = answer.json()
        except httpx2.ConnectError as error:
            note(self.name, "publish", outcome="fail", value=value, user=user, note=repr(error))
            return True
        except (httpx2.TransportError, ValueError) as error:
            note(self.name, "publish", outcome="info", value=value, user=user, note=repr(error))
            return False
        return self._answered(value, user, answer.status_code, content)

    def _answered(self, value: str, user: str | None, status: int, content: dict[str, Any]) -> bool:
        self.answers[status] = self.answers.get(status, 0) + 1
        slug = re.split("[/:#]", str(content.get("type", "")))[-1]
        if self.on_answer is not None:
            self.on_answer(status, slug)
        if status in (200, 201):
            self.recorder.note(
                self.name,
                "publish",
                value=value,
                user=user,
                cursor=content["id"],
                notification_id=content["notification_id"],
            )
            return True
        unknown = content.get("outcome") == "unknown" or slug in _UNKNOWN
        outcome = "info" if unknown else "fail"
        self.recorder.note(
            self.name, "publish", outcome=outcome, value=value, user=user, note=f"{status} {slug}"
        )
        return not unknown

    async def _many(self, http: httpx2.AsyncClient) -> None:
        """A batch, each with its own key and its own result."""
        values = [self._next_value() for _ in range(self.batch)]
        users = [None if self.rng.random() < self.broadcasts else self.rng.choice(self.users) for _ in values]
        for value, user in zip(values, users, strict=True):
            self.recorder.note(self.name, "publish", outcome="invoke", value=value, user=user)
        items = [
            self.body(value, user) | {"idempotency_key": value}
            for value, user in zip(values, users, strict=True)
        ]
        try:
            answer = await http.post(f"{self.target.url}/v1/notifications", json={"notifications": items})
            results = answer.json().get("results") or [answer.json() | {"status": answer.status_code}] * len(
                values
            )
        except httpx2.ConnectError:
            results = [{"type": "no-connection", "status": 503}] * len(values)
        except (httpx2.TransportError, ValueError):
            results = [{"type": "outcome-unknown", "status": 503}] * len(values)
        for value, user, result in zip(values, users, results, strict=True):
            self._answered(value, user, int(result.get("status", 201 if "id" in result else 500)), result)
