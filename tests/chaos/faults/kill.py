"""F1: the process is killed at random moments; and resumes at random moments, which nobody kills."""

from __future__ import annotations

from statistics import median

import trio

from tests.chaos.run import Load, Run, fault
from tests.chaos.world import SETTLE_S, wait_s

#: Kills between two judgements, so that a history stays small.
KILLS = 50
#: Seconds within which it listens again (F1); more than the design's 2 s because others use the machine.
READY_S = 10.0


@fault("kill", "F1", promises="P1 P2 P3 P4 P5 P7 P11", n=50)
async def kill(run: Run) -> None:
    """kill -9 at a random moment 0.2 to 3 s after the last start, under load, with tabs that also come and go
    by themselves; the server starts again and everyone goes on after their cursor."""
    while run.trials < run.n and not run.failures:
        async with run.world() as world:
            await world.server.start()
            await world.begin()
            for _ in range(min(KILLS, run.n - run.trials)):
                await trio.sleep(wait_s(world.rng, 0.2, 3))
                world.fault("kill -9")
                await world.server.kill()
                await world.server.start()
                run.most("ready_s", world.server.started_in_s[-1])
                run.most("ready_cpu_s", world.server.started_with_cpu_s[-1])
                began = trio.current_time()
                await world.all_connected(SETTLE_S)
                run.most("all_back_s", trio.current_time() - began)
                run.trials += 1
                if run.trials % 10 == 0:
                    run.progress(f"{run.trials} of {run.n} kills")
            await world.settle()
            await world.read_inboxes()
            run.most("settled_s", world.settled_in_s)
            run.figures["ready_median_s"] = round(median(world.server.started_in_s), 3)
        run.expect(run.figures["ready_s"] <= READY_S, f"it took {run.figures['ready_s']} s to listen again")


@fault("resumes", "F1", promises="P2 P3 P4 P5 P6 P7", n=10_000)
async def resumes(run: Run) -> None:
    """Tabs of both transports leave at random moments and resume at once, while 200 notifications a second
    are published to them and to everyone."""
    load = Load(users=4, readers=12, publishers=2, pause_s=0.05, batch=5, churn=0.05)
    load = Load(**{**load.__dict__, "transports": ("websocket", "sse")})
    while run.trials < run.n and not run.failures:
        async with run.world(load) as world:
            await world.server.start()
            for _ in range(5):
                if not world.readers:
                    await world.begin()
                await trio.sleep(8)
                made = sum(len(reader.connects) for reader in world.readers)
                run.progress(f"{run.trials + made} of {run.n} resumes")
                if run.trials + made >= run.n:
                    break
            await world.settle()
            await world.read_inboxes()
        run.trials = run.total("resumes")
