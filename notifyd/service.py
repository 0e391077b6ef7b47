"""The composition root: builds the parts, owns the nurseries, and knows in which order they stop.

    store ▸ inbox (writer) ▸ broker ▸ jobs ▸ the app's lifespan ▸ connections ▸ accepting

Each is an `async with` inside the one before it, so that leaving goes the other way round. Nothing else
constructs a part, and there is no module state: two services can live in one process.
"""

from __future__ import annotations

import gc
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio

from notifyd.api.app import create_app, create_operator_app
from notifyd.api.direct import PATH, DirectPublish
from notifyd.api.parts import ApiParts
from notifyd.broker.memory import Broker
from notifyd.broker.window import MAX_BYTES, MAX_ENTRIES, Window
from notifyd.checker.loop import Checker
from notifyd.checker.thinning import Thinner
from notifyd.clock import wall_ms
from notifyd.errors import CloseCode
from notifyd.floors import check_floors
from notifyd.inbox import Mover, open_inbox
from notifyd.jobs import Jobs, open_jobs
from notifyd.jwks import Jwks
from notifyd.keys import keys_from_config
from notifyd.limits import Rates
from notifyd.logs import configure_logging
from notifyd.mail import make_mail
from notifyd.outside import Outside
from notifyd.running import Service
from notifyd.signals import open_stop, run_reloads
from notifyd.store import revocations
from notifyd.store.deliveries import Channels
from notifyd.store.sql import open_store
from notifyd.store.waking import listen
from notifyd.transport.connection import Lane
from notifyd.transport.door import Door, url_of
from notifyd.transport.heartbeat import Wheel
from notifyd.transport.http2 import StreamRoom
from notifyd.transport.hypercorn import open_http
from notifyd.transport.listeners import connection_limit
from notifyd.transport.sse import serve_sse
from notifyd.transport.websocket import serve_websocket
from notifyd.vitals.checks import Checks
from notifyd.vitals.families import ServerCollector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from quart import Blueprint

    from notifyd.config import Config
    from notifyd.inbox import Inbox
    from notifyd.mail import Mail
    from notifyd.store.base import Entry, Store

    OnCommit = Callable[[Sequence[Entry], frozenset[str]], None]

#: Seconds after the drain within which everything else has ended.
STOP_MARGIN_S = 5.0
#: Seconds after the drain for the last closing handshakes, and for answers that are being written.
DRAIN_MARGIN_S = 1.5
#: Seconds that a thread which burns Python may hold the interpreter while `socket.send` wants it back.
SWITCH_INTERVAL_S = 0.0005
#: Seconds in which the ledger's last lines are written.
LAST_LINES_S = 1.0
#: `gc.set_threshold`: new objects after which the collector looks for cycles among them, how many such looks
#: before one at their survivors, how many of those before one at everything. At Python's 700 the first took a
#: tenth of each handshake; at ten times 5,000 the second was one pause of 15 ms in a storm of connects.
COLLECTOR = (2500, 2, 100)
DAY_MS = 86_400_000

__all__ = ["Service", "open_service", "serve"]

log = structlog.get_logger("notifyd.service")


@asynccontextmanager
async def open_service(
    config: Config,
    *,
    blueprints: Sequence[Blueprint] = (),
    clock: Callable[[], int] = wall_ms,
    window_entries: int = MAX_ENTRIES,
    outside: Outside | None = None,
) -> AsyncIterator[Service]:
    """Run a server as long as the block: listening when it is entered, drained and closed when it is left.

    `blueprints` are added to the HTTP app. `outside` is for tests: other sockets than the kernel's, ….
    Raises ConfigError when a setting cannot be used.
    Cancellation: nothing is drained; connections end at once, and the store is closed in order.
    """
    outside = outside or Outside()
    keys = keys_from_config(config)
    channels = Channels(mail=config.sends_mail)
    async with (
        open_store(config.database_url, clock=clock, draw=outside.draw, in_thread=outside.in_thread) as store,
        _open_log(config, store, clock, window_entries, outside, channels) as (inbox, broker),
        open_jobs() as jobs,
    ):
        service = Service(config, store, inbox, broker, keys, clock)
        keys.revocations.fill(*await store.read(revocations.load))
        if config.jwks_url is not None:
            jwks = Jwks(config.jwks_url, keys.adopt_fetched)
            keys.want_keys = jwks.want
            jobs.start("jwks", jwks.run)
        wheel = Wheel(clock, config)
        checker = Checker(store, inbox, clock, config.check_interval_seconds)
        checks = Checks(inbox, broker, config.canary_seconds)
        mail = await make_mail(config, store, inbox, clock, channels, page_address(config), outside.draw)
        inbox.on_commit = _then(broker.publish, mail.committed)
        parts = _api_parts(service, jobs, checker, checks, mail, clock)
        mover = None
        if store.listener is not None:
            mover = Mover(store, inbox, clock, round(config.retention_days * DAY_MS))
        parts.metrics.add(
            ServerCollector(
                service.connections, service.doors, broker, inbox, store, jobs, checks, mover, mail
            )
        )
        checks.start(jobs)
        jobs.start("dispatcher", broker.run_dispatcher)
        jobs.start("turnstile", service.connections.turnstile.run)
        jobs.start("heartbeat", wheel.run)
        jobs.start("checker", checker.run)
        jobs.start("deal-ends", checker.endings.run)
        jobs.start("acks", inbox.run_acks)
        jobs.start("retention", inbox.run_retention)
        jobs.start("thinning", Thinner(store, config.price_detail_days).run)
        jobs.start("deliveries", mail.planner.run)
        jobs.start("outbox", mail.run_sender)
        jobs.start("outbox-count", mail.run_counting)
        if mover is not None and store.listener is not None:
            jobs.start("outgoing", mover.run)
            jobs.start("outgoing-upkeep", mover.run_upkeep)
            jobs.start("listen", partial(listen, store.listener, mover.wake))
        journal = service.connections.journal
        jobs.start("journal", partial(journal.run, inbox, broker, clock))
        async with _open_front(service, parts, wheel, clock, blueprints, outside):
            yield service
        with trio.move_on_after(LAST_LINES_S):
            await journal.flush(inbox, broker, clock)


