"""What the routes are given to work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from quart import current_app

from notifyd.api.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from notifyd.api.insight import Backtest, Explain
    from notifyd.api.watch_bulk import SetWatches
    from notifyd.api.watches import SetWatch
    from notifyd.auth import Identity
    from notifyd.config import Config
    from notifyd.inbox import Inbox
    from notifyd.keys import Keys
    from notifyd.limits import Rates
    from notifyd.store.base import Store
    from notifyd.store.webhooks import Webhook

EXTENSION = "notifyd"


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """Everything an HTTP request can reach; the callbacks belong to parts the API may not import.

    Only callbacks that return an Awaitable wait; the others look at or change what is in memory.
    """

    config: Config
    inbox: Inbox
    store: Store
    keys: Keys
    clock: Callable[[], int]  # wall clock, milliseconds since 1970
    live_connections: Callable[[Sequence[str] | None], int]  # of these users together; None: of everyone
    live_users: Callable[[str, int], Iterable[str]]  # prefix, limit → some users who are connected
    user_connections: Callable[[str], Sequence[Mapping[str, Any]]]  # what each live one is doing
    close_user: Callable[[str], int]  # closes a user's live connections and says how many
    refresh: Callable[[str, Identity], bool]  # connection_id, fresh identity; False: the user has none such
    revoke_token: Callable[[str, str, int | None], Awaitable[int]]  # issuer, token id, until when (ms)
    revoke_user: Callable[[str, int], Awaitable[int]]  # user, not before (ms); both say how many were closed
    statistics: Callable[[], Mapping[str, Any]]  # JSON for /v1/stats
    readiness: Callable[[], Sequence[str]]  # why the server cannot serve; empty when it can
    on_prices: Callable[[], None]  # new prices are stored
    set_watch: SetWatch  # the checker's: sets a watch and says what meets it already
    set_watches: SetWatches  # the same for many
    explain_watch: Explain  # the checker's: why a watch did or did not fire
    backtest: Backtest  # the checker's: what a watch would have told
    erase_user: Callable[[str], Awaitable[None]]  # everything of a user, everywhere
    wake_outbox: Callable[[], None]  # something may be due for the mailer
    set_webhook: Callable[[Webhook], Awaitable[None]]  # the mailer's: a publisher's webhook
    remove_webhook: Callable[[str], Awaitable[bool]]  # of a publisher; False when there was none
    metrics: Metrics = field(default_factory=Metrics)
    publish_rates: Rates | None = None  # by publisher; None: no limit


def parts() -> ApiParts:
    """The parts of the app that serves the current request."""
    return cast("ApiParts", current_app.extensions[EXTENSION])
