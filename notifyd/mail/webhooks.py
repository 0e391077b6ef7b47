"""The carrier of webhooks: one signed POST for each notification that did not reach its user.

The body is JSON. `Notifyd-Signature` is `t=<seconds since 1970>,v1=<hex>`: the HMAC-SHA256, with the secret
of the webhook, of the time, a dot and the body. `Idempotency-Key` is the same on every try.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

import httpx2
import msgspec
import trio

from notifyd.mail.carrying import Permanent, Sent, Temporary
from notifyd.messages import Cursor, encode_json, iso
from notifyd.store.deliveries import WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.mail.carrying import Outcome, Parcel
    from notifyd.store.outbox import Item
    from notifyd.store.webhooks import Webhook

#: Seconds for one call, from the look-up of the name to the status.
CALL_S: Final = 15.0
#: Seconds for closing what is open at the end.
CLOSE_S: Final = 2.0
#: Answers that say that the same call may succeed later; any other 4xx is for ever.
_LATER: Final = frozenset({408, 409, 423, 425, 429})


class WebhookCarrier:
    """Calls publishers' webhooks. `find` gives a publisher's, `epoch` makes the cursor of a notification."""

    def __init__(self, find: Callable[[str], Webhook | None], epoch: str, clock: Callable[[], int]) -> None:
        self._find = find
        self._epoch = epoch
        self._clock = clock
        self._opening = trio.Lock()
        self._client: httpx2.AsyncClient | None = None

    async def carry(self, parcel: Parcel) -> Outcome:
        """As `Carrier.carry`. Redirects are not followed: a webhook is where its publisher says."""
        webhook = self._find(parcel.message.channel.removeprefix(WEBHOOK))
        if webhook is None:
            return Permanent("the webhook was removed")
        body = self._body(webhook, parcel.message.user_id, parcel.items[0])
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": parcel.message.message_id,
            "Notifyd-Signature": sign(webhook.secret, body, self._clock() // 1000),
        }
        try:
            with trio.fail_after(CALL_S):
                return judged(await self._call(webhook.url, body, headers))
        except trio.TooSlowError:
            return Temporary(f"no answer within {CALL_S:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return Temporary(f"{type(error).__name__}: {error}")

    async def aclose(self) -> None:
        """Close its connections, in CLOSE_S seconds at most; another call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            with trio.move_on_after(CLOSE_S, shield=True):
                await client.aclose()

    async def _call(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """The status; of the answer's body, which may be without an end, nothing is read."""
        async with self._opening:
            if self._client is None:
                self._client = await trio.to_thread.run_sync(_open_client, abandon_on_cancel=True)
        async with self._client.stream("POST", url, content=body, headers=headers) as answer:
            return answer.status_code

    def _body(self, webhook: Webhook, user_id: str, item: Item) -> bytes:
        told: dict[str, Any] = {
            "event": "notification" if webhook.every else "user-not-reached",
            "user_id": user_id,
            "notification": {
                "id": str(Cursor(self._epoch, item.seq)),
                "type": item.type,
                "timestamp": iso(item.created_ms),
                "data": msgspec.Raw(item.data),
            },
        }
        return encode_json(told)


def _open_client() -> httpx2.AsyncClient:
    """Reading the system's certificates takes tens of milliseconds: not on the event loop."""
    return httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=False)


def sign(secret: str, body: bytes, seconds: int) -> str:
    """The value of `Notifyd-Signature`."""
    digest = hmac.digest(secret.encode(), b"%d." % seconds + body, "sha256").hex()
    return f"t={seconds},v1={digest}"


def judged(status: int) -> Outcome:
    """What an answer means: 2xx taken over, 4xx refused but for those that ask to come later."""
    if 200 <= status < 300:
        return Sent()
    if 400 <= status < 500 and status not in _LATER:
        return Permanent(f"answered {status}")
    return Temporary(f"answered {status}")
