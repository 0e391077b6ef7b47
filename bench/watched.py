"""`python -m bench.watched`: `notifyd serve` itself, and a task beside it that looks how late the loop is.

Each line on standard input is answered by one. `stalls`: `{"looks", "p99_ms", "max_ms", "turn_ms"}` since it
was last asked, `turn_ms` being the processor time of the longest turn of the loop. `collect`: the
milliseconds of processor time of a full garbage collection, which runs on the loop at once.
"""

from __future__ import annotations

import gc
import json
import os
import time
from typing import Never

import trio

from notifyd.config import load_config
from notifyd.service import serve

EVERY_S = 0.002


class Watch(trio.abc.Instrument):
    """Wakes every two milliseconds and notes how late that was."""

    def __init__(self) -> None:
        self._late_s: list[float] = []
        self._turn_s = self._begun = 0.0

    def after_io_wait(self, timeout: float) -> None:
        self._begun = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        self._turn_s = max(self._turn_s, time.thread_time() - self._begun)

    async def run(self) -> Never:
        while True:
            due = trio.current_time() + EVERY_S
            await trio.sleep_until(due)
            self._late_s.append(trio.current_time() - due)

    def take(self) -> dict[str, float]:
        """What was seen; each look that did not come to pass while another was late counts as one too, so
        that a percentile is one of all moments at which somebody could have wanted a turn."""
        late, turn_s = self._late_s, self._turn_s
        self._late_s, self._turn_s = [], 0.0
        moments = sorted(
            each - missed * EVERY_S for each in late for missed in range(1 + int(each / EVERY_S))
        )
        p99 = moments[int(len(moments) * 0.99)] if moments else 0.0
        return {
            "looks": len(late),
            "p99_ms": p99 * 1000,
            "max_ms": max(late, default=0.0) * 1000,
            "turn_ms": turn_s * 1000,
        }


async def _answer(watch: Watch) -> None:
    async with trio.lowlevel.FdStream(os.dup(0)) as asked:
        async for line in asked:
            if line.strip() == b"collect":
                begun = time.thread_time()
                gc.collect()
                print(json.dumps((time.thread_time() - begun) * 1000), flush=True)
            else:
                print(json.dumps(watch.take()), flush=True)


async def main() -> None:
    watch = Watch()
    trio.lowlevel.add_instrument(watch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        nursery.start_soon(_answer, watch)
        await serve(load_config(None))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
