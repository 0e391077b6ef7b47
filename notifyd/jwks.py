"""The keys that an issuer publishes (a JWK Set at a URL): fetched, kept, and fetched again, in a job.

Nobody waits for a fetch. A token whose key is not known asks for one by `want`, at most once a minute; when
the issuer cannot be reached, the keys of the last time count for a day.
"""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Never

import structlog
import trio

from notifyd.signing import keys_from_jwks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import httpx2

    from notifyd.signing import VerifyingKey

#: Seconds after which the set is fetched again without being asked for.
FRESH_S: Final = 300.0
#: Seconds between the beginnings of two fetches, whoever asks.
PAUSE_S: Final = 60.0
#: Seconds for one fetch, from the look-up of the name to the last byte.
FETCH_S: Final = 5.0
#: Seconds for which keys count after the last fetch that went well.
STALE_S: Final = 24 * 3600.0
#: Bytes of a set; 64 keys of 4096 bits have about 60,000.
MAX_SET_BYTES: Final = 256 * 1024

log = structlog.get_logger("notifyd.keys")


class Jwks:
    """`run` is a job. `adopt` gets the keys after each fetch, and none once they are too old."""

    def __init__(
        self,
        url: str,
        adopt: Callable[[Sequence[VerifyingKey]], None],
        fetch: Callable[[str], Awaitable[bytes]] | None = None,
    ) -> None:
        self._url = url
        self._adopt = adopt
        self._fetch = fetch or fetch_set
        self._begun_at = -math.inf
        self._fetched_at = -math.inf
        self._fetching = False
        self._wanted = trio.Event()

    def want(self) -> bool:
        """A key is missing: whether a fetch is under way, or begins now, so that asking again may help."""
        if not self._fetching and trio.current_time() < self._begun_at + PAUSE_S:
            return False
        self._wanted.set()
        return True

    async def run(self) -> Never:
        """Fetch when it is time or one is wanted, until cancelled."""
        while True:
            await trio.sleep_until(self._begun_at + PAUSE_S)
            with trio.move_on_at(self._begun_at + FRESH_S):
                if self._fetched_at >= self._begun_at:  # the last one went well
                    await self._wanted.wait()
            await self._fetch_once()

    async def _fetch_once(self) -> None:
        self._begun_at = trio.current_time()
        self._fetching = True
        try:
            with trio.fail_after(FETCH_S):
                keys = keys_from_jwks(await self._fetch(self._url))
        except Exception as fault:  # of the network, of TLS, of their HTTP, of their JSON
            log.warning("jwks.not_fetched", url=self._url, reason=f"{type(fault).__name__}: {fault}"[:200])
            if self._begun_at >= self._fetched_at + STALE_S:
                self._adopt(())
        else:
            self._fetched_at = self._begun_at
            self._adopt(keys)
        finally:
            self._fetching = False
            self._wanted = trio.Event()


async def fetch_set(url: str) -> bytes:
    """The bytes at `url`, which must answer 200 itself: no redirect is followed, no proxy asked.

    Raises httpx2.HTTPError, ValueError, OSError.
    """

    client = await trio.to_thread.run_sync(_open_client, abandon_on_cancel=True)
    async with client, client.stream("GET", url, headers={"Accept": "application/json"}) as response:
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        body = bytearray()
        async with aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                if len(body) <= MAX_SET_BYTES:
                    body += piece
        if len(body) > MAX_SET_BYTES:
            raise ValueError(f"more than {MAX_SET_BYTES} bytes")
        return bytes(body)


def _open_client() -> httpx2.AsyncClient:
    """Reading the system's certificates takes tens of milliseconds: not on the event loop."""
    import httpx2

    return httpx2.AsyncClient(timeout=FETCH_S, follow_redirects=False, trust_env=False)
