"""The demo: three users with watches, a price feed of its own, and a page to see deals arrive.

    feed     the prices, pure            player   plays them into the server by HTTP
    people   the users and their watches login    signing in without a password, here only
    folder   what outlives the process

Everything but the choice of a user goes the way it goes for everybody.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import trio

from notifyd.clock import wall_ms
from notifyd.demo.folder import MAIL_FOLDER, demo_config, open_folder
from notifyd.demo.login import login_blueprint
from notifyd.demo.people import PEOPLE
from notifyd.demo.player import Player
from notifyd.logs import configure_logging
from notifyd.service import STOP_MARGIN_S, open_service
from notifyd.signals import open_stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notifyd.demo.folder import DemoFolder

__all__ = ["run_demo"]

DEFAULT_FOLDER = Path(".notifyd-demo")
#: Seconds for one call of the feed.
CALL_TIMEOUT_S = 10.0


async def run_demo(
    folder: Path = DEFAULT_FOLDER,
    *,
    fresh: bool = False,
    port: int | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the demo until SIGINT or SIGTERM.

    Data, port and secrets persist in `folder`; `fresh` clears them first. `port` None keeps the last one.
    `task_status` gets the page's address once every tick that was due is in. Raises ConfigError when the
    folder or the port cannot be used.
    """
    with open_folder(folder, fresh=fresh, port=port) as home:
        await _run(home, task_status)


async def _run(home: DemoFolder, task_status: trio.TaskStatus[str]) -> None:
    config = demo_config(home)
    configure_logging(config.log_level, config.log_format)
    async with _open_player(home) as player:
        login = login_blueprint(home.state.jwt_secret, wall_ms, player.announce)
        async with (
            open_stop(config.drain_seconds + STOP_MARGIN_S) as stop,
            open_service(config, blueprints=[login]),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_play, player, home, task_status)
            stop.ready()
            await stop.wait()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_player(home: DemoFolder) -> AsyncIterator[Player]:
    async with httpx2.AsyncClient(
        base_url=home.address,
        headers={"Authorization": f"Bearer {home.state.publish_key}"},
        timeout=CALL_TIMEOUT_S,
        trust_env=False,
    ) as client:
        yield Player(client, home, wall_ms)


async def _play(player: Player, home: DemoFolder, task_status: trio.TaskStatus[str]) -> None:
    first = home.state.begun_ms is None
    await player.prepare()
    missed = await player.catch_up()
    _say(home, missed, first=first)
    task_status.started(home.address)
    await player.run()


def _say(home: DemoFolder, missed: int, *, first: bool) -> None:
    due = "1 tick of its feed was" if missed == 1 else f"{missed:,} ticks of its feed were"
    begun = "started anew" if first else f"going on: {due} due while it was down"
    lines = [
        "",
        f"  notifyd demo, {begun}",
        "",
        f"  open     {home.address}",
        *(
            f"  {label:<8} {who.name}, {who.about}"
            for label, who in zip(("users", "", ""), PEOPLE, strict=True)
        ),
        f"  operate  {home.address}/operator, admin key {home.state.admin_key}",
        f"  data     {home.path} (start anew with --fresh)",
        f"  mail     {home.path / MAIL_FOLDER}/*.eml, for who has no tab open when a price drops",
        "  stop     Ctrl-C; the page shows Offline and comes back when you start it again",
        "",
    ]
    print("\n".join(lines), flush=True)
