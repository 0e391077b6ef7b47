"""Publishing from Python: durable, and once however often the network fails.

async with open_publisher("http://127.0.0.1:8000", key) as publisher:
    await publisher.publish(system_message("Maintenance at noon"), broadcast=True)
"""

from __future__ import annotations

import random
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import httpx2
import msgspec
import trio

from notifyd.errors import BadRequest, HttpError, OutcomeUnknown, TooLarge, Unavailable, Unprocessable
from notifyd.messages import Draft, encode_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

#: Seconds for one attempt; the server's own limit for a write is 5.
ATTEMPT_SECONDS = 15.0
#: Notifications and bytes in one request; the server's limits are 1,000 and 4 MiB.
BATCH_ITEMS = 1000
BATCH_BYTES = 3_500_000
#: Addressees in one request, the server's limit.
BATCH_ADDRESSEES = 10_000
BASE_WAIT_SECONDS = 0.2
MAX_WAIT_SECONDS = 5.0
#: Answers of a server, or of a proxy in front of one, that is away for the moment.
_TRY_AGAIN = frozenset({429, 502, 503, 504})


class Published(NamedTuple):
    """Stored durably; `repeated`: it had been already, under the same key."""

    id: str
    notification_id: str
    live_connections: int
    repeated: bool


class Outgoing(NamedTuple):
    """One notification of a batch: a draft and exactly one kind of addressee."""

    draft: Draft
    user_id: str | None = None
    user_ids: Sequence[str] | None = None
    broadcast: bool = False
    expires_in_s: float | None = None
    idempotency_key: str | None = None


class UnexpectedAnswer(HttpError):
    """An answer that is none of the server's own; the detail has its status."""

    status, slug, title = 502, "unexpected-answer", "The server gave an answer that makes no sense here"


class _Answer(msgspec.Struct, frozen=True):
    id: str
    notification_id: str
    live_connections: int = 0


class _Problem(msgspec.Struct, frozen=True):
    type: str = ""
    title: str = ""
    detail: str = ""
    status: int = 0
    path: str = ""

    @property
    def words(self) -> str:
        """What it says, with the place of the fault in the body where it has one."""
        said = self.detail or self.title
        return said if self.path in ("", "$") else f"{said} - at `{self.path}`"


class _Result(_Problem, frozen=True):
    id: str = ""
    notification_id: str = ""
    live_connections: int = 0


class _Results(msgspec.Struct, frozen=True):
    results: list[_Result]


