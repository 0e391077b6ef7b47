"""A real Chromium in front of a real demo, each in its own process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
from playwright.sync_api import expect

from notifyd.demo.folder import DemoState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

#: Seconds for what follows from a click or a restart; generous, for busy machines.
PATIENCE_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A `notifyd` command that listens on a port, to be stopped and started."""

    def __init__(
        self, *command: str, port: int, environment: dict[str, str] | None = None, scheme: str = "http"
    ) -> None:
        self._command = [sys.executable, "-m", "notifyd", *command]
        self._environment = os.environ | (environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.address = f"{scheme}://127.0.0.1:{port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_until(self._answers, "the server answers")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            pytest.fail(f"the server ended: {self._process.stderr.read().decode()[-2000:]}")
        try:
            # Health may be on another bind: any answer is one.
            return httpx2.get(f"{self.address}/livez", trust_env=False, verify=False).status_code < 500
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        """As Ctrl-C and SIGTERM do; the command ends well and has nothing to complain about."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        _, complaints = self._process.communicate(timeout=PATIENCE_S)
        assert (self._process.returncode, complaints.decode()) == (0, "")
        self._process = None

    def kill(self) -> None:
        """As a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
        self._process = None


class Demo(Server):
    """`notifyd demo` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        super().__init__("demo", "--folder", str(folder), "--port", str(port), port=port)
        self._file = folder / "demo.json"

    @property
    def state(self) -> DemoState:
        return msgspec.json.decode(self._file.read_bytes(), type=DemoState)

    def call(self, method: str, path: str, body: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self.state.publish_key}"}
        url = f"{self.address}{path}"
        httpx2.request(method, url, json=body, headers=headers, trust_env=False).raise_for_status()

    def inbox(self, user_id: str) -> list[dict[str, Any]]:
        """The user's newest notifications, as the API lists them."""
        login = httpx2.post(f"{self.address}/demo/login", json={"user_id": user_id}, trust_env=False).json()
        answer = httpx2.get(
            f"{self.address}/v1/notifications?limit=500",
            headers={"Authorization": f"Bearer {login['token']}"},
            trust_env=False,
        )
        found: list[dict[str, Any]] = answer.json()["notifications"]
        return found


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"it did not become true that {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], str], None]:
    """`until(holds, what)`: waits, and fails when it has taken too long."""
    return wait_until


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """`serve(secret, **settings)` runs `notifyd serve` with a database and settings of its own."""
    servers = ExitStack()

    def serve(secret: str, **settings: str) -> Server:
        port, folder = free_port(), tmp_path_factory.mktemp("serve")
        environment = {
            "NOTIFYD_LISTEN": f"127.0.0.1:{port}",
            "NOTIFYD_DATABASE_URL": f"sqlite:///{folder / 'notifyd.db'}",
            "NOTIFYD_JWT_SECRET": secret,
            "NOTIFYD_LOG_LEVEL": "error",
            "NOTIFYD_DRAIN_SECONDS": "1",
            **{f"NOTIFYD_{name.upper()}": value for name, value in settings.items()},
        }
        scheme = "https" if "TLS_CERT_FILE" in settings else "http"
        server = Server("serve", port=port, environment=environment, scheme=scheme)
        server.start()
        servers.callback(server.stop)
        return server

    with servers:
        yield serve


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    demo.start()
    yield demo
    demo.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages in one context, as tabs of one browser; nothing may go wrong inside them."""
    faults: list[str] = []
    context = browser.new_context(locale="en-US", timezone_id="America/New_York")
    context.set_default_timeout(PATIENCE_S * 1000)

    def visit(address: str, *, script: str | None = None) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
        if script is not None:
            page.add_init_script(script)
        page.goto(address)
        return page

    yield visit
    context.close()
    assert faults == []


@pytest.fixture
def open_as(visit: Callable[..., Page], demo: Demo) -> Callable[..., Page]:
    """Opens the demo's page in a new tab, signed in and live."""

    def open_as(name: str, *, script: str | None = None) -> Page:
        page = visit(demo.address, script=script)
        page.get_by_role("button", name=name).click()
        expect(page.locator("#status-title")).to_have_text("Live")
        return page

    return open_as
