"""SIGHUP: settings are read again, once for several that come at once, and nothing stops."""

from __future__ import annotations

import os
import signal

import trio

from notifyd.signals import run_reloads


async def test_each_hangup_reloads_and_those_meanwhile_are_one() -> None:
    begun, go_on = trio.Event(), trio.Event()
    reloads = 0

    async def reload() -> None:
        nonlocal reloads
        reloads += 1
        begun.set()
        await go_on.wait()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_reloads, reload)
            os.kill(os.getpid(), signal.SIGHUP)
            await begun.wait()
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGHUP)
            await trio.sleep(0.05)
            assert reloads == 1
            go_on.set()
            while reloads < 2:  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.01)
            await trio.sleep(0.05)
            assert reloads == 2
            nursery.cancel_scope.cancel()