class Publisher:
    """Talks to one server with one key. Made by `open_publisher`; may be shared by tasks.

    Every call raises the HttpError that the server meant (Unauthorized, Unprocessable, …). What may pass,
    like 503 or a lost connection, is tried again for `give_up_s` seconds with the same key, so nothing is
    stored twice; then Unavailable says that nothing was stored, OutcomeUnknown that something may have been.
    Cancellation: it may have been stored; the same idempotency key finds out.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        give_up_s: float,
        draw: Callable[[], float],
        on_retry: Callable[[str], None],
    ) -> None:
        self._http = http
        self._on_retry = on_retry
        self._give_up_s = give_up_s
        self._draw = draw

    async def publish(
        self,
        draft: Draft,
        *,
        user_id: str | None = None,
        user_ids: Sequence[str] | None = None,
        broadcast: bool = False,
        expires_in_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Published:
        """Store one notification; without `idempotency_key` each call is another one. Raises ValueError."""
        key = idempotency_key or secrets.token_urlsafe(18)
        item = Outgoing(draft, user_id, user_ids, broadcast, expires_in_s)
        response = await self._post("/v1/notifications", encode_json(_body(item)), {"Idempotency-Key": key})
        answer = _decode(response, _Answer)
        repeated = response.status_code == 200
        return Published(answer.id, answer.notification_id, answer.live_connections, repeated)

    async def publish_many(self, items: Sequence[Outgoing]) -> list[Published | HttpError]:
        """Store many, each succeeding or failing alone; outcomes in their order. Raises ValueError."""
        return await self.publish_bodies(
            [
                _body(item._replace(idempotency_key=item.idempotency_key or secrets.token_urlsafe(18)))
                for item in items
            ]
        )

    async def publish_bodies(self, bodies: Sequence[dict[str, Any]]) -> list[Published | HttpError]:
        """The same for what `POST /v1/notifications` takes; each must have an `idempotency_key`."""
        outcomes: dict[int, Published | HttpError] = {}
        deadline = self._deadline()
        for wait_s in self._waits():
            left = [at for at in range(len(bodies)) if _is_open(outcomes.get(at))]
            for batch in _batches(left, bodies):
                answers = await self._publish_batch([bodies[at] for at in batch], deadline)
                outcomes.update(zip(batch, answers, strict=True))
                if trio.current_time() >= deadline and any(map(_is_open, answers)):
                    break
            again = any(_is_open(outcomes.get(at)) for at in left)
            if not again or trio.current_time() + wait_s > deadline:
                break
            await trio.sleep(wait_s)
        not_tried = Unavailable(f"not sent, since {self._give_up_s:g} s had passed with others")
        return [outcomes.get(at, not_tried) for at in range(len(bodies))]

    async def _publish_batch(
        self, bodies: list[dict[str, Any]], deadline: float
    ) -> list[Published | HttpError]:
        """Once at least; again and again until the deadline."""
        body = encode_json({"notifications": bodies})
        try:
            response = await self._post("/v1/notifications", body, {}, deadline)
        except (Unavailable, OutcomeUnknown) as fault:
            return [fault] * len(bodies)
        except (BadRequest, TooLarge, Unprocessable) as fault:  # one spoils them all: which?
            if len(bodies) == 1:
                return [fault]
            half = len(bodies) // 2
            first = await self._publish_batch(bodies[:half], deadline)
            return first + await self._publish_batch(bodies[half:], deadline)
        results = _decode(response, _Results).results
        if len(results) != len(bodies):
            raise UnexpectedAnswer(f"{len(results)} results for {len(bodies)} notifications")
        return [_outcome(result) for result in results]

    async def post_prices(self, body: bytes) -> dict[str, Any]:
        """Store one batch of prices, `{"prices": […]}`; the same batch again adds nothing."""
        answer: dict[str, Any] = _decode(await self._post("/v1/prices", body, {}), dict[str, Any])
        return answer

    async def backtest(self, body: bytes, *, after: str = "", limit: int = 100) -> dict[str, Any]:
        """What a watch would have told on the stored prices, from the item after `after` on."""
        path = f"/v1/watches/backtest?{urlencode({'after': after, 'limit': limit})}"
        answer: dict[str, Any] = _decode(await self._post(path, body, {}), dict[str, Any])
        return answer

    def _waits(self) -> Iterator[float]:
        bound_s = BASE_WAIT_SECONDS
        while True:
            yield self._draw() * bound_s
            bound_s = min(2 * bound_s, MAX_WAIT_SECONDS)

    def _deadline(self) -> float:
        return trio.current_time() + self._give_up_s

    async def _post(
        self, path: str, body: bytes, headers: dict[str, str], deadline: float | None = None
    ) -> httpx2.Response:
        deadline = self._deadline() if deadline is None else deadline
        headers = {"Content-Type": "application/json"} | headers
        uncertain = False
        for jitter_s in self._waits():
            wait_s = jitter_s
            try:
                response = await self._http.post(path, content=body, headers=headers)
            except httpx2.TransportError as error:
                fault: HttpError = Unavailable(f"cannot reach {self._http.base_url}: {_text(error)}")
                uncertain |= not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            else:
                if response.is_success:
                    return response
                fault = error_of(response)
                if response.status_code not in _TRY_AGAIN:
                    raise fault
                uncertain |= isinstance(fault, OutcomeUnknown | UnexpectedAnswer)
                wait_s += _retry_after_s(response)
            if trio.current_time() + wait_s > deadline:
                break
            self._on_retry(f"{fault.detail}; trying again")
            await trio.sleep(wait_s)
        raise OutcomeUnknown(fault.detail) if uncertain else fault


def _body(item: Outgoing) -> dict[str, Any]:
    if (item.user_id is not None) + (item.user_ids is not None) + item.broadcast != 1:
        raise ValueError("say exactly one of user_id, user_ids and broadcast=True")
    body: dict[str, Any] = {"type": item.draft.type, "data": item.draft.data}
    optional = {
        "user_id": item.user_id,
        "user_ids": None if item.user_ids is None else list(item.user_ids),
        "broadcast": item.broadcast or None,
        "expires_in_s": item.expires_in_s,
        "idempotency_key": item.idempotency_key,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def _batches(indexes: Sequence[int], bodies: Sequence[dict[str, Any]]) -> Iterator[list[int]]:
    """`indexes` in runs that fit one request each."""
    batch: list[int] = []
    size = addressees = 0
    for at in indexes:
        users = bodies[at].get("user_ids")
        length, count = len(encode_json(bodies[at])), len(users) if isinstance(users, list) else 1
        full = (
            len(batch) == BATCH_ITEMS or size + length > BATCH_BYTES or addressees + count > BATCH_ADDRESSEES
        )
        if batch and full:
            yield batch
            batch, size, addressees = [], 0, 0
        batch.append(at)
        size, addressees = size + length, addressees + count
    if batch:
        yield batch


def _is_open(outcome: Published | HttpError | None) -> bool:
    """Not tried yet, or failed in a way that passes."""
    return outcome is None or isinstance(outcome, Unavailable | OutcomeUnknown)


def _outcome(result: _Result) -> Published | HttpError:
    if result.status not in (200, 201):
        return _problem_error(result, result.status)
    return Published(result.id, result.notification_id, result.live_connections, result.status == 200)


def _kinds(base: type[HttpError]) -> Iterator[type[HttpError]]:
    """The errors of `notifyd.errors`; a program may have loaded the server's own, which are not for here."""
    if base.__module__ == HttpError.__module__:
        yield base
        for kind in base.__subclasses__():
            yield from _kinds(kind)


