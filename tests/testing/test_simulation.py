"""A whole server in virtual time: the same seed, the same run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from notifyd.testing import Ended, Simulation, Trace, call, connect_fake, open_fake, run_simulation
from notifyd.testing.simulation import BEGIN_MS

if TYPE_CHECKING:
    from notifyd.testing.calls import Point

NOTE = {"user_id": "ann", "type": "x-a", "data": {"text": "x" * 3000}}


async def publish(sim: Simulation, **more: object) -> str:
    answer = await call(sim.dial, "POST", "/v1/notifications", bearer=sim.publish_key, body={**NOTE, **more})
    assert answer.status == 201, answer
    return str(answer.json()["id"])


async def busy(sim: Simulation) -> list[str]:
    """Some of everything: publishers beside each other, both transports, a kill in the middle, a stop."""
    await sim.start()
    seen: list[str] = []
    for transport in ("websocket", "sse"):
        async with open_fake(transport, sim.dial, sim.token("ann")) as client, trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(publish, sim)
            seen += [(await client.receive_entry()).text for _ in range(4)]
    client = await connect_fake("websocket", sim.dial, sim.token("ann"))
    sim.kill_at("after", of="run_group")
    with pytest.raises(Ended):
        await publish(sim)
    await sim.died()
    await sim.start()
    async with open_fake("sse", sim.dial, sim.token("ann"), client.hello["cursor"]) as back:
        seen.append((await back.receive_entry()).text)
    await trio.sleep(70)
    return seen


def trace_of(seed: int) -> Trace:
    trace = Trace()
    run_simulation(busy, seed=seed, trace=trace, every_task=True)
    return trace


def test_the_same_seed_gives_the_same_trace_and_another_another() -> None:
    """Every step of every task, every call of the database, every event of the network, at its moment."""
    first, second, other = trace_of(7), trace_of(7), trace_of(8)
    assert len(first.events) > 1000
    for one, two in zip(first.events, second.events, strict=True):
        assert one == two
    assert first.digest == second.digest != other.digest


def test_the_same_seed_gives_the_same_trace_in_another_process() -> None:
    """Given the same PYTHONHASHSEED, for the order of sets of texts is Python's."""
    script = "from tests.testing.test_simulation import trace_of; print('digest', trace_of(7).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for _ in range(2)
    }
    assert len(digests) == 1
    assert digests.pop().startswith("digest ")


def test_ids_come_from_the_seed_too() -> None:
    assert run_simulation(busy, seed=3) == run_simulation(busy, seed=3)
    assert run_simulation(busy, seed=3) != run_simulation(busy, seed=4)


def test_days_pass_in_no_time() -> None:
    async def story(sim: Simulation) -> None:
        await sim.start()
        assert sim.clock() - BEGIN_MS < 1000
        cursor = await publish(sim, expires_in_s=600)
        async with open_fake("sse", sim.dial, sim.token("ann", ttl_s=300), cursor) as client:
            await client.receive_to_end()
        assert 330 <= trio.current_time() < 332  # the token's life and its leeway
        listing = await call(sim.dial, "GET", "/v1/notifications", bearer=sim.token("ann"))
        assert len(listing.json()["notifications"]) == 1
        await trio.sleep(300)
        listing = await call(sim.dial, "GET", "/v1/notifications", bearer=sim.token("ann"))
        assert listing.json()["notifications"] == []

    run_simulation(story, seed=1)


def test_what_was_committed_survives_a_kill_and_what_was_not_does_not() -> None:
    async def story(sim: Simulation) -> list[int]:
        await sim.start()
        heads = []
        points: list[tuple[Point, int]] = [("before", 1), ("inside", 3), ("after", 1)]
        for point, count in points:
            sim.kill_at(point, count, "run_group")
            assert sim.is_running
            with pytest.raises(Ended):
                await publish(sim)
            await sim.died()
            await sim.start()
            heads.append(sim.service.inbox.head)
        return heads

    assert run_simulation(story, seed=5) == [0, 0, 1]


def test_a_killed_server_tells_nobody_goodbye_and_a_stopped_one_does() -> None:
    async def story(sim: Simulation) -> list[int]:
        codes = []
        for end in (sim.kill, sim.stop):
            await sim.start()
            client = await connect_fake("websocket", sim.dial, sim.token("ann"))
            await end()
            codes.append((await client.receive_to_end()).code)
        assert not sim.is_running
        with pytest.raises(ConnectionRefusedError):
            await sim.dial()
        return codes

    assert run_simulation(story, seed=1) == [1006, 1001]


def test_a_defect_of_the_server_is_not_hidden() -> None:
    async def story(sim: Simulation) -> None:
        await sim.start()
        raise LookupError("of the story's")

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        run_simulation(story, seed=1)
