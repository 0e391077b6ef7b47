"""F8, F9 and F13: peers that vanish, links that are slow or lose, readers that stop or crawl."""

from __future__ import annotations

import ctypes
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from notifyd.testing import Proxy, open_proxy
from tests.chaos.publishers import ADMIN_KEY, open_http
from tests.chaos.readers import Target, token_for
from tests.chaos.run import Load, Run, fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.world import World

#: A dead peer is gone within 45 s of its last byte at a heartbeat of 30 s: the wait for a ping, and for 12 s
#: without progress while it is on its way.
GONE_S = 4 + 12 + 4
TRANSPORTS = ("websocket", "sse")


#: Where those come from who will vanish.
FAR = "127.0.0.2"
_CLONE_NEWNET = 0x40000000


async def connections(world: World) -> int:
    """How many live ones the server counts."""
    async with open_http(world.server.target, ADMIN_KEY) as http:
        answer = await http.get(f"http://127.0.0.1:{world.server.port}/v1/stats")
        counted = answer.json()["connections"]
        return int(counted["total"])


def own_network() -> None:
    """Move this process into a network of its own, with nothing but a loopback. Needs to be root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: this fault must be run as root")
    _ip("link", "set", "lo", "up")
    _ip("route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
    _ip("route", "add", "local", FAR, "dev", "lo", "table", "local")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@fault("half-open", "F8", promises="P2 P9", n=3, needs=("ip",))
async def half_open(run: Run) -> None:
    """The packets to half of the tabs vanish without a word: the server lets go of them within 45 s
    (20 s at the shorter heartbeat here), the others keep theirs, and those who come back miss nothing."""
    own_network()
    settings = {"NOTIFYD_HEARTBEAT_SECONDS": "4", "NOTIFYD_PONG_SECONDS": "2"}
    load = Load(users=4, readers=8, publishers=1, pause_s=0.05, churn=0, transports=TRANSPORTS)
    for _ in range(run.n):
        async with run.world(load, **settings) as world:
            await world.server.start()
            await world.begin()
            for number in range(8):
                world.add_reader(TRANSPORTS[number % 2], world.users[number % 4], churn=0, source=FAR)
            await world.all_connected()
            await trio.sleep(1)
            await _vanish(run, world)
            await world.settle()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _vanish(run: Run, world: World) -> None:
    near = world.readers[:8]
    connects = sum(len(reader.connects) for reader in near)
    _ip("route", "replace", "blackhole", FAR, "table", "local")
    world.fault("packets to half of the tabs vanish")
    began = trio.current_time()
    try:
        with trio.move_on_after(GONE_S) as patience:
            while True:
                if await connections(world) <= 8:
                    break
                await trio.sleep(0.25)
        run.most("gone_s", trio.current_time() - began)
        run.expect(not patience.cancelled_caught, f"dead peers were kept for {GONE_S:.0f} s")
        await trio.sleep(2)
        run.expect(sum(len(reader.connects) for reader in near) == connects, "a live peer was cut")
    finally:
        _ip("route", "replace", "local", FAR, "dev", "lo", "table", "local")
    world.fault("packets go again")
    for reader in world.readers[8:]:
        reader.drop()
    await world.all_connected()


async def _weather(proxy: Proxy, kind: str) -> None:
    """What the link is like."""
    up, down = proxy.to_server, proxy.to_client
    match kind:
        case "late":
            for link in (up, down):
                link.latency_s, link.jitter_s = 0.2, 0.2
        case "lossy":
            for link in (up, down):
                link.loss, link.resend_s, link.latency_s = 0.05, 0.4, 0.02
        case "slow":
            down.bytes_per_s, down.slice_bytes = 8_000, 400
        case "sliced":
            down.slice_bytes, down.slice_pause_s = 1, 0.0005
            up.slice_bytes = 1
        case "cut":
            down.reset_after_bytes = 6_000


WEATHERS: dict[str, Load] = {
    "late": Load(users=2, readers=0, publishers=1, pause_s=0.05),
    "lossy": Load(users=2, readers=0, publishers=1, pause_s=0.05),
    "slow": Load(users=2, readers=0, publishers=1, pause_s=0.2),
    "sliced": Load(users=2, readers=0, publishers=1, pause_s=0.3),
    "cut": Load(users=2, readers=0, publishers=1, pause_s=0.05),
    "half-closed": Load(users=2, readers=0, publishers=1, pause_s=0.05),
    "reset": Load(users=2, readers=0, publishers=1, pause_s=0.05),
}


@fault("links", "F9", promises="P2 P4 P9", n=2)
async def links(run: Run) -> None:
    """Every tab behind a proxy, N times each: 200 ms later with as much jitter, 5 % of chunks sent again, at
    64 kbit/s, one byte at a time, cut after 6,000 bytes, half closed, reset. Who is only slow is not dead."""
    heartbeat = {"NOTIFYD_HEARTBEAT_SECONDS": "3", "NOTIFYD_PONG_SECONDS": "2"}
    for kind, load in WEATHERS.items():
        for _ in range(run.n):
            async with run.world(load, **heartbeat) as world:
                await world.server.start()
                async with open_proxy(world.server.target.url, rng=world.rng) as proxy:
                    await _weather(proxy, kind)
                    far = Target(proxy.host, proxy.port)
                    for number in range(6):
                        transport = ("websocket", "sse", "library")[number % 3]
                        world.add_reader(
                            transport, world.users[number % 2], far, churn=0, receive_buffer=8192
                        )
                    await world.all_connected()
                    world.start_publisher(world.add_publisher())
                    await _pass_time(world, proxy, kind)
                    await world.settle(within_s=60)
                    await world.read_inboxes()
                    run.most(f"{kind}_s", world.settled_in_s)
                    if kind not in ("cut", "half-closed", "reset"):
                        cuts = sum(len(reader.connects) - 1 for reader in world.readers)
                        run.expect(cuts == 0, f"{kind}: {cuts} connections were cut")
            run.trials += 1
        run.progress(f"{kind}: {run.trials} of {run.n * len(WEATHERS)}")


async def _pass_time(world: World, proxy: Proxy, kind: str) -> None:
    faults: dict[str, Callable[[], None]] = {"half-closed": proxy.end_writing, "reset": proxy.reset}
    for _ in range(10):
        await trio.sleep(0.8)
        if kind in faults:
            world.fault(kind)
            faults[kind]()


@fault("slow-readers", "F13", promises="P2 P8", n=2)
async def slow_readers(run: Run) -> None:
    """Readers that stop for ever with small buffers, and readers that crawl, while large messages are
    published: nobody else waits, memory stays bounded, the frozen are reset."""
    load = Load(users=3, readers=6, publishers=1, pause_s=0.05, padding=8_000, broadcasts=1, churn=0)
    for _ in range(run.n):
        async with run.world(Load(**{**load.__dict__, "transports": TRANSPORTS})) as world:
            await world.server.start()
            await world.begin()
            await _freeze(run, world)
            await world.settle(within_s=60)
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _freeze(run: Run, world: World) -> None:
    before_kb = world.server.resident_kb()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(never_read, world, TRANSPORTS[number % 2])
        for number in range(2):
            world.add_reader(
                TRANSPORTS[number], world.users[0], churn=0, stall=1.0, stall_s=0.1, receive_buffer=4096
            )
        began = trio.current_time()
        await trio.sleep(2)
        run.expect(await connections(world) >= 20, "the frozen were not there")
        while trio.current_time() - began < 45 and await connections(world) > len(world.readers) + 1:
            run.most("grown_mb", (world.server.resident_kb() - before_kb) / 1024)
            await trio.sleep(0.5)
        run.most("frozen_gone_s", trio.current_time() - began)
        run.expect(await connections(world) <= len(world.readers) + 1, "the frozen were kept for 45 s")
        nursery.cancel_scope.cancel()
    allowed_mb = 20 * 0.25 + 20 + 32
    run.expect(run.figures["grown_mb"] <= allowed_mb, f"memory grew by {run.figures['grown_mb']} MB")


async def never_read(world: World, transport: str) -> None:
    """Ask for a stream, and never read it."""
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", world.server.port))
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token_for('frozen')}\r\n"
    if transport == "websocket":
        head = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + head
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    else:
        head = "GET /events HTTP/1.1\r\n" + head
    with sock, suppress(OSError):
        await sock.send(f"{head}\r\n".encode())
        await trio.sleep_forever()
