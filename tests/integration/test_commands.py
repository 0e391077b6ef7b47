"""Real commands as processes against a real server process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PATIENCE_S = 30
SECRET = "secret-of-the-command-tests-secret-of-the-command"
SETTINGS = f"""
jwt_secret = "{SECRET}"
publish_keys = "publish-key-of-the-command-tests"
drain_seconds = 0.2
log_level = "warning"
"""


class Lines:
    """The lines of a pipe as they come; `all` keeps them."""

    def __init__(self, pipe: trio.abc.ReceiveStream) -> None:
        self._pipe = pipe
        self._rest = b""
        self.all: list[str] = []

    async def next(self) -> str:
        while b"\n" not in self._rest:
            data = await self._pipe.receive_some()
            if not data:
                raise trio.EndOfChannel
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.all.append(line.decode())
        return self.all[-1]

    async def until(self, text: str) -> str:
        """The next line that contains `text`."""
        with trio.fail_after(PATIENCE_S):
            while text not in await self.next():
                pass
        return self.all[-1]


class Running:
    """A command that goes on until it is told to stop."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out = Lines(process.stdout)
        self.err = Lines(process.stderr)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Its exit code, after signal `number` if there is one."""
        if number is not None:
            self.process.send_signal(number)
        with trio.fail_after(PATIENCE_S):
            return await self.process.wait()


class Commands:
    """Commands in one folder with one notifyd.toml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._clean = {name: text for name, text in os.environ.items() if not name.startswith("NOTIFYD_")}
        self.listen_on("127.0.0.1:0")

    def listen_on(self, address: str) -> None:
        (self.folder / "notifyd.toml").write_text(f'listen = "{address}"\n{SETTINGS}')

    def _how(self, arguments: tuple[str, ...]) -> dict[str, Any]:
        command = [sys.executable, "-m", "notifyd", *arguments]
        return {"command": command, "cwd": self.folder, "env": self._clean | {"COLUMNS": "200"}}

    async def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                **self._how(arguments),
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @asynccontextmanager
    async def start(self, *arguments: str) -> AsyncIterator[Running]:
        """A command that runs as long as the block; it is killed if it still runs then."""
        process = await trio.lowlevel.open_process(
            **self._how(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            with trio.move_on_after(PATIENCE_S, shield=True):
                await process.wait()
                for pipe in (process.stdout, process.stderr):
                    if pipe is not None:
                        await pipe.aclose()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Running]:
        """A server; the other commands, and the next server, find it by the settings."""
        async with self.start("serve") as server:
            line = await server.out.until("listening on http://")
            self.listen_on(line.rpartition("//")[2])
            yield server


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


async def test_publish_and_listen(commands: Commands) -> None:
    async with commands.serve() as server:
        async with commands.start("listen", "--user", "ann", "--count", "3") as listening:
            await listening.err.until("connected, live from")
            ran = await commands.run("publish", "--user", "ann", "--message", "Hello")
            assert (ran.returncode, ran.stderr) == (0, "")
            assert "live: 1" in ran.stdout
            await commands.run("publish", "--user", "bob", "--message", "not for ann")
            job = '{"job_id": 1, "job_name": "Export", "status": "ok"}'
            await commands.run(
                "publish", "--user", "ann", "--user", "bob", "--type", "job-completed", "--data", job
            )
            await commands.run("publish", "--broadcast", "--type", "x-own", "--data", "{}")
            assert await listening.end() == 0
            for text in ("system-message  info: Hello", "Export (1): ok", "x-own"):
                await listening.out.until(text)
        assert await server.end(signal.SIGINT) == 0


async def test_listen_resumes_and_says_so(commands: Commands) -> None:
    async with trio.open_nursery() as nursery:
        listening: Running
        async with commands.serve() as server:
            listening = await nursery.start(
                partial(_keep, commands.start("listen", "--user", "ann", "--json"))
            )
            await listening.err.until("connected, live from")
            await commands.run("publish", "--user", "ann", "--message", "one")
            await listening.out.until("one")
            assert await server.end(signal.SIGKILL) != 0
        await listening.err.until("trying again in")
        async with commands.serve() as server:
            await commands.run("publish", "--user", "ann", "--message", "two")
            await listening.err.until("connected, resumed from")
            await commands.run("publish", "--user", "ann", "--message", "three")
            await listening.out.until("three")
            assert await server.end(signal.SIGTERM) == 0
        assert await listening.end(signal.SIGINT) == 0
        messages = [json.loads(line) for line in listening.out.all]
        assert [message["data"]["message"] for message in messages] == ["one", "two", "three"]
        nursery.cancel_scope.cancel()


async def _keep(command: Any, *, task_status: trio.TaskStatus[Running]) -> None:
    async with command as running:
        task_status.started(running)
        await trio.sleep_forever()


async def test_listen_from_a_cursor(commands: Commands) -> None:
    async with commands.serve():
        first, second = [
            json.loads((await commands.run("publish", "--user", "ann", "--message", text, "--json")).stdout)
            for text in ("one", "two")
        ]
        ran = await commands.run("listen", "--user", "ann", "--cursor", first["id"], "--count", "1", "--json")
        assert json.loads(ran.stdout)["id"] == second["id"]
        assert "resumed from" in ran.stderr


async def test_a_token_that_is_made_is_taken_and_a_bad_one_is_told(commands: Commands) -> None:
    async with commands.serve():
        made = (await commands.run("token", "--user", "ann")).stdout.strip()
        async with commands.start("listen", "--token", made) as listening:
            await listening.err.until("connected")
            assert await listening.end(signal.SIGTERM) == 0
        ran = await commands.run("listen", "--token", made[:-4] + "AAAA")
        assert ran.returncode == 1
        assert (
            ran.stderr
            == "notifyd: closed with 4501: bad token; get a new one with `notifyd token --user USER`\n"
        )


async def test_publishing_says_what_was_wrong(commands: Commands) -> None:
    async with commands.serve():
        ran = await commands.run("publish", "--user", "a", "--message", "x", "--key", "wrong")
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
        assert "--key or NOTIFYD_KEY" in ran.stderr
        ran = await commands.run("publish", "--user", "a", "--type", "nope", "--message", "x")
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
        assert "nope" in ran.stderr
        again = ("publish", "--user", "a", "--message", "x", "--idempotency-key", "k")
        assert "as it was before" not in (await commands.run(*again)).stdout
        assert "as it was before" in (await commands.run(*again)).stdout


async def test_a_second_server_on_the_database_says_so(commands: Commands) -> None:
    async with commands.serve():
        ran = await commands.run("serve", "--listen", "127.0.0.1:0")
        assert ran.returncode == 2
        assert ran.stdout == ""
        assert ran.stderr.count("notifyd: ") == 1


def _prices(weeks: int, items: int) -> str:
    rows = [
        f"{week},{item},Item {item},1,{100 + item + week}" for week in range(weeks) for item in range(items)
    ]
    return "\n".join(["week,item_id,item,store,cents", *rows, ""])


IMPORT = (
    *("import-prices", "prices.csv", "--map", "item_name=item", "--map", "store_id=store"),
    *("--map", "price_in_cents=cents", "--set", "currency=USD", "--observed-at", "week"),
    *("--week-one", "2001-01-01"),
)


async def test_importing_prices(commands: Commands) -> None:
    file = commands.folder / "prices.csv"
    file.write_text(_prices(2, 600) + "9,1,Item 1,1,3.99\n9,2,Item 2,1,102\n")
    async with commands.serve():
        ran = await commands.run(*IMPORT)
        assert ran.returncode == 1
        assert ran.stdout == "1,202 rows read: 1,201 stored new, 0 already there, 1 bad\n"
        assert "prices.csv:1202: cents: '3.99' is not in whole minor units; --decimals 2" in ran.stderr
        file.write_text(_prices(2, 600) + "9,2,Item 2,1,102\n")
        ran = await commands.run(*IMPORT)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout == "1,201 rows read: 0 stored new, 1,201 already there, 0 bad\n"


async def test_rows_that_the_server_rejects_have_their_line(commands: Commands) -> None:
    row = {"item_id": "a", "item_name": "Milk", "store_id": 1, "price_in_cents": 99, "currency": "USD"}
    rows = [
        row | {"url": url, "observed_at": "2026-01-01"} for url in ("https://h/", "ftp://h/", "http://h/")
    ]
    (commands.folder / "prices.jsonl").write_text("\n\n".join(json.dumps(one) for one in rows))
    async with commands.serve():
        ran = await commands.run("import-prices", "prices.jsonl")
        assert ran.returncode == 1
        assert "prices.jsonl:3: " in ran.stderr
        assert "1 bad" in ran.stdout


async def test_an_import_outlives_the_server(commands: Commands) -> None:
    """Killed in the middle and started again: nothing is missing, nothing is there twice."""
    rows = 30 * 1000
    (commands.folder / "prices.csv").write_text(_prices(30, 1000))
    async with commands.serve() as server:
        importing = commands.start(*IMPORT)
        async with importing as command:
            # more than one batch, long before the last
            size = commands.folder / "notifyd.db-wal"
            await _until(lambda: size.exists() and size.stat().st_size > 500_000)
            assert await server.end(signal.SIGKILL) != 0
            await command.err.until("trying again")
            async with commands.serve():
                assert await command.end() == 0
                line = await command.out.until("rows read")
                assert line.startswith(f"{rows:,} rows read: ")
                ran = await commands.run(*IMPORT)
    assert ran.stdout == f"{rows:,} rows read: 0 stored new, {rows:,} already there, 0 bad\n"


async def _until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - a file of another process has no event
            await trio.sleep(0.01)


def line(user_id: str, text: str, **more: Any) -> str:
    body = {"user_id": user_id, "type": "system-message", "data": {"message": text}} | more
    return json.dumps(body) + "\n"


async def test_many_are_published_from_standard_input_and_safely_again(commands: Commands) -> None:
    good = [line("ann", f"number {number}") for number in range(1500)]
    async with commands.serve() as server:
        first = await commands.run("publish", "-", stdin="".join(good))
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout == "1,500 lines read: 1,500 stored new, 0 already there, 0 rejected\n"
        again = await commands.run(
            "publish", "-", stdin="".join([*good[:700], line("ann", "new"), *good[700:]])
        )
        assert again.stdout == "1,501 lines read: 1 stored new, 1,500 already there, 0 rejected\n"
        other = await commands.run("publish", "-", "--batch", "monday", stdin=good[0])
        assert other.stdout == "1 lines read: 1 stored new, 0 already there, 0 rejected\n"
        assert await server.end(signal.SIGTERM) == 0


async def test_what_is_rejected_is_told_with_its_line(commands: Commands) -> None:
    text = "".join(
        [
            line("ann", "good"),
            "{nonsense\n",
            "\n",
            line("ann", "x", type="unheard-of"),
            line("ann", "x", broadcast=True),
            line("ann", "x", user_ids=[f"u{n}" for n in range(10_001)]).replace('"user_id": "ann", ', ""),
            line("ann", "good as well"),
        ]
    )
    file = commands.folder / "notifications.jsonl"
    file.write_text(text)
    async with commands.serve() as server:
        ran = await commands.run("publish", file.name)
        assert ran.returncode == 1
        assert ran.stdout == "6 lines read: 2 stored new, 0 already there, 4 rejected\n"
        told = ran.stderr.splitlines()
        assert [each.partition(": ")[0] for each in told] == ["line 2", "line 4", "line 5", "line 6"]
        assert "not JSON" in told[0]
        assert "unheard-of" in told[1]
        assert told[2] == "line 5: Say exactly one of user_id, user_ids and broadcast: true"
        assert "longer than 65,536 bytes" in told[3]
        assert not any("notifications[" in each for each in told)
        printed = await commands.run("publish", file.name, "--json")
        outcomes = [json.loads(each) for each in printed.stdout.splitlines()]
        assert [each["line"] for each in outcomes] == [1, 2, 4, 5, 6, 7]
        assert [each["status"] for each in outcomes] == [200, 400, 422, 422, 400, 200]
        assert await server.end(signal.SIGTERM) == 0


async def test_a_server_that_stays_away_ends_publishing_with_a_line_to_go_on_from(commands: Commands) -> None:
    commands.listen_on("127.0.0.1:9")  # nobody is there
    ran = await commands.run("publish", "-", "--retry", "1s", stdin=line("ann", "x"))
    assert ran.returncode == 1
    assert "stopped at line 1: cannot reach" in ran.stderr
    assert "send the same again" in ran.stderr


async def test_listen_over_sse(commands: Commands) -> None:
    async with commands.serve() as server:
        arguments = ("listen", "--user", "ann", "--transport", "sse", "--count", "1")
        async with commands.start(*arguments) as listening:
            await listening.err.until("connected over SSE, live from")
            await commands.run("publish", "--user", "ann", "--message", "Hello")
            await listening.out.until("Hello")
            assert await listening.end() == 0
        assert await server.end(signal.SIGTERM) == 0