def _then(publish: OnCommit, also: Callable[[], None]) -> OnCommit:
    def committed(entries: Sequence[Entry], withdrawn: frozenset[str]) -> None:
        publish(entries, withdrawn)
        also()

    return committed


def page_address(config: Config) -> str:
    """Where users find the page, for links in mail: `public_url`, else where the server listens."""
    if config.public_url is not None:
        return config.public_url.rstrip("/")
    place = config.listen.replace("0.0.0.0:", "127.0.0.1:", 1)
    scheme = "http" if config.tls_cert_file is None else "https"
    return "http://localhost" if place.startswith("unix:") else f"{scheme}://{place}"


@asynccontextmanager
async def _open_log(
    config: Config,
    store: Store,
    clock: Callable[[], int],
    window_entries: int,
    outside: Outside,
    channels: Channels,
) -> AsyncIterator[tuple[Inbox, Broker]]:
    """The log's writer and the window over it; the window is filled before anything can be appended."""
    async with open_inbox(
        store,
        clock=clock,
        on_commit=lambda entries, withdrawn: None,
        retention_ms=round(config.retention_days * DAY_MS),
        max_rows_per_user=config.max_rows_per_user,
        draw=outside.draw,
        deliver=channels.deliver,
    ) as inbox:
        window = Window(inbox.epoch, inbox.head, max_entries=window_entries)
        entries, floor = await inbox.newest(window_entries, MAX_BYTES // 4)
        window.fill(entries, floor)
        broker = Broker(window, clock)
        inbox.on_commit = broker.publish
        yield inbox, broker


@asynccontextmanager
async def _open_front(
    service: Service,
    parts: ApiParts,
    wheel: Wheel,
    clock: Callable[[], int],
    blueprints: Sequence[Blueprint],
    outside: Outside,
) -> AsyncIterator[None]:
    """The app's lifespan, the connections, and the doors that let them in; drained when it is left."""
    config = service.config
    async with (
        open_http(create_app(parts, blueprints)) as http,
        open_http(create_operator_app(parts)) as operator_http,
        trio.open_nursery() as connections,
    ):
        lane = Lane(
            inbox=service.inbox,
            broker=service.broker,
            keys=service.keys,
            connections=service.connections,
            wheel=wheel,
            nursery=connections,
            clock=clock,
            config=config,
            network=outside.network,
            draw=outside.draw,
            limits=config.limits,
        )
        on_refused = partial(service.connections.tally.refusals.note, wheel, "http")
        room = StreamRoom(partial(_room, config.max_connections), lambda: main.statistics().open, on_refused)
        main = Door(
            websocket=partial(serve_websocket, lane=lane),
            sse=partial(serve_sse, lane=lane),
            http=http.serve,
            direct={PATH: DirectPublish(parts)},
            on_refused=on_refused,
            trusted_hops=config.trusted_hops,
            turnstile=service.connections.turnstile,
            network=outside.network,
            tls=service.tls,
            http2=http.over_http2(partial(serve_sse, lane=lane), config.trusted_hops, room),
            head_s=config.head_seconds,
            limit=room.left_for_connections,
        )
        binds = [(main, config.listen)]
        if config.operator_listen is not None:
            operators = Door(websocket=None, sse=None, http=operator_http.serve, network=outside.network)
            binds.append((operators, config.operator_listen))
        async with trio.open_nursery() as accepting:
            for door, address in binds:
                listeners = outside.network.listen(address)
                service.doors.append(door)
                service.urls.append(url_of(listeners[0], "https" if door.is_secure else "http"))
                await accepting.start(partial(door.serve, connections=connections), listeners)
            yield
            await _drain(service)
        connections.cancel_scope.cancel()


def _room(max_connections: int) -> int:
    """How many connections there may be now."""
    return min(connection_limit(), max_connections or sys.maxsize)


async def _drain(service: Service) -> None:
    """Stop accepting, then send every client away in a slot of its own."""
    service.stopping = True
    seconds = service.config.drain_seconds
    for door in service.doors:
        door.stop_accepting()
        door.drain()
    log.info("draining; a second signal hurries it", connections=len(service.connections), seconds=seconds)
    with trio.move_on_after(seconds + DRAIN_MARGIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.connections.drain, seconds)
            for door in service.doors:
                nursery.start_soon(door.drained)


def _api_parts(
    service: Service, jobs: Jobs, checker: Checker, checks: Checks, mail: Mail, clock: Callable[[], int]
) -> ApiParts:
    """What the HTTP routes may reach; the callbacks belong to parts that they do not import."""

    def readiness() -> Sequence[str]:
        down = [*(f"job {name} is down" for name in jobs.down()), *checks.reasons()]
        return [*down, "stopping"] if service.stopping else down

    def statistics() -> dict[str, Any]:
        return {
            "connections": service.connection_stats(),
            "broker": asdict(service.broker.statistics()),
            "inbox": asdict(service.inbox.statistics()),
            "doors": [asdict(door.statistics()) for door in service.doors],
            "jobs": {job.name: asdict(job) for job in jobs.statistics()},
            "mail": mail.statistics(),
            **checks.statistics(),
        }

    return ApiParts(
        config=service.config,
        inbox=service.inbox,
        store=service.store,
        keys=service.keys,
        clock=clock,
        live_connections=service.broker.live,
        live_users=service.connections.users_like,
        user_connections=lambda user_id: [
            asdict(each) for each in service.connections.connections_of(user_id)
        ],
        close_user=lambda user_id: service.connections.close_user(user_id, CloseCode.NORMAL),
        refresh=service.connections.refresh,
        revoke_token=service.revoke_token,
        revoke_user=service.revoke_user,
        statistics=statistics,
        readiness=readiness,
        on_prices=checker.wake,
        set_watch=checker.set_watch,
        set_watches=checker.set_watches,
        explain_watch=checker.explain_watch,
        backtest=checker.backtest,
        erase_user=service.erase_user,
        publish_rates=Rates(rate, 2 * rate) if (rate := service.config.publish_rate) else None,
        wake_outbox=mail.wake,
        set_webhook=mail.set_webhook,
        remove_webhook=mail.remove_webhook,
    )


async def serve(
    config: Config,
    *,
    blueprints: Sequence[Blueprint] = (),
    read_config: Callable[[], Config] | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be the process `notifyd serve`: listen until SIGINT or SIGTERM, then drain and return.

    A second signal cancels what is left. SIGHUP has keys and certificates read again, by
    `read_config`. Raises ConfigError when a setting cannot be used.
    """
    check_floors()
    configure_logging(config.log_level, config.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    async with (
        open_stop(config.drain_seconds + STOP_MARGIN_S) as stop,
        open_service(config, blueprints=blueprints) as service,
        trio.open_nursery() as reloads,
    ):
        await reloads.start(run_reloads, partial(service.reload, read_config or (lambda: config)))
        _mention_gaps(config, service.keys.unchecked)
        _spare_the_collector()
        stop.ready()
        print(f"listening on {service.url}", flush=True)
        task_status.started(service)
        await stop.wait()
        reloads.cancel_scope.cancel()


def _mention_gaps(config: Config, unchecked: Sequence[str]) -> None:
    """Settings without which less works, or is checked, than may be meant."""
    if unchecked:
        log.info("these claims of tokens are not checked", claims=list(unchecked))
    if not config.has_jwt_keys:
        log.warning(
            "no jwt_secret or other key is set: users come only with tickets that a publisher asks for"
        )
    if not config.publish_keys:
        log.warning("no publish_keys are set: only a token with the scope notifications:write can publish")


def _spare_the_collector() -> None:
    """What has been built for the server's life is not looked through by every full garbage collection.

    They run on the event loop: with the modules and the app among it each took a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)