def error_of(response: httpx2.Response) -> HttpError:
    """The error that a server answered."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeError):
        problem = _Problem()
    return _problem_error(problem, response.status_code)


def _problem_error(problem: _Problem, status: int) -> HttpError:
    """The error that the server raised, found again by its slug (RFC 9457 section 3.1.1), else its status."""
    status = problem.status or status
    slug = problem.type.rpartition(":")[2]
    named = [kind for kind in _kinds(HttpError) if kind.slug == slug]
    same = [kind for kind in _kinds(HttpError) if kind.status == status and kind is not OutcomeUnknown]
    if not problem.type or not (named or same):
        return UnexpectedAnswer(f"HTTP {status} {problem.words}".rstrip())
    return (named or same)[0](problem.words)


def _decode(response: httpx2.Response, type_: Any) -> Any:
    try:
        return msgspec.json.decode(response.content, type=type_)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnexpectedAnswer(f"HTTP {response.status_code}: {error}") from None


def _retry_after_s(response: httpx2.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def open_publisher(
    url: str,
    key: str,
    *,
    give_up_s: float = 30.0,
    transport: httpx2.AsyncBaseTransport | None = None,
    draw: Callable[[], float] = random.random,
    on_retry: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[Publisher, None]:
    """A publisher to the server at `url` (`http://HOST:PORT` or `unix:PATH`) with a publish key.

    `give_up_s`: seconds for which a call tries again what may pass; `transport`: carries the requests
    instead of the network; `draw`: a number in [0, 1) for every random wait; `on_retry`: told why a call is
    tried again. Raises ValueError for a `url` or `key` that is none.

    Closes: its connections, when the block is left.
    """
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("the key is not one: it has characters that no key has, or none at all")
    if url.startswith("unix:"):
        transport = transport or httpx2.AsyncHTTPTransport(uds=url.removeprefix("unix:"))
        url = "http://localhost"
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not the address of a server: write http://HOST:PORT")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(
        base_url=url, headers=headers, timeout=ATTEMPT_SECONDS, transport=transport, trust_env=False
    ) as http:
        yield Publisher(http, give_up_s, draw, on_retry)
